"""The bytes of many packets, read by columns: headers at many places at once, fields of many packets.

A header is described as numpy describes a record (names, sizes, byte order), and one copy brings that of
every packet together; a field of it is then a column. Nothing here makes a Python object for a packet.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from labkit.parse.capture_file import Data, Records
    from labkit.parse.packet_records import Bools, Ints, Octets

    #: A field's name and its number's form, as numpy writes it: `>u2` is 16 bits, the big end first.
    Form = tuple[tuple[str, str], ...]
    Header = np.ndarray[tuple[int], np.dtype[Any]]

__all__ = ["PROBLEMS", "File", "Level", "View", "is_one_of"]

PROBLEMS = (
    "cut in the link header", "cut in the IP header", "malformed IP header", "cut in the transport header",
    "malformed transport header", "cut in the tunnel header", "too many extension headers",
    "IP length beyond the frame",
)  # fmt: skip
CUT_LINK, CUT_IP, BAD_IP, CUT_TRANSPORT, BAD_TRANSPORT, CUT_TUNNEL, TOO_MANY, LONG_IP = range(len(PROBLEMS))


class File:
    """The bytes of a whole file."""

    def __init__(self, data: Data) -> None:
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

        self.octets: Octets = np.frombuffer(data, dtype=np.uint8)

    def header(self, at: Ints, form: Form) -> Header:
        """The headers of this form that begin there; each must be in the file whole."""
        import numpy as np  # noqa: PLC0415

        dtype = _dtype(form)
        if not len(at):
            return np.empty(0, dtype=dtype)
        places = (len(self.octets) - dtype.itemsize + 1,)
        return np.ndarray(places, f"V{dtype.itemsize}", self.octets, strides=(1,))[at].view(dtype)


@cache
def _dtype(form: Form) -> np.dtype[Any]:
    import numpy as np  # noqa: PLC0415

    return np.dtype(list(form))


class View:
    """A batch of packets of a file. `problem` is an index of PROBLEMS for each packet, or -1."""

    def __init__(self, file: File, found: Records) -> None:
        import numpy as np  # noqa: PLC0415

        self.file, self.header = file, file.header
        self.start, self.wire, self.link, self.host_order = (
            found.start, found.wire, found.link, found.host_order,
        )  # fmt: skip
        self.end = found.start + found.captured
        #: Where the frame ended on the wire, had it been captured whole.
        self.frame_end = found.start + np.maximum(found.wire, found.captured)
        self.problem = self.blank("int8")

    def __len__(self) -> int:
        return len(self.start)

    def blank(self, dtype: str = "int64") -> Any:  # noqa: ANN401  (a numpy array of that dtype)
        """A column of -1."""
        import numpy as np  # noqa: PLC0415

        return np.full(len(self.start), -1, dtype=dtype)

    def enough(self, rows: Ints, at: Ints, size: Ints | int, problem: int) -> tuple[Ints, Ints]:
        """Those packets that were captured up to `at + size`; the others get the problem."""
        end = self.end if len(rows) == len(self) else self.end[rows]
        return self.keep(at + size <= end, problem, rows, at)

    def keep(self, good: Bools, problem: int, rows: Ints, *others: Any) -> tuple[Any, ...]:  # noqa: ANN401
        """Those packets that are good, and what goes with them; the others get the problem."""
        if good.all():
            return rows, *others
        self.problem[rows[~good]] = problem
        return rows[good], *(other[good] for other in others)


class Level:
    """The fields of one IP packet and the link header before it, for each packet of a batch; -1 is none.

    `name in level` says whether any packet has the field; a column that none has costs nothing.
    """

    #: How the columns are held, so that a file's packets take little room; `*_at` are places in the file.
    DTYPES: ClassVar[dict[str, str]] = {
        "link_bytes": "int8", "vlan": "int16", "vlan_bytes": "int8", "ethertype": "int32", "family": "int8",
        "src_ip": "int32", "dst_ip": "int32", "protocol": "int16", "ttl": "int16", "ip_id": "int64",
        "ip_bytes": "int64", "ip_header_bytes": "int16", "fragment": "int8", "src_port": "int32",
        "dst_port": "int32", "transport_bytes": "int8", "tcp_flags": "int16", "seq": "int64", "ack": "int64",
        "icmp_type": "int16", "icmp_id": "int32", "icmp_seq": "int32", "payload_at": "int64",
    }  # fmt: skip

    def __init__(self, view: View) -> None:
        self._view = view
        self._columns: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  (a numpy array of the column's dtype)
        if name not in self._columns:
            self._columns[name] = self._view.blank(self.DTYPES[name])
        return self._columns[name]

    def put(self, rows: Ints, **values: Any) -> None:  # noqa: ANN401  (numpy arrays of integers, or one)
        """Set fields of some packets, whose numbers rise."""
        if not len(rows):
            return
        every = len(rows) == len(self._view)
        for name, value in values.items():
            self[name][slice(None) if every else rows] = value


def is_one_of(values: Ints, numbers: Iterable[int]) -> Bools:
    """Whether each value is one of a few numbers; far quicker for few than numpy's own `isin`."""
    import numpy as np  # noqa: PLC0415

    found = np.zeros(len(values), dtype=bool)
    for number in numbers:
        found |= values == number
    return found
