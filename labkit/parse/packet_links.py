"""Link headers of many packets at once: what a capture file has in front of the IP packet.

Formats: https://www.tcpdump.org/linktypes.html: Ethernet, raw IP, BSD's loopback (LINKTYPE_NULL in the byte
order of the machine that captured, LINKTYPE_LOOP in the network's), and the pseudo headers that Linux gives
when it captures on `any`, LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2. The interface index of the latter
counts in the namespace it was captured in; what it is called, only that machine's own links can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.capture_file import TOOL
from labkit.parse.packet_layers import IPV4, IPV6, Layers
from labkit.parse.packet_texts import Texts, mac
from labkit.parse.packet_view import CUT_LINK, Level, View, is_one_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from labkit.parse.packet_records import Ints

__all__ = ["DIRECTIONS", "ETHERNET", "LINKS", "Links"]

LINKS = {
    0: "null", 1: "ethernet", 12: "raw", 14: "raw", 101: "raw", 108: "loop", 113: "sll", 228: "raw",
    229: "raw", 276: "sll2",
}  # fmt: skip
#: Bytes of the header that the file has in front of each packet. Those of SLL were never on a wire.
LINK_BYTES = {"ethernet": 14, "sll": 16, "sll2": 20, "raw": 0, "null": 4, "loop": 4}
#: The packet types of SLL, PACKET_HOST to PACKET_OUTGOING of linux/if_packet.h.
DIRECTIONS = ("in", "broadcast", "multicast", "otherhost", "out")
#: Address families of the loopback header: AF_INET, and AF_INET6 of the BSDs, macOS and Linux.
FAMILIES4, FAMILIES6 = (2,), (10, 24, 28, 30)

ETHERNET = (
    ("dst_high", ">u2"), ("dst_low", ">u4"), ("src_high", ">u2"), ("src_low", ">u4"), ("ethertype", ">u2"),
)  # fmt: skip
SLL = (
    ("direction", ">u2"), ("device_type", ">u2"), ("mac_bytes", ">u2"), ("mac_high", ">u2"), ("mac_low", ">u4"),
    ("rest", ">u2"), ("ethertype", ">u2"),
)  # fmt: skip
SLL2 = (
    ("ethertype", ">u2"), ("reserved", ">u2"), ("ifindex", ">u4"), ("device_type", ">u2"), ("direction", "u1"),
    ("mac_bytes", "u1"), ("mac_high", ">u2"), ("mac_low", ">u4"), ("rest", ">u2"),
)  # fmt: skip


class Links:
    """The link headers of a batch, and `outer`, the IP packet behind each. MACs are numbers of texts."""

    def __init__(self, view: View, addresses: Texts, macs: Texts) -> None:
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

        self.view, self.macs, self.outer = view, macs, Level(view)
        self.layers = Layers(view, self.outer, addresses)
        self.columns: dict[str, Any] = {}
        readers: dict[str, Callable[[Ints, Ints], None]] = {
            "ethernet": self._ethernet, "sll": self._sll, "sll2": self._sll2, "raw": self.layers.by_version,
            "null": self._null, "loop": self._loop,
        }  # fmt: skip
        for number in map(int, np.flatnonzero(np.bincount(view.link))):
            if number not in LINKS:
                raise ParseError(TOOL, f"link type {number} is none of {', '.join(map(str, LINKS))}")
            name = LINKS[number]
            rows = np.flatnonzero(view.link == number)
            rows, at = view.enough(rows, view.start[rows], LINK_BYTES[name], CUT_LINK)
            self.outer.put(rows, link_bytes=LINK_BYTES[name])
            readers[name](rows, at)

    def _put(self, name: str, dtype: str, rows: Ints, values: Any) -> None:  # noqa: ANN401
        if name not in self.columns:
            self.columns[name] = self.view.blank(dtype)
        self.columns[name][slice(None) if len(rows) == len(self.view) else rows] = values

    def _ethernet(self, rows: Ints, at: Ints) -> None:
        head = self.view.header(at, ETHERNET)
        for end in ("src", "dst"):
            self._put(f"{end}_mac", "int32", rows, self._macs(head[f"{end}_high"], head[f"{end}_low"]))
        self.layers.network(rows, at + 14, head["ethertype"])

    def _sll(self, rows: Ints, at: Ints) -> None:
        head = self.view.header(at, SLL)
        self._cooked(rows, head)
        self.layers.network(rows, at + 16, head["ethertype"])

    def _sll2(self, rows: Ints, at: Ints) -> None:
        head = self.view.header(at, SLL2)
        self._put("ifindex", "int64", rows, head["ifindex"])
        self._cooked(rows, head)
        self.layers.network(rows, at + 20, head["ethertype"])

    def _cooked(self, rows: Ints, head: Any) -> None:  # noqa: ANN401
        self._put("direction", "int32", rows, head["direction"])
        self._put("device_type", "int32", rows, head["device_type"])
        known = head["mac_bytes"] == 6
        if not known.all():
            head, rows = head[known], rows[known]
        self._put("src_mac", "int32", rows, self._macs(head["mac_high"], head["mac_low"]))

    def _macs(self, high: Any, low: Any) -> Any:  # noqa: ANN401
        return self.macs.codes(high.astype("int64") << 32 | low, mac)

    def _null(self, rows: Ints, at: Ints) -> None:
        self._family(rows, at, self.view.host_order)

    def _loop(self, rows: Ints, at: Ints) -> None:
        self._family(rows, at, ">")

    def _family(self, rows: Ints, at: Ints, order: str) -> None:
        """IPv4 or IPv6 by the address family, whatever it is called where the packet was captured."""
        family = self.view.header(at, (("family", f"{order}u4"),))["family"].astype("int64")
        for families, ethertype in ((FAMILIES4, IPV4), (FAMILIES6, IPV6)):
            mine = is_one_of(family, families)
            self.layers.network(rows[mine], at[mine] + 4, family[mine] * 0 + ethertype)
