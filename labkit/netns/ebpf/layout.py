"""The maps of a node as bytes: how keys and values are laid out, and how many entries there is room for.

The same structures as in maps.h, in the byte order of the machine; addresses and ports in prefixes are in
network order.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from labkit.errors import ProvisionError

if TYPE_CHECKING:
    from ipaddress import IPv4Network

__all__ = [
    "CAPACITY", "ONE", "PROTOCOLS", "Entries", "address", "backend", "check_room", "device", "direction_of",
    "frontend", "isolation", "number", "opening", "peer", "pins", "service", "slot",
]  # fmt: skip

#: Map, key, value: what a node is to hold.
Entries = dict[str, dict[bytes, bytes]]

#: Room in each map, in entries. A Service takes one of `services` for each of its ports, and as many of
#: `backends` as it has endpoints there: 20,000 Services with six endpoints each fit.
CAPACITY = {
    "services": 65536,
    "backends": 131072,
    "affinity": 65536,
    "connections": 131072,
    "fragments": 8192,
    "endpoints": 1024,
    "isolated": 2048,
    "policy_peers": 65536,
    "policy_ports": 16384,
    "counters": 16384,
}
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
ONE = struct.pack("=I", 1)


def pins(node: str) -> str:
    """The folder of a node's maps in its BPF file system."""
    return f"/sys/fs/bpf/labkit/{node}/maps"


def check_room(node: str, wanted: Entries) -> None:
    """Raises ProvisionError where a map would have more entries than it has room for."""
    for name, entries in wanted.items():
        if len(entries) > CAPACITY[name]:
            raise ProvisionError(
                f"the eBPF map {name} of {node} has room for {CAPACITY[name]} entries, {len(entries)} are "
                "needed; nothing was changed. Ask for fewer Services, endpoints or policies"
            )


def direction_of(kind: str) -> int:
    """`Ingress` or `Egress` as the maps number them."""
    return {"Egress": 1, "Ingress": 2}[kind]


def frontend(ip: str, port: int, protocol: int) -> bytes:
    """Key of `services`."""
    return struct.pack("=4sHBx", IPv4Address(ip).packed, port, protocol)


def service(number: int, backends: int, affinity_s: int) -> bytes:
    """Value of `services`. Without affinity `affinity_s` is 0."""
    return struct.pack("=III", number, backends, affinity_s)


def slot(number: int, at: int) -> bytes:
    """Key of `backends`: the number of the Service's port, and of the backend in it."""
    return struct.pack("=II", number, at)


def backend(ip: str, port: int) -> bytes:
    """Value of `backends`, not chosen yet."""
    return struct.pack("=4sHxxQ", IPv4Address(ip).packed, port, 0)


def device(ifindex: int) -> bytes:
    """Key of `endpoints`."""
    return struct.pack("=I", ifindex)


def address(ip: str) -> bytes:
    """Value of `endpoints`."""
    return IPv4Address(ip).packed


def isolation(ip: str, direction: int) -> bytes:
    """Key of `isolated`."""
    return struct.pack("=4sI", IPv4Address(ip).packed, direction)


def peer(ip: str, direction: int, network: IPv4Network) -> bytes:
    """Key of `policy_peers`."""
    of_peer = network.network_address.packed
    return struct.pack("=I4sI4s", 64 + network.prefixlen, IPv4Address(ip).packed, direction, of_peer)


def opening(ports: int, protocol: int | None, port: int, length: int) -> bytes:
    """Key of `policy_ports`: the first `length` of 16 bits of a port; without a protocol all traffic."""
    if protocol is None:
        return struct.pack("=IIBx2s", 32, ports, 0, bytes(2))
    return struct.pack("=IIBx2s", 48 + length, ports, protocol, port.to_bytes(2, "big"))


def number(value: int) -> bytes:
    """A value of one number."""
    return struct.pack("=I", value)
