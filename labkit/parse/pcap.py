"""`tcpdump -w -`: a capture file as one row a packet, with the packet inside a tunnel beside its outside.

The file's format is read by `capture_file`, the headers by `packet_links`, `packet_layers` and
`packet_tunnels`, which name their sources. A header that was not captured whole, or is none, leaves its
fields NA and says so in `problem`; it never stops the reading of the other packets.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from labkit.parse.capture_file import records
from labkit.parse.packet_layers import PROBLEMS, Level, View
from labkit.parse.packet_links import DIRECTIONS, LINKS, Links
from labkit.parse.packet_tunnels import ENCAPS, Tunnels
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import pandas as pd

    from labkit.parse.packet_layers import Ints

__all__ = ["PACKETS", "PACKET_FIELDS", "is_cut", "packets"]

PACKET_FIELDS = (
    Column("src_ip", "str", "source address"),
    Column("dst_ip", "str", "destination address"),
    Column("protocol", "str", "tcp, udp, icmp, icmpv6, sctp, esp, …, or the protocol's number"),
    Column("src_port", "Int64", "source port; NA without one, and in all but the first fragment"),
    Column("dst_port", "Int64", "destination port"),
    Column("ttl", "Int64", "time to live, or hop limit"),
    Column("ip_id", "Int64", "IPv4 identification, or that of an IPv6 fragment"),
    Column("ip_bytes", "Int64", "length of the IP packet with its header"),
    Column("fragment", "boolean", "is a fragment"),
    Column("tcp_flags", "str", "TCP flags, comma-joined"),
    Column("seq", "Int64", "TCP sequence number"),
    Column("ack", "Int64", "TCP acknowledgement number"),
    Column("icmp_type", "Int64", "ICMP or ICMPv6 type: 8 and 0, or 128 and 129, are echo request and reply"),
    Column("icmp_id", "Int64", "identifier of an echo"),
    Column("icmp_seq", "Int64", "sequence number of an echo"),
)

PACKETS = Schema("packets", "Captured packets.", key=("n",), columns=(
    Column("n", "Int64", "number in the capture, from 0"),
    Column("time", "datetime64[us, UTC]", "when it was seen, by the clock of the machine that captured it"),
    Column("link", "str", "link type: ethernet, sll, sll2 or raw"),
    Column("ifindex", "Int64", "index of the interface, on the machine that captured it; of sll2 only"),
    Column("direction", "str", "in, broadcast, multicast, otherhost or out; of sll and sll2 only"),
    Column("device_type", "Int64", "ARPHRD_ type of the interface (1 Ethernet, 772 loopback); of sll and sll2 only"),
    Column("captured_bytes", "Int64", "bytes in the file"),
    Column("wire_bytes", "Int64", "bytes of the whole packet, with the link header that the file gives it"),
    Column("src_mac", "str", "source MAC address"),
    Column("dst_mac", "str", "destination MAC address; of ethernet only"),
    Column("vlan", "Int64", "VLAN id, of the outer tag where there are two"),
    Column("ethertype", "Int64", "what the link header carries: 2048 IPv4, 34525 IPv6, 2054 ARP"),
    *PACKET_FIELDS,
    Column("encap", "str", f"the tunnel it carries another packet in: {', '.join(ENCAPS)}; NA for none"),
    Column("vni", "Int64", "network identifier of VXLAN and Geneve"),
    *(Column(f"inner_{c.name}", c.dtype, f"inside the tunnel: {c.meaning}") for c in PACKET_FIELDS),
    Column("dns_name", "str", "name in the question of the innermost packet, where it is DNS on port 53"),
    Column("headers", "str", "headers in order with their bytes, such as `ethernet:14,ipv4:20,udp:8`"),
    Column("problem", "str", "why headers are missing: cut short, or malformed; NA where all is well"),
))  # fmt: skip

PROTOCOLS = {
    1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 41: "ipip", 47: "gre", 50: "esp", 51: "ah",
    58: "icmpv6", 132: "sctp",
}  # fmt: skip
TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE")


def packets(data: bytes) -> pd.DataFrame:
    """Every packet of a pcap or pcapng file: frame PACKETS.

    A file that was cut off in a packet gives the packets before it; `is_cut` tells. Raises ParseError where
    the bytes are no capture file, none at all, or of a link type that is not known.
    """
    found = records(data)
    view = View(data, found)
    links = Links(view)
    tunnels = Tunnels(view, links.outer)
    text = _Text(view)
    outer, inner = links.outer, tunnels.inner
    return _frame({
        "n": range(len(view)),
        "time": _times(list(found.time_us)),
        "link": text.named(view.link, LINKS.get),
        "ifindex": links.ifindex,
        "direction": text.named(links.direction, dict(enumerate(DIRECTIONS)).get),
        "device_type": links.device_type,
        "captured_bytes": view.end - view.start,
        "wire_bytes": view.wire,
        "src_mac": text.at(links.src_mac_at, 6, lambda raw: raw.hex(":")),
        "dst_mac": text.at(links.dst_mac_at, 6, lambda raw: raw.hex(":")),
        "vlan": outer["vlan"],
        "ethertype": outer["ethertype"],
        **_fields(text, outer, ""),
        "encap": text.named(tunnels.encap, dict(enumerate(ENCAPS)).get),
        "vni": tunnels.vni,
        **_fields(text, inner, "inner_"),
        "dns_name": _dns_names(data, view, outer, inner),
        "headers": _headers(view, outer, tunnels),
        "problem": text.named(view.problem, dict(enumerate(PROBLEMS)).get),
    })  # fmt: skip


def is_cut(data: bytes) -> bool:
    """Whether the file ends inside a packet: the tool was killed, or the transfer broke off."""
    return records(data).cut


class _Text:
    """Columns of names and addresses. Each distinct value is written once."""

    def __init__(self, view: View) -> None:
        self.view = view

    def named(self, numbers: Ints, name: Callable[[int], str | None]) -> np.ndarray[Any, Any]:
        """The name of each number; None for -1 and for what has no name."""
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

        unique, codes = np.unique(numbers, return_inverse=True)
        names = [None if number < 0 else name(number) for number in unique.tolist()]
        return np.array([*names, None], dtype=object)[codes]

    def at(self, at: Ints, size: int, write: Callable[[bytes], str]) -> np.ndarray[Any, Any]:
        """What stands at each position, as text; None where the position is -1."""
        import numpy as np  # noqa: PLC0415

        column = np.full(len(at), None, dtype=object)
        rows = np.flatnonzero(at >= 0)
        if len(rows):
            raw = np.ascontiguousarray(self.view.data[at[rows, None] + np.arange(size)])
            unique, codes = np.unique(raw.view(f"V{size}").ravel(), return_inverse=True)
            column[rows] = np.array([write(value.tobytes()) for value in unique], dtype=object)[codes]
        return column

    def address(self, level: Level, at: str) -> np.ndarray[Any, Any]:
        """IPv4 and IPv6 addresses."""
        import numpy as np  # noqa: PLC0415

        four, six = (np.where(level["family"] == family, level[at], -1) for family in (4, 6))
        return np.where(
            four >= 0,
            self.at(four, 4, lambda raw: socket.inet_ntop(socket.AF_INET, raw)),
            self.at(six, 16, lambda raw: socket.inet_ntop(socket.AF_INET6, raw)),
        )


def _fields(text: _Text, level: Level, prefix: str) -> dict[str, Any]:
    columns = {column.name: level.get(column.name) for column in PACKET_FIELDS} | {
        "src_ip": text.address(level, "src_at"),
        "dst_ip": text.address(level, "dst_at"),
        "protocol": text.named(level["protocol"], lambda number: PROTOCOLS.get(number, str(number))),
        "tcp_flags": text.named(level["tcp_flags"], _flags),
    }
    return {prefix + name: values for name, values in columns.items()}


def _flags(bits: int) -> str:
    return ",".join(name for i, name in enumerate(TCP_FLAGS) if bits >> i & 1)


def _dns_names(data: bytes, view: View, outer: Level, inner: Level) -> np.ndarray[Any, Any]:
    import numpy as np  # noqa: PLC0415

    names = np.full(len(view), None, dtype=object)
    for level in (outer, inner):
        asked = (level["protocol"] == 17) & ((level["src_port"] == 53) | (level["dst_port"] == 53))
        for row in np.flatnonzero(asked).tolist():
            names[row] = _question(data, int(level["payload"][row]), int(view.end[row]))
    return names


def _question(data: bytes, at: int, end: int) -> str | None:
    """The first name of a DNS message (RFC 1035, section 4.1), or None where it is not there whole."""
    labels, here = [], at + 12
    while here < end and 0 < data[here] < 64 and here + 1 + data[here] < end:
        labels.append(data[here + 1 : here + 1 + data[here]].decode("ascii", errors="replace"))
        here += 1 + data[here]
    return ".".join(labels) + "." if labels and data[here] == 0 else None


def _headers(view: View, outer: Level, tunnels: Tunnels) -> np.ndarray[Any, Any]:
    """The headers of each packet with their bytes. Each distinct stack is written once."""
    import numpy as np  # noqa: PLC0415

    sizes = ("link_bytes", "vlan_bytes", "family", "ip_header_bytes", "protocol", "transport_bytes")
    columns = [
        view.link,
        *(outer[name] for name in sizes),
        tunnels.encap,
        tunnels.tunnel_bytes,
        *(tunnels.inner[name] for name in sizes),
    ]
    unique, codes = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
    return np.array([_stack(row) for row in unique.tolist()], dtype=object)[codes.ravel()]


def _stack(row: Sequence[int]) -> str:
    link, *outer, encap, tunnel, link_bytes, vlan, family, ip, protocol, transport = row
    parts = [(LINKS[link], outer[0]), *_level(*outer[1:])]
    if encap >= 0:
        parts += [(ENCAPS[encap], tunnel), ("ethernet", link_bytes)]
        parts += _level(vlan, family, ip, protocol, transport)
    return ",".join(f"{name}:{size}" for name, size in parts if size > 0)


def _level(vlan: int, family: int, ip: int, protocol: int, transport: int) -> list[tuple[str, int]]:
    return [("vlan", vlan), (f"ipv{family}", ip), (PROTOCOLS.get(protocol, str(protocol)), transport)]


def _times(microseconds: list[int]) -> Any:  # noqa: ANN401  (a pandas array)
    import pandas as pd  # noqa: PLC0415

    known = pd.array([None if us < 0 else us for us in microseconds], dtype="Int64")
    return pd.to_datetime(pd.Series(known), unit="us", utc=True).array


def _frame(columns: dict[str, Any]) -> pd.DataFrame:
    """Columns as the declared frame: the rows come in the order of the key. -1 in a number is NA."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    data = {}
    for column in PACKETS.columns:
        values = columns[column.name]
        if column.dtype in ("Int64", "boolean"):
            numbers = np.asarray(values, dtype=np.int64)
            whole = pd.arrays.IntegerArray(numbers, numbers < 0)
            data[column.name] = whole.astype(column.dtype)
        else:
            data[column.name] = pd.array(values, dtype=column.dtype)
    return pd.DataFrame(data)
