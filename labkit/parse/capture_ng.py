"""pcapng files: sections, interfaces and the packets of each.

Format: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html, sections 4.1 to 4.4 and appendix A:
section headers of either byte order, interface descriptions, enhanced, simple and obsolete packet blocks;
other blocks are skipped, as it asks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.capture_file import LONGEST, SECTION, TOOL, Records
from labkit.parse.packet_records import Stride, aligned, chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from labkit.parse.capture_file import Data
    from labkit.parse.packet_records import Bools, Ints, Octets

__all__ = ["batches"]

INTERFACE, OBSOLETE, SIMPLE, ENHANCED = 1, 2, 3, 6
#: The least bytes of a block that is read, and of any other.
SHORTEST = {INTERFACE: 20, OBSOLETE: 32, SIMPLE: 16, ENHANCED: 32}
LEAST_BLOCK = 12
#: Blocks that are read one by one before what was found is handed on.
SINGLY = 64
#: Times beyond this many seconds are none: they would not fit the column.
LAST_SECOND = (1 << 62) // 1_000_000


@dataclass(slots=True)
class _Interface:
    """An interface of a section: link type, snap length (0 is none) and the unit of its times."""

    link: int
    snaplen: int
    units_a_second: int = 1_000_000
    offset_s: int = 0


def batches(data: Data) -> Iterator[Records]:
    """The packets of a pcapng file, some thousands at a time. Raises ParseError on blocks that are none."""
    import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

    walk, at, read = _Walk(data), 0, 0
    while True:
        begun = at
        starts, at = walk.on(at, read)
        read += len(starts)
        done = at == begun
        if len(starts) or done:
            found = walk.packets(starts) if len(starts) else [np.empty(0, dtype=np.int64)] * 5
            start, captured, wire, time_us, link = found
            cut = done and at != len(data)
            yield Records(start, captured, wire, time_us, link, walk.order, cut=cut)
        if done:
            return


class _Walk:
    """Finds the packet blocks of a file. The batches end where a section or an interface begins."""

    def __init__(self, data: Data) -> None:
        import numpy as np  # noqa: PLC0415

        self.data, self.stride, self.order = data, Stride(), "<"
        self.octets: Octets = np.frombuffer(data, dtype=np.uint8)
        self.size = len(self.octets)
        self.interfaces: list[_Interface] = []

    def on(self, at: int, read: int) -> tuple[Ints, int]:
        """Packet blocks from `at` on, and where to go on; `at` itself where the file ends or is cut there."""
        import numpy as np  # noqa: PLC0415

        begun, parts, count = at, [np.empty(0, dtype=np.int64)], 0
        while at + LEAST_BLOCK <= self.size and count < SINGLY:
            if self.data[at : at + 4] == SECTION:
                if count:
                    break  # what was found belongs to the section before
                self.order, self.interfaces = _byte_order(self.data, at), []
            kind, length = struct.unpack_from(self.order + "II", self.data, at)
            if length < SHORTEST.get(kind, LEAST_BLOCK) or length % 4 or length > 2 * LONGEST:
                raise ParseError(TOOL, f"the block at byte {at} claims {length} bytes")
            if at + length > self.size:
                break
            if kind == INTERFACE:
                if count:
                    break
                self.interfaces.append(_interface(self.data, self.order, at, length))
            elif kind == ENHANCED:
                run, after = self._run(at)
                if len(run):
                    parts.append(run)
                    at = after
                    break
            if kind in (OBSOLETE, SIMPLE, ENHANCED):
                self._check(at, kind, length, read + count)
                parts.append(np.array([at]))
                count += 1
            at += length
        self.stride.went(at - begun)
        return np.concatenate(parts), at

    def _run(self, at: int) -> tuple[Ints, int]:
        """The enhanced packet blocks that follow each other from here on, and where the last ends."""
        high = min(at + self.stride.size, self.size)
        word = struct.pack(self.order + "I", ENHANCED)
        guesses = aligned(self.octets, at, high, word)
        guesses = guesses[guesses <= self.size - SHORTEST[ENHANCED]]
        likely, after = self._likely(guesses)
        return chain(at, guesses[likely], after[likely])

    def _likely(self, guesses: Ints) -> tuple[Bools, Ints]:
        import numpy as np  # noqa: PLC0415

        length, number, captured = (self._number(guesses + at) for at in (4, 8, 20))
        after = guesses + length
        whole = (length % 4 == 0) & (length >= SHORTEST[ENHANCED]) & (after <= self.size)
        fits = (captured <= length - SHORTEST[ENHANCED]) & (length <= 2 * LONGEST)
        known = number < len(self.interfaces)
        last = self._number(np.where(whole, after - 4, 0))
        return whole & fits & known & (last == length), after

    def _number(self, at: Ints) -> Ints:
        """The 32-bit numbers that stand there."""
        import numpy as np  # noqa: PLC0415

        every = np.ndarray((max(self.size - 3, 0),), self.order + "u4", self.octets, strides=(1,))
        return every[at].astype(np.int64)

    def _check(self, at: int, kind: int, length: int, n: int) -> None:
        number, captured = struct.unpack_from(self.order + "I8xI", self.data[at : at + 28].ljust(28), 8)
        number = {OBSOLETE: self._obsolete(at), SIMPLE: 0}.get(kind, number)
        if number >= len(self.interfaces):
            raise ParseError(TOOL, f"a packet at byte {at} of an interface that is not described")
        if kind != SIMPLE and captured > length - SHORTEST[ENHANCED]:
            raise ParseError(TOOL, f"packet {n} at byte {at} claims {captured} captured bytes")

    def _obsolete(self, at: int) -> int:
        """The interface of an obsolete packet block, which has half the bytes for it."""
        return int(struct.unpack_from(self.order + "H", self.data[at : at + 10].ljust(10), 8)[0])

    def packets(self, starts: Ints) -> list[Ints]:
        """Start, captured and wire length, time and link type of the packets in these blocks."""
        import numpy as np  # noqa: PLC0415

        kind, length, number = (self._number(starts + at) for at in (0, 4, 8))
        simple, old = kind == SIMPLE, kind == OBSOLETE
        number[old] = [self._obsolete(at) for at in starts[old].tolist()]
        wire_at, captured_at = np.where(simple, 8, 24), np.where(simple, 8, 20)
        number[simple] = 0
        high, low = (self._number(starts + np.where(simple, 0, at)).astype(np.uint64) for at in (12, 16))
        ticks = high << np.uint64(32) | low
        wire, captured = self._number(starts + wire_at), self._number(starts + captured_at)
        time_us, link = np.empty(len(starts), dtype=np.int64), np.empty(len(starts), dtype=np.int64)
        for i, interface in enumerate(self.interfaces):
            mine = number == i
            if not mine.any():
                continue
            link[mine], time_us[mine] = interface.link, _microseconds(ticks[mine], interface)
            if i == 0:
                most = np.minimum(length[simple] - 16, interface.snaplen or LONGEST)
                captured[simple] = np.minimum(wire[simple], most)
        time_us[simple] = -1
        return [starts + np.where(simple, 12, 28), captured, wire, time_us, link]


def _microseconds(ticks: np.ndarray[tuple[int], np.dtype[np.uint64]], interface: _Interface) -> Ints:
    """Times of an interface since 1970; -1 where there is none that fits."""
    import numpy as np  # noqa: PLC0415

    units, offset = interface.units_a_second, interface.offset_s
    if units <= 10**12 and abs(offset) < LAST_SECOND:  # a second's rest, in millionths, fits 64 bits
        seconds, rest = np.divmod(ticks, np.uint64(units))
        known = seconds < LAST_SECOND
        seconds = np.where(known, seconds, np.uint64(0))
        fraction = (rest * np.uint64(1_000_000) // np.uint64(units)).astype(np.int64)
        found = (seconds.astype(np.int64) + offset) * 1_000_000 + fraction
        return np.where(known & (found >= 0) & (found < LAST_SECOND * 1_000_000), found, -1)
    exact = (tick * 1_000_000 // units + offset * 1_000_000 for tick in ticks.tolist())
    return np.array([us if 0 <= us < LAST_SECOND * 1_000_000 else -1 for us in exact], dtype=np.int64)


def _byte_order(data: Data, at: int) -> str:
    magic = data[at + 8 : at + 12]
    orders = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
    if magic not in orders:
        raise ParseError(TOOL, f"the section at byte {at} has no byte-order magic", excerpt=magic.hex())
    return orders[magic]


def _interface(data: Data, order: str, at: int, length: int) -> _Interface:
    link, _, snaplen = struct.unpack_from(order + "HHI", data, at + 8)
    found = _Interface(link, snaplen)
    option, end = at + 16, at + length - 4
    while option + 4 <= end:
        code, size = struct.unpack_from(order + "HH", data, option)
        if code == 0 or option + 4 + size > end:
            break
        if code == 9 and size >= 1:  # if_tsresol: a negative power of 10, or of 2 where the top bit is set
            exponent = data[option + 4]
            found.units_a_second = 2 ** (exponent & 0x7F) if exponent & 0x80 else 10**exponent
        elif code == 14 and size >= 8:  # if_tsoffset
            found.offset_s = struct.unpack_from(order + "q", data, option + 4)[0]
        option += 4 + (size + 3) // 4 * 4
    return found
