"""Capture files: where each packet begins, how long it is, when it was seen and on which link type.

Formats: pcap (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html, sections 4 and 5; both byte
orders, microseconds and nanoseconds) and pcapng, which `capture_ng` reads.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.packet_records import LANE, WINDOW, Stride, spotted, walked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.parse.packet_records import Bools, Ints, Octets

__all__ = ["LONGEST", "TOOL", "Data", "Records", "batches", "is_whole", "records", "release"]

#: A file in memory, or mapped.
Data = bytes | mmap.mmap
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
HEADER_BYTES, RECORD_BYTES = 24, 16


@dataclass(slots=True)
class Records:
    """Packets of a file, in order: a column of 64-bit integers for each property.

    `start` is the offset of the first captured byte in the file, `time_us` microseconds since 1970 (-1 where
    the file gives no time), `link` the link type (https://www.tcpdump.org/linktypes.html), `host_order` the
    byte order of the machine that wrote them. `cut` says that the file ends inside a packet, which is left
    out; it is set in the last batch.
    """

    start: Ints
    captured: Ints
    wire: Ints
    time_us: Ints
    link: Ints
    host_order: str = "<"
    cut: bool = False

    def __len__(self) -> int:
        return len(self.start)


def batches(data: Data) -> Iterator[Records]:
    """The packets of a pcap or pcapng file, some thousands at a time. There is at least one batch.

    A file that was cut off keeps the packets before the cut. Raises ParseError on an empty file, on what is
    no capture file, and on lengths that no packet has.
    """
    from labkit.parse import capture_ng  # noqa: PLC0415  (it builds on this module)

    magic = data[:4]
    if not magic:
        raise ParseError(TOOL, "empty output where a capture file was expected")
    if magic == SECTION:
        return capture_ng.batches(data)
    if magic not in MAGIC:
        raise ParseError(TOOL, "neither a pcap nor a pcapng file", excerpt=repr(data[:40]))
    if len(data) < HEADER_BYTES:
        raise ParseError(TOOL, f"the header of the file is cut off after {len(data)} bytes")
    return _pcap(data)


def records(data: Data) -> Records:
    """All packets of a file. Raises what `batches` raises."""
    import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

    found = list(batches(data))

    def whole(name: str) -> Ints:
        return np.concatenate([getattr(part, name) for part in found])

    return Records(
        start=whole("start"), captured=whole("captured"), wire=whole("wire"), time_us=whole("time_us"),
        link=whole("link"), host_order=found[-1].host_order, cut=found[-1].cut,
    )  # fmt: skip


def is_whole(data: Data) -> bool:
    """Whether the file ends at the end of a packet. Raises what `batches` raises."""
    cut = False
    for part in batches(data):
        cut |= part.cut
        release(data, part)
    return not cut


def release(data: Data, batch: Records) -> None:
    """Let the system take back the pages of packets that were read, of a file that is mapped."""
    if isinstance(data, bytes) or not len(batch):
        return
    ends = batch.start[0], batch.start[-1] + batch.captured[-1]
    first, after = (int(at) // mmap.PAGESIZE * mmap.PAGESIZE for at in ends)
    if after > first:
        data.madvise(mmap.MADV_DONTNEED, first, after - first)


def _pcap(data: Data) -> Iterator[Records]:
    import numpy as np  # noqa: PLC0415

    order, divisor = MAGIC[data[:4]]
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF  # above are the FCS' length and flags
    walk, at, cut = _Walk(data, order), HEADER_BYTES, False
    while not cut:
        starts, at = walk.on(at)
        cut = at == len(data) or not len(starts)
        seconds, fraction, captured, wire = walk.heads(starts)
        time_us = seconds * 1_000_000 + fraction // divisor
        links = np.full(len(starts), link)
        yield Records(
            starts + RECORD_BYTES, captured, wire, time_us, links, order, cut=cut and at != len(data)
        )


class _Walk:
    """Finds the records of a pcap file; heads are known by the upper half of their seconds."""

    def __init__(self, data: Data, order: str) -> None:
        import numpy as np  # noqa: PLC0415

        self.data, self.order, self.stride, self.number = data, order, Stride(), 0
        self.octets: Octets = np.frombuffer(data, dtype=np.uint8)
        self.size = len(self.octets)
        self.lengths = struct.Struct(order + "8xI4x")
        room = max(self.size - RECORD_BYTES + 1, 0)
        self.captured = np.ndarray((room,), order + "u4", self.octets, offset=8, strides=(1,))
        self.form = np.dtype([(name, order + "u4") for name in ("seconds", "fraction", "captured", "wire")])

    def on(self, at: int) -> tuple[Ints, int]:
        """Records from `at` on, and where the last of them ends; no records at the end, or where it is cut."""
        begun, places = at, self._setting_out(at, min(at + self.stride.size, self.size))
        starts, at = walked(places, self._after) if len(places) > 1 else (places[:0], at)
        if at == begun:
            starts, at = self._singly(at)
        self.stride.went(at - begun)
        self.number += len(starts)
        return starts, at

    def _setting_out(self, at: int, high: int) -> Ints:
        """Here, and places further on where two records seem to follow each other."""
        import numpy as np  # noqa: PLC0415

        begins = np.arange(at + LANE, high - WINDOW, LANE)
        if not len(begins):
            return np.array([at])
        half = 2 if self.order == "<" else 0  # where the upper half of the seconds is
        word = self.octets[at + half : at + half + 2].tobytes()
        which, guesses = spotted(self.octets, begins, WINDOW, word)
        guesses = guesses - half
        likely, after = self._likely(guesses)
        next_half = np.minimum(after + half, self.size - 2)
        likely &= (self.octets[next_half] == word[0]) & (self.octets[next_half + 1] == word[1])
        first = np.unique(which[likely], return_index=True)[1]
        return np.concatenate(([at], guesses[likely][first]))

    def _after(self, at: Ints) -> Ints:
        """Where the record at each place ends; -1 where there is none, or not the whole of it."""
        import numpy as np  # noqa: PLC0415

        # one that sticks out of the file does so with any length
        captured = self.captured[np.minimum(at, self.size - RECORD_BYTES)].astype(np.int64)
        end = at + RECORD_BYTES + captured
        none = (captured > LONGEST) | (end > self.size)
        if none.any():
            end[none] = -1
        return end

    def heads(self, starts: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Seconds, fraction, captured and wire length of the records there."""
        import numpy as np  # noqa: PLC0415

        room = max(self.size - RECORD_BYTES + 1, 0)
        windows = np.ndarray((room,), f"V{RECORD_BYTES}", self.octets, strides=(1,))
        found = windows[starts].view(self.form)
        names = ("seconds", "fraction", "captured", "wire")
        seconds, fraction, captured, wire = (found[name].astype(np.int64) for name in names)
        return seconds, fraction, captured, wire

    def _likely(self, guesses: Ints) -> tuple[Bools, Ints]:
        """Which guesses may be records that are whole, and where each would end."""
        _, fraction, captured, wire = self.heads(guesses)
        after = guesses + RECORD_BYTES + captured
        plain = (captured <= wire) & (captured <= LONGEST) & (fraction < 1_000_000_000)
        return plain & (after <= self.size), after

    def _singly(self, at: int) -> tuple[Ints, int]:
        """Some records one by one, where no others are seen further on."""
        import numpy as np  # noqa: PLC0415

        starts: list[int] = []
        high = min(at + LANE, self.size - RECORD_BYTES + 1)
        while at < high:
            (captured,) = self.lengths.unpack_from(self.data, at)
            if captured > LONGEST:
                what = f"packet {self.number + len(starts)} at byte {at} claims {captured} captured bytes"
                raise ParseError(TOOL, what)
            if at + RECORD_BYTES + captured > self.size:
                break
            starts.append(at)
            at += RECORD_BYTES + captured
        return np.array(starts, dtype=np.int64), at
