"""What a lab is made of, as data: its nodes, their ranges and devices."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TOPOLOGIES", "Node", "Topology"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its address on the fabric, and the range that its pods get theirs from."""

    name: str
    ip: str
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class Topology:
    """How the nodes of a lab are wired, and who does Services: `iptables` (as kube-proxy does) or `ebpf`."""

    name: str
    meaning: str
    wiring: str
    services: str
    nodes: tuple[Node, ...] = (
        Node("node-1", "10.224.0.4", "10.244.0.0/24"),
        Node("node-2", "10.224.0.5", "10.244.1.0/24"),
    )
    fabric_gateway: str = "10.224.0.1"
    fabric_cidr: str = "10.224.0.0/16"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.0.0.0/16"
    dns_ip: str = "10.0.0.10"


#: The topologies by name. All have the same ranges, so that what differs between two arms is the dataplane.
TOPOLOGIES = {
    topology.name: topology
    for topology in (
        Topology("vxlan", "bridge and VXLAN between nodes, iptables as kube-proxy writes them", "vxlan", "iptables"),
        Topology("routed", "a veth and a /32 route per pod, no tunnel, iptables as kube-proxy writes them", "routed", "iptables"),
        Topology("ebpf", "wired like routed; Services and policies by eBPF maps (not Cilium)", "routed", "ebpf"),
    )
}  # fmt: skip
