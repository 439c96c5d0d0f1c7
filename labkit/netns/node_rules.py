"""The rules that masquerade what leaves a cluster: those of the network plugin, not of kube-proxy.

As recorded on clusters with flannel (chains FLANNEL-*) and with azure-ip-masq-agent (chain IP-MASQ-AGENT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.netns.kube_proxy_rules import Tables
    from labkit.netns.topology import Node, Topology

__all__ = ["chains", "jumps"]


def chains(topology: Topology, node: Node) -> Tables:
    """The plugin's own chains on a node."""
    return (
        _flannel(topology.pod_cidr, node.pod_cidr)
        if topology.wiring == "vxlan"
        else _agent(topology.pod_cidr)
    )


def jumps(topology: Topology) -> Tables:
    """What the kernel's chains jump to, after the rules of kube-proxy."""
    if topology.wiring == "vxlan":
        return {
            "filter": {"FORWARD": ('-m comment --comment "flanneld forward" -j FLANNEL-FWD',)},
            "nat": {"POSTROUTING": ('-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',)},
        }
    why = (
        "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom "
        "IP-MASQ-AGENT chain"
    )
    return {
        "nat": {
            "POSTROUTING": (f'-m comment --comment "{why}" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT',)
        }
    }


def _flannel(pods: str, mine: str) -> Tables:
    forward, masq = '-m comment --comment "flanneld forward"', '-m comment --comment "flanneld masq"'
    return {
        "filter": {"FLANNEL-FWD": (f"-s {pods} {forward} -j ACCEPT", f"-d {pods} {forward} -j ACCEPT")},
        "nat": {
            "FLANNEL-POSTRTG": (
                f"-m mark --mark 0x4000/0x4000 {masq} -j RETURN",
                f"-s {mine} -d {pods} {masq} -j RETURN",
                f"-s {pods} -d {mine} {masq} -j RETURN",
                f"! -s {pods} -d {mine} {masq} -j RETURN",
                f"-s {pods} ! -d 224.0.0.0/4 {masq} -j MASQUERADE --random-fully",
            )
        },
    }


def _agent(pods: str) -> Tables:
    local = "ip-masq-agent: local traffic is not subject to MASQUERADE"
    outbound = "ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)"
    return {
        "nat": {
            "IP-MASQ-AGENT": (
                f'-d {pods} -m comment --comment "{local}" -j RETURN',
                f'-m comment --comment "{outbound}" -j MASQUERADE',
            )
        }
    }
