"""Services and NetworkPolicies of a lab by eBPF programs and maps. It is no Cilium, and has none of its code."""

from labkit.netns.ebpf.dataplane import EbpfDataplane

__all__ = ["EbpfDataplane"]
