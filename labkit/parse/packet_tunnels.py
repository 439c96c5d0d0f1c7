"""Packets in packets: which ones carry another, and what is inside where it is not encrypted.

Formats: VXLAN (RFC 7348; UDP port 4789, and 8472, Linux' default before it was assigned), Geneve (RFC 8926),
IP in IP (RFC 2003, RFC 2473, RFC 4213), GRE (RFC 2784, RFC 2890), ESP (RFC 4303, and in UDP RFC 3948),
WireGuard (https://www.wireguard.com/protocol/; UDP ports 51820, its usual one, and 51871, Cilium's).
A port alone makes no tunnel: the header behind it must be a valid one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.parse.packet_layers import UDP, Layers
from labkit.parse.packet_links import ETHERNET
from labkit.parse.packet_view import CUT_TUNNEL, Level, View, is_one_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from labkit.parse.packet_records import Bools, Ints
    from labkit.parse.packet_texts import Texts

__all__ = ["ENCAPS", "VXLAN_PORTS", "Tunnels"]

ENCAPS = ("vxlan", "geneve", "ipip", "gre", "esp", "wireguard")
VXLAN_PORTS, GENEVE_PORT, WIREGUARD_PORTS, ESP_PORT = (4789, 8472), 6081, (51820, 51871), 4500
#: IP protocol numbers that carry a packet: IPv4, IPv6, GRE, ESP.
IPIP, GRE, ESP = (4, 41), 47, 50
BRIDGED = 0x6558  # the protocol type of an Ethernet frame, of Geneve and GRE

VXLAN_HEADER = (("flags", "u1"), ("reserved", "V3"), ("vni", ">u4"))
GENEVE_HEADER = (("version", "u1"), ("flags", "u1"), ("kind", ">u2"), ("vni", ">u4"))
GRE_HEADER = (("flags", ">u2"), ("kind", ">u2"))
WORD = (("word", ">u4"),)


class Tunnels:
    """`encap` (an index of ENCAPS), `vni`, the tunnel header's bytes, and `inner`, the packet inside.

    `any` says whether the batch has a packet in a tunnel at all.
    """

    def __init__(
        self, view: View, outer: Level, addresses: Texts, vxlan_ports: Sequence[int] = VXLAN_PORTS
    ) -> None:
        self.view, self.outer, self.inner = view, outer, Level(view)
        self.layers = Layers(view, self.inner, addresses)
        self.columns: dict[str, Any] = {}
        if "payload_at" not in outer:  # neither UDP nor a protocol that is not known
            return
        protocol, carries = outer["protocol"], outer["payload_at"] >= 0
        dst, src = outer["dst_port"], outer["src_port"]
        udp = carries & (protocol == UDP)
        for mine, read in (
            (udp & is_one_of(dst, vxlan_ports), self._vxlan),
            (udp & (dst == GENEVE_PORT), self._geneve),
            (udp & (is_one_of(dst, WIREGUARD_PORTS) | is_one_of(src, WIREGUARD_PORTS)), self._wireguard),
            (udp & ((dst == ESP_PORT) | (src == ESP_PORT)), self._esp_in_udp),
            (carries & is_one_of(protocol, IPIP), self._ipip),
            (carries & (protocol == GRE), self._gre),
            (carries & (protocol == ESP), self._esp),
        ):
            if mine.any():
                read(*self._rows(mine))

    @property
    def any(self) -> bool:
        """Whether there is a tunnel."""
        return "encap" in self.columns

    def column(self, name: str, dtype: str) -> Any:  # noqa: ANN401
        """A column of the tunnels, of -1 where nothing was found."""
        if name not in self.columns:
            self.columns[name] = self.view.blank(dtype)
        return self.columns[name]

    def _rows(self, mine: Bools) -> tuple[Ints, Ints]:
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

        rows = np.flatnonzero(mine)
        return rows, self.outer["payload_at"][rows]

    def _found(self, rows: Ints, name: str, header: Ints | int) -> None:
        self.column("encap", "int8")[rows] = ENCAPS.index(name)
        self.column("tunnel_bytes", "int16")[rows] = header

    def _vxlan(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 8, CUT_TUNNEL)
        head = self.view.header(at, VXLAN_HEADER)
        valid = head["flags"] & 0x08 != 0  # the I flag: without it there is no VNI
        rows, at, head = rows[valid], at[valid], head[valid]
        self._found(rows, "vxlan", 8)
        self.column("vni", "int32")[rows] = head["vni"] >> 8
        self._ethernet(rows, at + 8)

    def _geneve(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 8, CUT_TUNNEL)
        head = self.view.header(at, GENEVE_HEADER)
        valid = head["version"] >> 6 == 0
        rows, at, head = rows[valid], at[valid], head[valid]
        size = 8 + (head["version"] & 0x3F).astype("int64") * 4
        self._found(rows, "geneve", size)
        self.column("vni", "int32")[rows] = head["vni"] >> 8
        self._carried(rows, at + size, head["kind"].astype("int64"))

    def _gre(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 4, CUT_TUNNEL)
        head = self.view.header(at, GRE_HEADER)
        flags, kind = head["flags"].astype("int64"), head["kind"].astype("int64")
        # the checksum, the key and the number are there where their flags are
        size = 4 + 4 * ((flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1))
        plain = flags & 0x4FFF == 0  # neither RFC 1701's source routes nor PPTP's version 1
        self._found(rows, "gre", size * plain + 4 * ~plain)
        self._carried(rows[plain], (at + size)[plain], kind[plain])

    def _ipip(self, rows: Ints, at: Ints) -> None:
        self._found(rows, "ipip", 0)
        self.inner.put(rows, link_bytes=0)
        self.layers.by_version(rows, at)

    def _esp(self, rows: Ints, _: Ints) -> None:
        self._found(rows, "esp", 0)

    def _esp_in_udp(self, rows: Ints, at: Ints) -> None:
        """Behind the port is ESP, or key exchange, which begins with four bytes of 0, or a keepalive of one."""
        whole = at + 4 <= self.view.end[rows]
        rows, at = rows[whole], at[whole]
        self._esp(rows[self.view.header(at, WORD)["word"] != 0], at)

    def _wireguard(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 4, CUT_TUNNEL)
        kind = self.view.header(at, WORD)["word"]  # the message type, 1 to 4, and three bytes of 0
        valid = (kind & 0xFFFFFF == 0) & (kind >> 24 >= 1) & (kind >> 24 <= 4)
        self._found(rows[valid], "wireguard", 0)

    def _carried(self, rows: Ints, at: Ints, kind: Ints) -> None:
        framed = kind == BRIDGED
        self._ethernet(rows[framed], at[framed])
        self.inner.put(rows[~framed], link_bytes=0)
        self.layers.network(rows[~framed], at[~framed], kind[~framed])

    def _ethernet(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 14, CUT_TUNNEL)
        self.inner.put(rows, link_bytes=14)
        self.layers.network(rows, at + 14, self.view.header(at, ETHERNET)["ethertype"])
