"""The headers of each packet in order with their bytes, such as `ethernet:14,ipv4:20,udp:8`.

What tells stacks apart is packed into one number a packet, and each distinct number is written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.packet_links import LINKS
from labkit.parse.packet_tunnels import ENCAPS

if TYPE_CHECKING:
    from labkit.parse.packet_records import Ints
    from labkit.parse.packet_texts import Codes, Texts
    from labkit.parse.packet_tunnels import Tunnels
    from labkit.parse.packet_view import Level, View

__all__ = ["PROTOCOLS", "stacks"]

PROTOCOLS = {
    1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 41: "ipip", 47: "gre", 50: "esp", 51: "ah",
    58: "icmpv6", 132: "sctp",
}  # fmt: skip
#: The fields that make a stack, and the bits that each takes, -1 included.
LEVEL = (("link_bytes", 5), ("vlan_bytes", 4), ("family", 3), ("ip_header_bytes", 15), ("protocol", 9), ("transport_bytes", 6))  # fmt: skip
LINK_BITS, ENCAP_BITS, TUNNEL_BITS = 9, 3, 9


def stacks(view: View, outer: Level, tunnels: Tunnels, texts: Texts) -> Codes:
    """The number of the stack of each packet."""
    key = _packed(view.link + 1, LINK_BITS, outer)
    if not tunnels.any:
        return texts.codes(key, lambda number: _stack(number, None))
    inside = _packed(tunnels.column("encap", "int8").astype("int64") + 1, ENCAP_BITS, tunnels.inner)
    inside = inside << TUNNEL_BITS | (tunnels.column("tunnel_bytes", "int16").astype("int64") + 1)
    return texts.pairs(key, inside, _stack)


def _packed(key: Ints, bits: int, level: Level) -> Ints:
    assert bits + sum(size for _, size in LEVEL) + TUNNEL_BITS < 64  # noqa: S101  (of constants)
    for name, size in LEVEL:
        key = key << size
        if name in level:
            key |= level[name].astype("int64") + 1
    return key


def _stack(outer: int, inner: int | None) -> str:
    link, fields = _unpacked(outer)
    parts = [(LINKS[link], fields["link_bytes"]), *_level(fields)]
    if inner is not None and inner:
        tunnel = (inner & (1 << TUNNEL_BITS) - 1) - 1
        encap, fields = _unpacked(inner >> TUNNEL_BITS)
        if encap >= 0:
            parts += [(ENCAPS[encap], tunnel), ("ethernet", fields["link_bytes"]), *_level(fields)]
    return ",".join(f"{name}:{size}" for name, size in parts if size > 0)


def _unpacked(key: int) -> tuple[int, dict[str, int]]:
    fields = {}
    for name, size in reversed(LEVEL):
        fields[name] = (key & (1 << size) - 1) - 1
        key >>= size
    return key - 1, fields


def _level(fields: dict[str, Any]) -> list[tuple[str, int]]:
    protocol = fields["protocol"]
    return [
        ("vlan", fields["vlan_bytes"]),
        (f"ipv{fields['family']}", fields["ip_header_bytes"]),
        (PROTOCOLS.get(protocol, str(protocol)), fields["transport_bytes"]),
    ]
