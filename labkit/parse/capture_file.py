"""Capture files: where each packet begins, how long it is, when it was seen and on which link type.

Formats: pcap (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html, sections 4 and 5; both byte
orders, microseconds and nanoseconds) and pcapng (draft-ietf-opsawg-pcapng, sections 4.1 to 4.4: section
header, interface description, enhanced and simple packet blocks; other blocks are skipped, as it asks).
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass, field

from labkit.errors import ParseError

__all__ = ["Records", "records"]

TOOL = "tcpdump"
SECTION = b"\x0a\x0d\x0d\x0a"
#: First four bytes of a pcap file: byte order, and how many of the fraction's units make a microsecond.
MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1),
    b"\xa1\xb2\xc3\xd4": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1000),
}
#: libpcap's MAXIMUM_SNAPLEN. A packet that claims more is a damaged file.
LONGEST = 262_144
#: pcapng blocks that are read, and the least bytes each has: interface, obsolete packet, simple, enhanced.
SHORTEST = {1: 20, 2: 32, 3: 16, 6: 32}


@dataclass(slots=True)
class Records:
    """The packets of a file, in order: a column of 64-bit integers for each property.

    `start` is the offset of the first captured byte in the file, `time_us` microseconds since 1970 (-1 where
    the file gives no time), `link` the link type (https://www.tcpdump.org/linktypes.html). `cut` says that
    the file ends inside a packet, which is then left out.
    """

    start: array[int] = field(default_factory=lambda: array("q"))
    captured: array[int] = field(default_factory=lambda: array("q"))
    wire: array[int] = field(default_factory=lambda: array("q"))
    time_us: array[int] = field(default_factory=lambda: array("q"))
    link: array[int] = field(default_factory=lambda: array("q"))
    cut: bool = False

    def __len__(self) -> int:
        return len(self.start)

    def add(self, start: int, captured: int, wire: int, time_us: int, link: int) -> None:
        """One more packet."""
        self.start.append(start)
        self.captured.append(captured)
        self.wire.append(wire)
        self.time_us.append(time_us)
        self.link.append(link)


@dataclass(slots=True)
class _Interface:
    """An interface of a pcapng section: link type, snap length and the unit of its times."""

    link: int
    snaplen: int
    units_a_second: int = 1_000_000
    offset_s: int = 0


def records(data: bytes) -> Records:
    """The packets of a pcap or pcapng file.

    A file that was cut off keeps the packets before the cut and has `cut` set. Raises ParseError on an empty
    file, on what is no capture file, and on lengths that no packet has.
    """
    if not data:
        raise ParseError(TOOL, "empty output where a capture file was expected")
    if data[:4] == SECTION:
        return _pcapng(data)
    if data[:4] not in MAGIC:
        raise ParseError(TOOL, "neither a pcap nor a pcapng file", excerpt=repr(data[:40]))
    return _pcap(data)


def _pcap(data: bytes) -> Records:
    order, divisor = MAGIC[data[:4]]
    if len(data) < 24:
        raise ParseError(TOOL, f"the header of the file is cut off after {len(data)} bytes")
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF  # above are the FCS' length and flags
    found, at, header = Records(), 24, struct.Struct(order + "IIII")
    while at + 16 <= len(data):
        seconds, fraction, captured, wire = header.unpack_from(data, at)
        if captured > LONGEST:
            raise ParseError(TOOL, f"packet {len(found)} at byte {at} claims {captured} captured bytes")
        if at + 16 + captured > len(data):
            break
        found.add(at + 16, captured, wire, seconds * 1_000_000 + fraction // divisor, link)
        at += 16 + captured
    found.cut = at != len(data)
    return found


def _pcapng(data: bytes) -> Records:
    found, at, order = Records(), 0, "<"
    interfaces: list[_Interface] = []
    while at + 12 <= len(data):
        if data[at : at + 4] == SECTION:
            order, interfaces = _byte_order(data, at), []
        kind, length = struct.unpack_from(order + "II", data, at)
        if length < SHORTEST.get(kind, 12) or length % 4 or length > 2 * LONGEST:
            raise ParseError(TOOL, f"the block at byte {at} claims {length} bytes")
        if at + length > len(data):
            break
        if kind == 1:
            interfaces.append(_interface(data, order, at, length))
        elif kind in SHORTEST:
            _packet(data[at : at + length], order, at, interfaces, found)
        at += length
    found.cut = at != len(data)
    return found


def _byte_order(data: bytes, at: int) -> str:
    magic = data[at + 8 : at + 12]
    orders = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
    if magic not in orders:
        raise ParseError(TOOL, f"the section at byte {at} has no byte-order magic", excerpt=magic.hex())
    return orders[magic]


def _interface(data: bytes, order: str, at: int, length: int) -> _Interface:
    link, _, snaplen = struct.unpack_from(order + "HHI", data, at + 8)
    found = _Interface(link, snaplen or LONGEST)
    option, end = at + 16, at + length - 4
    while option + 4 <= end:
        code, size = struct.unpack_from(order + "HH", data, option)
        if code == 9:  # if_tsresol: a negative power of 10, or of 2 where the top bit is set
            exponent = data[option + 4]
            found.units_a_second = 2 ** (exponent & 0x7F) if exponent & 0x80 else 10**exponent
        elif code == 14:  # if_tsoffset
            found.offset_s = struct.unpack_from(order + "q", data, option + 4)[0]
        option += 4 + (size + 3) // 4 * 4
    return found


def _packet(block: bytes, order: str, at: int, interfaces: list[_Interface], found: Records) -> None:
    kind = struct.unpack_from(order + "I", block)[0]
    if kind == 2:
        raise ParseError(TOOL, f"an obsolete packet block at byte {at}; convert the file with editcap")
    number, high, low, captured, wire = struct.unpack_from(order + "IIIII", block.ljust(28), 8)
    if kind == 3:  # a simple packet block has no number, no time and no captured length
        number, wire = 0, number
    if number >= len(interfaces):
        raise ParseError(TOOL, f"a packet at byte {at} of an interface that is not described")
    interface = interfaces[number]
    if kind == 3:
        found.add(at + 12, min(wire, interface.snaplen, len(block) - 16), wire, -1, interface.link)
        return
    if captured > len(block) - 32:
        raise ParseError(TOOL, f"packet {len(found)} at byte {at} claims {captured} captured bytes")
    time_us = ((high << 32 | low) * 1_000_000) // interface.units_a_second + interface.offset_s * 1_000_000
    found.add(at + 28, captured, wire, time_us, interface.link)
