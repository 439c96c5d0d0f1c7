"""Where the records of a capture file begin, found for many at once.

Records lie one behind the other and each says how long it is, so that in principle they can only be walked
one by one. Here many walkers set out at places that look like the head of a record (`walked`), or all such
places are put in a chain (`chain`), and what comes out counts only as far as each record begins exactly
where the one before it ends: it is what walking from the first one gives, several times as fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
    Octets = np.ndarray[tuple[int], np.dtype[np.uint8]]

__all__ = ["LANE", "WINDOW", "Stride", "aligned", "chain", "spotted", "walked"]

#: A walker has this many bytes before it, and sets out at what it sees in the first of them.
LANE, WINDOW = 1 << 13, 1 << 9
#: How far the last walker goes.
ALONE = LANE


class Stride:
    """How many bytes of the file are looked at in one go: little where guesses go wrong, up to a limit."""

    LEAST, MOST = 1 << 16, 1 << 22

    def __init__(self) -> None:
        self.size = 4 * self.LEAST

    def went(self, progress: int) -> None:
        """How far the last go came. A scan is never much longer than what it is likely to yield."""
        self.size = min(max(4 * progress, self.LEAST), self.MOST)


def chain(start: int, guesses: Ints, after: Ints) -> tuple[Ints, int]:
    """The records from `start` on, as far as they are among the guesses, and where the last of them ends.

    `guesses` are places in rising order, `after` is where a record at each would end, further on.
    """
    import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

    ends = np.append(np.flatnonzero(after[:-1] != guesses[1:]), len(guesses) - 1)
    runs = [guesses[:0]]
    while len(guesses):
        first = int(np.searchsorted(guesses, start))
        if first == len(guesses) or guesses[first] != start:
            break
        last = int(ends[np.searchsorted(ends, first)])
        runs.append(guesses[first : last + 1])
        start = int(after[last])
    return np.concatenate(runs), start


def walked(starts: Ints, after: Callable[[Ints], Ints]) -> tuple[Ints, int]:
    """The records from the first of these places on, as far as the walkers meet, and where the last ends.

    A walker sets out at each place, in rising order, and goes on until where the next one set out; `after`
    says where the record at each place ends, and -1 where there is none. Where a walker misses the place of
    the next one, that was no record, and nothing behind it counts.
    """
    import numpy as np  # noqa: PLC0415

    limits, reached = np.append(starts[1:], starts[-1] + ALONE), starts.copy()
    walker, here = np.arange(len(starts)), starts
    records, whose = [], []
    while len(here):
        end = after(here)
        if end.min() < 0:
            there = end >= 0
            walker, here, end = walker[there], here[there], end[there]
        records.append(here)
        whose.append(walker)
        reached[walker] = end
        more = end < limits[walker]
        here = end
        if not more.all():
            walker, here = walker[more], end[more]
    last = int(np.append(np.flatnonzero(reached[:-1] != starts[1:]), len(starts) - 1)[0])
    found = np.concatenate(records)[np.concatenate(whose) <= last]
    return np.sort(found), int(reached[last])


def spotted(data: Octets, begins: Ints, window: int, word: bytes) -> tuple[Ints, Ints]:
    """Where these two bytes stand behind each other, in the window behind each place: which one, and where."""
    import numpy as np  # noqa: PLC0415

    windows = np.ndarray((len(data) - window + 1,), f"V{window}", data, strides=(1,))
    near = windows[begins].view(np.uint8).reshape(-1, window)
    same = np.zeros(near.shape, dtype=bool)
    np.logical_and(near[:, :-1] == np.uint8(word[0]), near[:, 1:] == np.uint8(word[1]), out=same[:, :-1])
    which, offset = np.divmod(np.flatnonzero(same.ravel()), window)
    return which, begins[which] + offset


def aligned(data: Octets, low: int, high: int, word: bytes) -> Ints:
    """Where these four bytes stand, a multiple of four bytes from `low`, below `high`."""
    import numpy as np  # noqa: PLC0415

    part = np.ndarray((max(high - low, 0) // 4,), np.dtype("<u4"), buffer=data, offset=low)
    return np.flatnonzero(part == np.uint32(int.from_bytes(word, "little"))) * 4 + low
