"""Packets in packets: which ones carry another, and what is inside where it is not encrypted.

Formats: VXLAN (RFC 7348; UDP port 4789, and 8472, Linux' default before it was assigned), Geneve (RFC 8926),
IP in IP (RFC 2003, RFC 2473, RFC 4213), GRE (RFC 2784), ESP (RFC 4303), WireGuard
(https://www.wireguard.com/protocol/; UDP ports 51820, its usual one, and 51871, Cilium's).
A port alone makes no tunnel: the header behind it must be a valid one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.parse.packet_layers import CUT_TUNNEL, UDP, Level, View, by_version, is_one_of, network

if TYPE_CHECKING:
    from labkit.parse.packet_layers import Ints

__all__ = ["ENCAPS", "Tunnels"]

ENCAPS = ("vxlan", "geneve", "ipip", "gre", "esp", "wireguard")
VXLAN_PORTS, GENEVE_PORT, WIREGUARD_PORTS = (4789, 8472), 6081, (51820, 51871)
#: IP protocol numbers that carry a packet: IPv4, IPv6, GRE, ESP.
CARRIERS = {4: "ipip", 41: "ipip", 47: "gre", 50: "esp"}
ETHERNET = 0x6558  # Geneve's protocol type of a bridged frame


class Tunnels:
    """`encap` (an index of ENCAPS), `vni`, the tunnel header's bytes, and `inner`, the packet inside."""

    def __init__(self, view: View, outer: Level) -> None:
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

        self.view, self.outer, self.inner = view, outer, Level(view)
        self.encap, self.vni, self.tunnel_bytes = view.blank(), view.blank(), view.blank()
        udp, dst, src = outer["protocol"] == UDP, outer["dst_port"], outer["src_port"]
        self._vxlan(np.flatnonzero(udp & is_one_of(dst, VXLAN_PORTS)))
        self._geneve(np.flatnonzero(udp & (dst == GENEVE_PORT)))
        keyed = is_one_of(dst, WIREGUARD_PORTS) | is_one_of(src, WIREGUARD_PORTS)
        self._wireguard(np.flatnonzero(udp & keyed))
        for number, name in CARRIERS.items():
            self._carrier(np.flatnonzero((outer["protocol"] == number) & (outer["payload"] >= 0)), name)

    def _found(self, rows: Ints, name: str, header: Ints | int) -> None:
        self.encap[rows], self.tunnel_bytes[rows] = ENCAPS.index(name), header

    def _vxlan(self, rows: Ints) -> None:
        rows, at = self.view.enough(rows, self.outer["payload"][rows], 8, CUT_TUNNEL)
        valid = self.view.number(at, 1) & 0x08 != 0  # the I flag: without it there is no VNI
        rows, at = rows[valid], at[valid]
        self._found(rows, "vxlan", 8)
        self.vni[rows] = self.view.number(at + 4, 3)
        self._ethernet(rows, at + 8)

    def _geneve(self, rows: Ints) -> None:
        rows, at = self.view.enough(rows, self.outer["payload"][rows], 8, CUT_TUNNEL)
        valid = self.view.number(at, 1) >> 6 == 0  # version 0
        rows, at = rows[valid], at[valid]
        header, kind = 8 + (self.view.number(at, 1) & 0x3F) * 4, self.view.number(at + 2, 2)
        self._found(rows, "geneve", header)
        self.vni[rows] = self.view.number(at + 4, 3)
        at, framed = at + header, kind == ETHERNET
        self._ethernet(rows[framed], at[framed])
        self.inner.put(rows[~framed], link_bytes=0)
        network(self.view, self.inner, rows[~framed], at[~framed], kind[~framed])

    def _wireguard(self, rows: Ints) -> None:
        rows, at = self.view.enough(rows, self.outer["payload"][rows], 4, CUT_TUNNEL)
        kind = self.view.number(at, 4)  # the message type, 1 to 4, and three bytes of 0
        valid = (kind & 0xFFFFFF == 0) & (kind >> 24 >= 1) & (kind >> 24 <= 4)
        self._found(rows[valid], "wireguard", 0)

    def _carrier(self, rows: Ints, name: str) -> None:
        self._found(rows, name, 0)
        if name == "ipip":
            rows, at = self.view.enough(rows, self.outer["payload"][rows], 1, CUT_TUNNEL)
            self.inner.put(rows, link_bytes=0)
            by_version(self.view, self.inner, rows, at)

    def _ethernet(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 14, CUT_TUNNEL)
        self.inner.put(rows, link_bytes=14)
        network(self.view, self.inner, rows, at + 14, self.view.number(at + 12, 2))
