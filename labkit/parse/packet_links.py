"""Link headers of many packets at once: what a capture file has in front of the IP packet.

Formats: https://www.tcpdump.org/linktypes.html: Ethernet, raw IP, and the pseudo headers that Linux gives
when it captures on `any`, LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2. The interface index of the latter
counts in the namespace it was captured in; what it is called, only that machine's own links can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.packet_layers import CUT_IP, CUT_LINK, Level, View, by_version, network

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.parse.packet_layers import Ints

__all__ = ["DIRECTIONS", "LINKS", "Links"]

TOOL = "tcpdump"
LINKS = {1: "ethernet", 12: "raw", 14: "raw", 101: "raw", 113: "sll", 228: "raw", 229: "raw", 276: "sll2"}
#: Bytes of the header that the file has in front of each packet. Those of SLL were never on a wire.
LINK_BYTES = {"ethernet": 14, "sll": 16, "sll2": 20, "raw": 0}
#: The packet types of SLL, PACKET_HOST to PACKET_OUTGOING of linux/if_packet.h.
DIRECTIONS = ("in", "broadcast", "multicast", "otherhost", "out")


class Links:
    """The link headers of a file, and `outer`, the IP packet behind each."""

    def __init__(self, view: View) -> None:
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

        self.view, self.outer = view, Level(view)
        self.ifindex, self.direction, self.device_type = view.blank(), view.blank(), view.blank()
        self.src_mac_at, self.dst_mac_at = view.blank(), view.blank()
        readers: dict[str, Callable[[Ints, Ints], None]] = {
            "ethernet": self._ethernet, "sll": self._sll, "sll2": self._sll2, "raw": self._raw,
        }  # fmt: skip
        for number in map(int, np.unique(view.link)):
            if number not in LINKS:
                raise ParseError(TOOL, f"link type {number} is none of {', '.join(map(str, LINKS))}")
            name = LINKS[number]
            rows = np.flatnonzero(view.link == number)
            rows, at = view.enough(rows, view.start[rows], LINK_BYTES[name], CUT_LINK)
            self.outer.put(rows, link_bytes=LINK_BYTES[name])
            readers[name](rows, at)

    def _ethernet(self, rows: Ints, at: Ints) -> None:
        self.dst_mac_at[rows], self.src_mac_at[rows] = at, at + 6
        network(self.view, self.outer, rows, at + 14, self.view.number(at + 12, 2))

    def _sll(self, rows: Ints, at: Ints) -> None:
        number = self.view.number
        self.direction[rows], self.device_type[rows] = number(at, 2), number(at + 2, 2)
        self._mac(rows, at + 6, number(at + 4, 2))
        network(self.view, self.outer, rows, at + 16, number(at + 14, 2))

    def _sll2(self, rows: Ints, at: Ints) -> None:
        number = self.view.number
        self.ifindex[rows], self.device_type[rows] = number(at + 4, 4), number(at + 8, 2)
        self.direction[rows] = number(at + 10, 1)
        self._mac(rows, at + 12, number(at + 11, 1))
        network(self.view, self.outer, rows, at + 20, number(at, 2))

    def _mac(self, rows: Ints, at: Ints, length: Ints) -> None:
        self.src_mac_at[rows[length == 6]] = at[length == 6]

    def _raw(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 1, CUT_IP)
        by_version(self.view, self.outer, rows, at)
