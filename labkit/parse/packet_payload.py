"""What stands behind the transport header: the name a DNS message asks for, and a mark to know a packet by.

Format of DNS: RFC 1035, section 4.1. Names are compared as bytes for all packets at once, and each distinct
one is decoded once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from labkit.parse.packet_tunnels import ENCAPS
from labkit.parse.packet_view import is_one_of

if TYPE_CHECKING:
    import numpy as np

    from labkit.parse.packet_records import Ints
    from labkit.parse.packet_texts import Codes, Texts
    from labkit.parse.packet_tunnels import Tunnels
    from labkit.parse.packet_view import Level, View

__all__ = ["dns_names", "payload_marks"]

UDP, DNS_PORT = 17, 53
HEADER_BYTES, LONGEST_LABEL, LONGEST_NAME = 12, 63, 255
MARKED_BYTES = 16
OVER_UDP = (ENCAPS.index("vxlan"), ENCAPS.index("geneve"))
TWO_WORDS = (("first", "<u8"), ("second", "<u8"))
BLOCK = 64
EIGHT_WORDS = (("words", "(8,)<u8"),)


def dns_names(view: View, level: Level, texts: Texts) -> Codes | None:
    """The name in the question of each packet that is DNS on port 53; None where no packet is."""
    import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

    if "payload_at" not in level or "src_port" not in level:
        return None
    asked = (level["src_port"] == DNS_PORT) | (level["dst_port"] == DNS_PORT)
    rows = np.flatnonzero(asked & (level["protocol"] == UDP) & (level["payload_at"] >= 0))
    if not len(rows):
        return None
    at = level["payload_at"][rows] + HEADER_BYTES
    size = _name_bytes(view, at, view.end[rows])
    rows, at, size = rows[size > 0], at[size > 0], size[size > 0]
    found: Codes = view.blank("int32")
    first, number = _distinct(view, at, size)
    names = [_name(view, int(at[one]), int(size[one])) for one in first]
    found[rows] = np.array([texts.number(name) for name in names] or [-1], dtype=np.int32)[number]
    return found


def _name_bytes(view: View, at: Ints, end: Ints) -> Ints:
    """The bytes of the labels that begin there, without the 0 behind them; 0 where they do not end well."""
    import numpy as np  # noqa: PLC0415

    octets, found = view.file.octets, np.zeros(len(at), dtype=np.int64)
    rows, here, last = np.arange(len(at)), at, np.minimum(end, at + LONGEST_NAME)
    while len(rows):
        inside = here < last
        if not inside.all():
            rows, here, last = rows[inside], here[inside], last[inside]
        label = octets[here]
        more = (label != 0) & (label <= LONGEST_LABEL)
        if not more.all():
            ended = label == 0
            found[rows[ended]] = here[ended] - at[rows[ended]]
            rows, here, last, label = rows[more], here[more], last[more], label[more]
        here = here + 1 + label
    return found


def _distinct(view: View, at: Ints, size: Ints) -> tuple[list[int], Ints]:
    """Which of these stretches of bytes are different: the first of each kind, and the kind of each.

    They are told apart by a hash, and then held against the first of their kind byte by byte.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    if not len(at):
        return [], at
    blocks = [_block(view, at, size, begin) for begin in range(0, int(size.max()), BLOCK)]
    total = size.astype(np.uint64)
    for block in blocks:
        total = total * _spread()[1] + np.einsum("ij,j->i", block, _spread())
    number, _ = pd.factorize(total)
    first = np.flatnonzero(~pd.Series(number).duplicated().to_numpy())
    other = first[number]
    same = size == size[other]
    for block in blocks:
        theirs = block[other]
        for word in range(min(BLOCK, int(size.max())) + 7 >> 3):
            same &= block[:, word] == theirs[:, word]
    if not same.all():  # two names with one hash
        odd = np.flatnonzero(~same)
        number[odd] = len(first) + np.arange(len(odd))
        first = np.concatenate((first, odd))
    return first.tolist(), number


def _block(view: View, at: Ints, size: Ints, begin: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Bytes `begin` to `begin + 64` of each stretch as eight numbers; what is behind its end is 0."""
    import numpy as np  # noqa: PLC0415

    at = at + begin
    room = len(view.file.octets) - BLOCK
    inside = at <= room
    if inside.all():
        found = view.header(at, EIGHT_WORDS)["words"]
    else:  # the last packets of the file
        found = np.zeros((len(at), BLOCK // 8), dtype=np.uint64)
        found[inside] = view.header(at[inside], EIGHT_WORDS)["words"]
        for row in np.flatnonzero(~inside).tolist():
            raw = view.file.octets[at[row] : at[row] + BLOCK].tobytes().ljust(BLOCK, b"\0")
            found[row] = np.frombuffer(raw, dtype="<u8")
    lengths = np.arange(BLOCK + 1).reshape(-1, 1)
    masks = np.where(np.arange(BLOCK) < lengths, np.uint8(255), np.uint8(0)).view(np.uint64)
    return found & masks[np.minimum(np.maximum(size - begin, 0), BLOCK)]


@cache
def _spread() -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Odd numbers that spread the bits of a word: multiples of splitmix64's."""
    import numpy as np  # noqa: PLC0415

    return np.arange(1, 2 * BLOCK // 8, 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def _name(view: View, at: int, size: int) -> str:
    raw = view.file.octets[at : at + size].tobytes()
    labels, here = [], 0
    while here < size:
        labels.append(raw[here + 1 : here + 1 + raw[here]].decode("ascii", errors="replace"))
        here += 1 + raw[here]
    return ".".join(labels) + "."


def payload_marks(view: View, outer: Level, tunnels: Tunnels) -> Ints | None:
    """A number made of the first 16 bytes behind the header of UDP or of an echo, of the innermost packet; -1 for
    other packets. Neither translation nor a tunnel changes it. None where no packet has one."""
    import numpy as np  # noqa: PLC0415

    found = None
    for level in (outer, tunnels.inner):
        if "payload_at" not in level:
            continue
        marked = level["src_port"] >= 0
        if "icmp_id" in level:
            marked |= level["icmp_id"] >= 0
        marked &= (level["payload_at"] >= 0) & (level["payload_at"] + MARKED_BYTES <= view.end)
        if level is outer and tunnels.any:  # what is behind their headers is the tunnel's own
            marked &= ~is_one_of(tunnels.column("encap", "int8"), OVER_UDP)
        rows = np.flatnonzero(marked)
        if not len(rows):
            continue
        words = view.header(level["payload_at"][rows], TWO_WORDS)
        first = words["first"] * _spread()[0]
        mixed = (first ^ first >> np.uint64(32) ^ words["second"]) * _spread()[1]
        found = view.blank() if found is None else found
        found[rows] = (mixed >> np.uint64(1)).astype(np.int64)
    return found
