"""`tcpdump -w -`: a capture file as one row a packet, with the packet inside a tunnel beside its outside.

The file's format is read by `capture_file`, the headers by `packet_links`, `packet_layers` and
`packet_tunnels`, which name their sources. A header that was not captured whole, or is none, leaves its
fields NA and says so in `problem`; it never stops the reading of the other packets.

Files are read some thousands of packets at a time, each field of all of them at once, and a file that is
given by its path is never in memory as a whole.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.parse.capture_file import batches, is_whole, release
from labkit.parse.packet_links import DIRECTIONS, LINKS, Links
from labkit.parse.packet_payload import dns_names, payload_marks
from labkit.parse.packet_stack import PROTOCOLS, stacks
from labkit.parse.packet_texts import Texts
from labkit.parse.packet_tunnels import ENCAPS, VXLAN_PORTS, Tunnels
from labkit.parse.packet_view import PROBLEMS, File, View
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from labkit.parse.capture_file import Data, Records
    from labkit.parse.packet_view import Level

__all__ = ["PACKETS", "PACKET_FIELDS", "PLAIN", "is_cut", "packets", "plain"]

PACKET_FIELDS = (
    Column("src_ip", "category", "source address"),
    Column("dst_ip", "category", "destination address"),
    Column("protocol", "category", "tcp, udp, icmp, icmpv6, sctp, esp, …, or the protocol's number"),
    Column("src_port", "Int32", "source port; NA without one, and in all but the first fragment"),
    Column("dst_port", "Int32", "destination port"),
    Column("ttl", "Int16", "time to live, or hop limit"),
    Column("ip_id", "Int64", "IPv4 identification, or that of an IPv6 fragment"),
    Column("ip_bytes", "Int64", "length of the IP packet with its header"),
    Column("fragment", "boolean", "is a fragment"),
    Column("tcp_flags", "category", "TCP flags, comma-joined"),
    Column("seq", "Int64", "TCP sequence number"),
    Column("ack", "Int64", "TCP acknowledgement number"),
    Column("icmp_type", "Int16", "ICMP or ICMPv6 type: 8 and 0, or 128 and 129, are echo request and reply"),
    Column("icmp_id", "Int32", "identifier of an echo"),
    Column("icmp_seq", "Int32", "sequence number of an echo"),
)

PACKETS = Schema("packets", "Captured packets.", key=("n",), columns=(
    Column("n", "Int64", "number in the capture, from 0"),
    Column("time", "datetime64[us, UTC]", "when it was seen, by the clock of the machine that captured it"),
    Column("link", "category", "link type: ethernet, sll, sll2, raw, null or loop"),
    Column("ifindex", "Int64", "index of the interface, on the machine that captured it; of sll2 only"),
    Column("direction", "category", "in, broadcast, multicast, otherhost or out; of sll and sll2 only"),
    Column("device_type", "Int32", "ARPHRD_ type of the interface (1 Ethernet, 772 loopback); of sll and sll2 only"),
    Column("captured_bytes", "Int32", "bytes in the file"),
    Column("wire_bytes", "Int64", "bytes of the whole packet, with the link header that the file gives it"),
    Column("src_mac", "category", "source MAC address"),
    Column("dst_mac", "category", "destination MAC address; of ethernet only"),
    Column("vlan", "Int16", "VLAN id, of the outer tag where there are two"),
    Column("ethertype", "Int32", "what the link header carries: 2048 IPv4, 34525 IPv6, 2054 ARP"),
    *PACKET_FIELDS,
    Column("encap", "category", f"the tunnel it carries another packet in: {', '.join(ENCAPS)}; NA for none"),
    Column("vni", "Int32", "network identifier of VXLAN and Geneve"),
    *(Column(f"inner_{c.name}", c.dtype, f"inside the tunnel: {c.meaning}") for c in PACKET_FIELDS),
    Column("dns_name", "category", "name in the question of the innermost packet, where it is DNS on port 53"),
    Column("payload_mark", "Int64", "made of the first 16 bytes behind UDP or an echo's header, innermost: alike at every interface"),
    Column("headers", "category", "headers in order with their bytes, such as `ethernet:14,ipv4:20,udp:8`"),
    Column("problem", "category", "why headers are missing or doubtful: cut short, or malformed; NA where all is well"),
))  # fmt: skip

#: The same columns for few packets that are joined and reckoned with: text as text, numbers in 64 bits.
PLAIN = tuple(
    Column(c.name, {"category": "str", "Int16": "Int64", "Int32": "Int64"}.get(c.dtype, c.dtype), c.meaning)  # type: ignore[arg-type]
    for c in PACKETS.columns
)

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE")
#: Columns that are held as numbers, and the text of each number.
NAMED: dict[str, Callable[[int], str | None]] = {
    "link": LINKS.get,
    "direction": dict(enumerate(DIRECTIONS)).get,
    "protocol": lambda number: PROTOCOLS.get(number, str(number)),
    "tcp_flags": lambda bits: ",".join(name for i, name in enumerate(TCP_FLAGS) if bits >> i & 1),
    "encap": dict(enumerate(ENCAPS)).get,
    "problem": dict(enumerate(PROBLEMS)).get,
}
#: Columns that are held as numbers of distinct texts, and which collection those are in.
COLLECTED = {
    "src_ip": "addresses", "dst_ip": "addresses", "src_mac": "macs", "dst_mac": "macs", "dns_name": "names",
    "headers": "stacks",
}  # fmt: skip


def packets(data: Data | Path, *, vxlan_ports: Sequence[int] = VXLAN_PORTS) -> pd.DataFrame:
    """Every packet of a pcap or pcapng file, given as bytes, mapped, or by its path: frame PACKETS.

    `vxlan_ports` are the UDP ports that VXLAN is looked for on. A file that was cut off in a packet gives the
    packets before it; `is_cut` tells. Raises ParseError where the bytes are no capture file, none at all, or
    of a link type that is not known, and OSError where the path cannot be read.
    """
    if isinstance(data, Path):
        with data.open("rb") as file:
            if not data.stat().st_size:
                return packets(b"")
            return _read(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), vxlan_ports)
    return _read(data, vxlan_ports)


def _read(data: Data, vxlan_ports: Sequence[int]) -> pd.DataFrame:
    texts = {name: Texts() for name in dict.fromkeys(COLLECTED.values())}
    table = _Table(len(data))
    for batch, columns in _decoded(data, texts, vxlan_ports):
        if len(batch):
            table.add(batch, columns)
            release(data, batch)
    return table.frame(texts)


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Frame PACKETS with the dtypes of PLAIN: text as text, numbers in 64 bits."""
    return frame.astype({column.name: column.dtype for column in PLAIN})


def is_cut(data: Data) -> bool:
    """Whether the file ends inside a packet: the tool was killed, or the transfer broke off."""
    return not is_whole(data)


def _decoded(
    data: Data, texts: dict[str, Texts], vxlan_ports: Sequence[int]
) -> Iterator[tuple[Records, dict[str, Any]]]:
    """Batch by batch: the packets, and those columns that any of them has."""
    found = batches(data)
    file = File(data)
    for batch in found:
        view = View(file, batch)
        links = Links(view, texts["addresses"], texts["macs"])
        outer = links.outer
        tunnels = Tunnels(view, outer, texts["addresses"], vxlan_ports)
        names = [dns_names(view, level, texts["names"]) for level in (tunnels.inner, outer)]
        yield (
            batch,
            {
                "time": batch.time_us,
                "link": batch.link.astype("int16"),
                "captured_bytes": batch.captured.astype("int32"),
                "wire_bytes": batch.wire,
                **links.columns,
                **_fields(outer, "", ("vlan", "ethertype")),
                **{name: tunnels.columns.get(name) for name in ("encap", "vni")},
                **_fields(tunnels.inner, "inner_"),
                "dns_name": _first(*names),
                "payload_mark": payload_marks(view, outer, tunnels),
                "headers": stacks(view, outer, tunnels, texts["stacks"]),
                "problem": view.problem,
            },
        )


def _fields(level: Level, prefix: str, more: Sequence[str] = ()) -> dict[str, Any]:
    names = (*more, *(column.name for column in PACKET_FIELDS))
    return {prefix + name: level[name] for name in names if name in level}


def _first(one: Any, two: Any) -> Any:  # noqa: ANN401
    """The one column where it has a value, else the other."""
    import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

    if one is None or two is None:
        return two if one is None else one
    return np.where(one >= 0, one, two)


class _Table:
    """The columns of all batches, each in as few bytes as it needs, with -1 where there is none.

    They are written in place, with room for as many packets as the first ones promise: columns that were
    put together in the end would be in memory twice.
    """

    def __init__(self, file_bytes: int) -> None:
        self.rows, self.room, self.file_bytes = 0, 0, file_bytes
        self.columns: dict[str, Any] = {}

    def add(self, batch: Records, columns: dict[str, Any]) -> None:
        """One more batch."""
        import numpy as np  # noqa: PLC0415

        begin, end = self.rows, self.rows + len(batch)
        if end > self.room:
            self._grow(end, int(batch.start[-1]))
        for name, values in columns.items():
            if values is not None and name not in self.columns:
                self.columns[name] = np.empty(self.room, dtype=values.dtype)
                self.columns[name][:begin] = -1
        for name, column in self.columns.items():
            values = columns.get(name)
            column[begin:end] = -1 if values is None else values
        self.rows = end

    def _grow(self, rows: int, read_bytes: int) -> None:
        """Room for what the file holds if the rest is as what was read, and a little more."""
        self.room = max(rows, int(rows * 1.02 * self.file_bytes / read_bytes))
        for column in self.columns.values():
            column.resize(self.room, refcheck=False)

    def frame(self, texts: dict[str, Texts]) -> pd.DataFrame:
        """Frame PACKETS. What a column was held as is let go as soon as it is made."""
        import pandas as pd  # noqa: PLC0415

        columns = {column.name: self._column(column, texts) for column in PACKETS.columns}
        return pd.DataFrame(columns, copy=False)

    def _column(self, column: Column, texts: dict[str, Texts]) -> Any:  # noqa: ANN401
        import numpy as np  # noqa: PLC0415
        import pandas as pd  # noqa: PLC0415

        name, rows = column.name.removeprefix("inner_"), self.rows
        values = self.columns.pop(column.name, None)
        if values is not None:
            values.resize(rows, refcheck=False)
        elif column.dtype == "category":
            values = np.full(rows, -1, dtype="int8")
        elif name in ("n", "time"):
            values = np.arange(rows)  # of time, there is none where there is no packet
        else:  # pages of 0 that nobody touches take no memory
            dtype = "bool" if column.dtype == "boolean" else column.dtype.lower()
            return _masked(np.zeros(rows, dtype=dtype), np.ones(rows, dtype=bool))
        if name == "time":
            return _times(values)
        if name in NAMED:
            return _named(values, NAMED[name])
        if name in COLLECTED:
            return texts[COLLECTED[name]].column(values)
        if column.dtype == "boolean":
            return pd.arrays.BooleanArray(values == 1, values < 0)
        return _masked(values.astype(column.dtype.lower(), copy=False), values < 0)


def _masked(values: Any, missing: Any) -> Any:  # noqa: ANN401
    import pandas as pd  # noqa: PLC0415

    if values.dtype == bool:
        return pd.arrays.BooleanArray(values, missing)
    return pd.arrays.IntegerArray(values, missing)


def _named(numbers: Any, name: Callable[[int], str | None]) -> pd.Categorical:  # noqa: ANN401
    """A column of texts from small numbers; without one for -1, and for what has no name."""
    import numpy as np  # noqa: PLC0415

    there = np.zeros(numbers.max(initial=0) + 2, dtype=bool)
    there[numbers] = True
    there[-1] = False  # the place of -1
    texts, codes = Texts(), np.full(len(there), -1, dtype=np.int16)
    for number in np.flatnonzero(there).tolist():
        text = name(number)
        codes[number] = -1 if text is None else texts.number(text)
    return texts.column(codes[numbers])


def _times(microseconds: Any) -> Any:  # noqa: ANN401  (a pandas array)
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    microseconds[microseconds < 0] = np.iinfo(np.int64).min  # NaT
    return pd.array(microseconds.view("datetime64[us]"), dtype="datetime64[us, UTC]")
