"""The wires of a lab, as netlink requests: the fabric, the nodes on it, the pods on each node.

`vxlan` is what flannel and the bridge plugin make (flannel-io/flannel, pkg/backend/vxlan/device.go;
containernetworking/plugins, main/bridge). `routed` is the transparent mode of Azure's plugin
(Azure/azure-container-networking, network/transparent_endpointclient_linux.go).

Why pyroute2 and not the plugins that Debian packages (containernetworking-plugins): those have no transparent mode, and
`ptp`, which comes nearest, gives a pod its node's gateway in place of 169.254.1.1; none of them makes flannel's device,
which a daemon does. So only the bridge would be theirs, at a process a pod. Netlink makes all of it alike, and the
kernel's own words stand where something is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import ProvisionError
from labkit.netns.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.netns.namespaces import Namespace
    from labkit.netns.topology import Node, Topology

__all__ = [
    "OUTSIDE_IP", "Step", "fabric", "fabric_port", "host_end", "mac", "node", "outside", "outside_port", "pod",
    "pod_on_node", "program", "unwired",
]  # fmt: skip

#: One netlink request: the thing and the action (`link add`), and its fields, with devices by name. The thing
#: `sysctl` has one field, the value, and its action is a path under /proc/sys.
Step = tuple[str, str, dict[str, Any]]

FABRIC = "fabric0"
OUTSIDE_IP, OUTSIDE_GATEWAY = "203.0.113.10", "203.0.113.1"
#: The gateway of every pod of Azure's transparent mode, and the address of the node's end of its veth.
GATEWAY, GATEWAY_MAC = "169.254.1.1", "aa:aa:aa:aa:aa:aa"
VXLAN_MTU, FABRIC_MTU = 1450, 1500
NOPREFIXROUTE = 0x200

#: The fields of a request that number a device.
DEVICES = ("index", "ifindex", "oif", "master", "vxlan_link")


def program(namespace: Namespace | None, steps: Sequence[Step]) -> None:
    """Carry the steps out in a namespace, or in this process' own. Raises ProvisionError where the kernel refuses one."""

    def carry_out() -> None:
        from pyroute2 import IPRoute, NetlinkError  # noqa: PLC0415

        with IPRoute(groups=0) as netlink, contextlib.ExitStack() as opened:
            for thing, action, fields in steps:
                try:
                    if thing == "sysctl":
                        Path("/proc/sys", action).write_text(fields["value"])
                    else:
                        getattr(netlink, thing)(action, **_numbered(netlink, opened, fields))
                except (NetlinkError, OSError, IndexError) as error:  # the last: there is no such device
                    raise ProvisionError(f"the kernel refused {thing} {action} {fields}: {error}") from None

    carry_out() if namespace is None else inside(namespace, carry_out)


def _numbered(netlink: Any, opened: contextlib.ExitStack, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401  (pyroute2 has no types)
    """The fields with numbers for the names of devices, and an open file for the namespace of a peer."""
    found = dict(fields)
    for field in DEVICES:
        if isinstance(fields.get(field), str):
            found[field] = netlink.link_lookup(ifname=fields[field])[0]
    if "peer" in fields:
        number = os.open(fields["peer"]["net_ns_fd"], os.O_RDONLY)
        opened.callback(os.close, number)
        found["peer"] = {**fields["peer"], "net_ns_fd": number}
    return found


def _sysctl(path: str, value: int) -> Step:
    return ("sysctl", path, {"value": str(value)})


def mac(ip: str) -> str:
    """A locally administered address made of an IPv4 address, as CNI plugins did: 0a:58 and its four bytes."""
    return ":".join(["0a", "58", *(f"{byte:02x}" for byte in ipaddress.IPv4Address(ip).packed)])


def host_end(topology: Topology, namespace: str, name: str) -> str:
    """The node's end of a pod's veth: `veth…` on a bridge, `azv…` in Azure's transparent mode."""
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()
    return f"veth{digest[:8]}" if topology.wiring == "vxlan" else f"azv{digest[:11]}"


# --- the fabric: one bridge that the nodes hang on, with the gateway's address on it ---


def fabric(topology: Topology) -> list[Step]:
    """The namespace of the lab's own process: a switch between the nodes, and their router to everything else.

    It routes the pods' ranges where the wiring is `routed`: that is what a cloud's fabric does for them.
    It sends no ICMP redirects, which a cloud does not either.
    """
    length = ipaddress.IPv4Network(topology.fabric_cidr).prefixlen
    steps: list[Step] = [
        ("link", "set", {"index": "lo", "state": "up"}),
        ("link", "add", {"ifname": FABRIC, "kind": "bridge", "address": mac(topology.fabric_gateway), "mtu": FABRIC_MTU, "state": "up"}),
        ("addr", "add", {"index": FABRIC, "address": topology.fabric_gateway, "prefixlen": length}),
        _sysctl("net/ipv4/ip_forward", 1),
        _sysctl("net/ipv4/conf/all/rp_filter", 0),
        _sysctl("net/ipv4/conf/all/send_redirects", 0),
        _sysctl(f"net/ipv4/conf/{FABRIC}/send_redirects", 0),
    ]  # fmt: skip
    if Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        steps.append(_sysctl("net/bridge/bridge-nf-call-iptables", 0))
    if topology.wiring == "routed":
        steps += [
            ("route", "add", {"dst": node.pod_cidr, "gateway": node.ip, "oif": FABRIC, "proto": "static"})
            for node in topology.nodes
        ]
    return steps


def fabric_port(name: str, other: Namespace) -> list[Step]:
    """The fabric's end of the wire to a node, whose end is its `eth0`."""
    return [_veth(name, other, mtu=FABRIC_MTU, master=FABRIC)]


def _veth(name: str, other: Namespace, **fields: Any) -> Step:  # noqa: ANN401  (fields of a link)
    peer = {"ifname": "eth0", "net_ns_fd": str(other.net)} | {k: v for k, v in fields.items() if k == "mtu"}
    return ("link", "add", {"ifname": name, "kind": "veth", "state": "up", "peer": peer, **fields})


def outside_port(other: Namespace) -> list[Step]:
    """The fabric's end of the wire to what is not the cluster."""
    return [
        _veth("outside", other, mtu=FABRIC_MTU),
        ("addr", "add", {"index": "outside", "address": OUTSIDE_GATEWAY, "prefixlen": 24}),
    ]


def outside() -> list[Step]:
    """A host beyond the fabric, which knows the way back."""
    return [
        ("link", "set", {"index": "lo", "state": "up"}),
        ("link", "set", {"index": "eth0", "state": "up"}),
        ("addr", "add", {"index": "eth0", "address": OUTSIDE_IP, "prefixlen": 24}),
        ("route", "add", {"dst": "default", "gateway": OUTSIDE_GATEWAY, "oif": "eth0"}),
    ]


# --- nodes ---


def node(topology: Topology, mine: Node) -> list[Step]:
    """A node on the fabric, as DHCP leaves it, and its devices for pods on other nodes."""
    length = ipaddress.IPv4Network(topology.fabric_cidr).prefixlen
    gateway = {
        "gateway": topology.fabric_gateway,
        "oif": "eth0",
        "proto": "dhcp",
        "prefsrc": mine.ip,
        "priority": 100,
    }
    steps: list[Step] = [
        _sysctl("net/ipv4/ip_forward", 1),
        _sysctl("net/ipv4/conf/all/rp_filter", 0),
        _sysctl("net/ipv4/conf/default/rp_filter", 0),
        ("link", "set", {"index": "lo", "state": "up"}),
        ("link", "set", {"index": "eth0", "address": mac(mine.ip), "state": "up"}),
        ("addr", "add", {"index": "eth0", "address": mine.ip, "prefixlen": length, "rt_priority": 100}),
        ("route", "add", {"dst": "default", **gateway}),
    ]  # fmt: skip
    if topology.wiring == "vxlan":
        steps += _bridge(mine) + _tunnel(mine)
        for other in topology.nodes:
            if other != mine:
                steps += _tunnel_to(other)
    return steps


def _bridge(mine: Node) -> list[Step]:
    """The bridge plugin's bridge, the gateway of the node's pods."""
    gateway, length = _gateway(mine)
    return [
        _sysctl("net/bridge/bridge-nf-call-iptables", 1),
        ("link", "add", {"ifname": "cni0", "kind": "bridge", "address": mac(gateway), "mtu": VXLAN_MTU, "state": "up"}),
        ("addr", "add", {"index": "cni0", "address": gateway, "prefixlen": length, "broadcast": str(_range(mine)[-1])}),
    ]  # fmt: skip


def _tunnel(mine: Node) -> list[Step]:
    """flannel's device. It learns nothing: where the others are is written into it."""
    device = {
        "kind": "vxlan", "vxlan_id": 1, "vxlan_port": 8472, "vxlan_learning": False, "vxlan_local": mine.ip,
        "vxlan_link": "eth0", "mtu": VXLAN_MTU, "address": _tunnel_mac(mine), "state": "up",
    }  # fmt: skip
    return [
        ("link", "add", {"ifname": "flannel.1", **device}),
        ("addr", "add", {"index": "flannel.1", "address": str(_range(mine)[0]), "prefixlen": 32}),
    ]


def _tunnel_to(other: Node) -> list[Step]:
    """Route, neighbour and forwarding entry that lead to another node's pods."""
    there = str(_range(other)[0])
    return [
        ("neigh", "add", {"ifindex": "flannel.1", "dst": there, "lladdr": _tunnel_mac(other), "state": "permanent"}),
        ("fdb", "append", {"ifindex": "flannel.1", "lladdr": _tunnel_mac(other), "dst": other.ip}),
        ("route", "add", {"dst": other.pod_cidr, "gateway": there, "oif": "flannel.1", "flags": ["onlink"], "proto": "boot"}),
    ]  # fmt: skip


def _range(node: Node) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(node.pod_cidr)


def _gateway(node: Node) -> tuple[str, int]:
    return str(_range(node)[1]), _range(node).prefixlen


def _tunnel_mac(node: Node) -> str:
    return mac(str(_range(node)[0]))


# --- pods ---


def pod_on_node(topology: Topology, device: str, ip: str, other: Namespace) -> list[Step]:
    """The node's end of a pod's wire."""
    if topology.wiring == "vxlan":
        return [
            _veth(device, other, mtu=VXLAN_MTU, master="cni0"),
            ("brport", "set", {"index": device, "mode": 1}),  # hairpin: a pod may reach itself by its Service
        ]
    return [
        _veth(device, other, mtu=FABRIC_MTU, address=GATEWAY_MAC),
        _sysctl(f"net/ipv4/conf/{device}/proxy_arp", 1),
        ("route", "add", {"dst": f"{ip}/32", "oif": device, "proto": "static"}),
    ]


def pod(topology: Topology, mine: Node, ip: str) -> list[Step]:
    """A pod's own end."""
    gateway, length = _gateway(mine)
    steps: list[Step] = [
        ("link", "set", {"index": "lo", "state": "up"}),
        ("link", "set", {"index": "eth0", "address": mac(ip), "state": "up"}),
    ]
    address = {"index": "eth0", "address": ip, "prefixlen": length}
    if topology.wiring == "vxlan":
        return [
            *steps,
            ("addr", "add", {**address, "broadcast": str(_range(mine)[-1])}),
            ("route", "add", {"dst": "default", "gateway": gateway, "oif": "eth0", "proto": "boot"}),
            ("route", "add", {"dst": topology.pod_cidr, "gateway": gateway, "oif": "eth0", "proto": "boot"}),
        ]
    return [
        *steps,
        ("addr", "add", {**address, "flags": NOPREFIXROUTE}),
        ("neigh", "add", {"ifindex": "eth0", "dst": GATEWAY, "lladdr": GATEWAY_MAC, "state": "permanent"}),
        ("route", "add", {"dst": f"{GATEWAY}/32", "oif": "eth0", "scope": "link", "proto": "boot"}),
        ("route", "add", {"dst": "default", "gateway": GATEWAY, "oif": "eth0", "proto": "boot"}),
    ]


def unwired(device: str) -> list[Step]:
    """Take a pod's wire away: one end takes the other, its routes and its neighbours with it."""
    return [("link", "del", {"index": device})]
