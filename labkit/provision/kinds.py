"""The kinds of arms that can be set up, as data. What they mean for a provider is that provider's matter."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to wire a cluster. The first of `policies` and `kube_proxies` is the default.

    `acns` is the paid add-on (flows, metrics, FQDN policies); `l7` its HTTP policies; `bpf_host_routing`
    its eBPF host routing, without which AKS leaves Cilium's packets on the kernel's own path.
    """

    meaning: str
    dataplane: str
    policies: tuple[str, ...]
    kube_proxies: tuple[str, ...]
    acns: bool = False
    l7: bool = False
    bpf_host_routing: bool = False


def _cilium(meaning: str, *, acns: bool = False, l7: bool = False, bpf_host_routing: bool = False) -> Kind:
    return Kind(meaning, "cilium", ("cilium",), ("none",), acns, l7, bpf_host_routing)


KINDS = {
    "overlay": Kind(
        "Azure CNI Overlay with kube-proxy; by default nothing enforces policies",
        "azure",
        ("none", "azure", "calico"),
        ("iptables", "nftables"),
    ),
    "cilium": _cilium("Azure CNI powered by Cilium, as it comes"),
    "cilium-acns": _cilium("Cilium with ACNS: flows, metrics, FQDN policies", acns=True),
    "cilium-acns-l7": _cilium("Cilium with ACNS and its HTTP policies", acns=True, l7=True),
    "cilium-bpfveth": _cilium("Cilium with ACNS and eBPF host routing", acns=True, bpf_host_routing=True),
}
