"""IP and transport headers of many packets at once.

Every header is read for all packets that have it, with numpy: a position in the file for each packet, and
columns of 64-bit integers that hold -1 where a packet has no such field. Formats: 802.1Q tags, IPv4
(RFC 791), IPv6 and its extension headers (RFC 8200), TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP
(RFC 792, RFC 4443). The link header in front is read by `packet_links`, tunnels by `packet_tunnels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from labkit.parse.capture_file import Records

    Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Ints = np.ndarray[tuple[int], np.dtype[np.int64]]

__all__ = ["PROBLEMS", "Level", "View", "by_version", "is_one_of", "network"]

IPV4, IPV6 = 0x0800, 0x86DD
VLANS = (0x8100, 0x88A8, 0x9100)
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
#: Least bytes of the header of each transport protocol.
TRANSPORTS = {TCP: 20, UDP: 8, SCTP: 12, ICMP: 8, ICMPV6: 8}
ECHOES = {ICMP: (0, 8), ICMPV6: (128, 129)}
#: IPv6 extension headers: hop-by-hop, routing, fragment, authentication, destination options.
EXTENSIONS = (0, 43, 44, 51, 60)

PROBLEMS = (
    "cut in the link header", "cut in the IP header", "malformed IP header", "cut in the transport header",
    "malformed transport header", "cut in the tunnel header", "too many extension headers",
)  # fmt: skip
CUT_LINK, CUT_IP, BAD_IP, CUT_TRANSPORT, BAD_TRANSPORT, CUT_TUNNEL, TOO_MANY = range(len(PROBLEMS))


class View:
    """The bytes of all packets of a file. `problem` is an index of PROBLEMS for each packet, or -1."""

    def __init__(self, data: bytes, found: Records) -> None:
        import numpy as np  # noqa: PLC0415  (import labkit must stay fast)

        self.data = np.frombuffer(data or b"\0", dtype=np.uint8)
        self.start, captured, self.wire, self.link = (
            np.array(column, dtype=np.int64)
            for column in (found.start, found.captured, found.wire, found.link)
        )
        self.end = self.start + captured
        self.problem = self.blank()

    def __len__(self) -> int:
        return len(self.start)

    def blank(self) -> Ints:
        """A column of -1."""
        import numpy as np  # noqa: PLC0415

        return np.full(len(self.start), -1, dtype=np.int64)

    def number(self, at: Ints, size: int) -> Ints:
        """The big-endian number of this many bytes at each position."""
        import numpy as np  # noqa: PLC0415

        value = np.zeros(len(at), dtype=np.int64)
        for i in range(size):
            value = value << 8 | self.data[(at + i).clip(0, len(self.data) - 1)]
        return value

    def enough(self, rows: Ints, at: Ints, size: Ints | int, problem: int) -> tuple[Ints, Ints]:
        """Those packets that were captured up to `at + size`; the others get the problem."""
        whole = at + size <= self.end[rows]
        self.problem[rows[~whole]] = problem
        return rows[whole], at[whole]


class Level(dict[str, "Ints"]):
    """The fields of one IP packet and the link header before it, for each packet of the file; -1 is none."""

    NAMES = (
        "link_bytes", "vlan", "vlan_bytes", "ethertype", "family", "src_at", "dst_at", "protocol", "ttl",
        "ip_id", "ip_bytes", "ip_header_bytes", "fragment", "src_port", "dst_port", "transport_bytes",
        "tcp_flags", "seq", "ack", "icmp_type", "icmp_id", "icmp_seq", "payload",
    )  # fmt: skip

    def __init__(self, view: View) -> None:
        super().__init__({name: view.blank() for name in self.NAMES})

    def put(self, rows: Ints, **values: Ints | int) -> None:
        """Set fields of some packets."""
        for name, value in values.items():
            self[name][rows] = value


def is_one_of(values: Ints, numbers: Iterable[int]) -> Bools:
    """Whether each value is one of a few numbers; far quicker for few than numpy's own `isin`."""
    import numpy as np  # noqa: PLC0415

    found = np.zeros(len(values), dtype=bool)
    for number in numbers:
        found |= values == number
    return found


def by_version(view: View, level: Level, rows: Ints, at: Ints) -> None:
    """An IP packet without a link header: its first four bits say which version it is."""
    import numpy as np  # noqa: PLC0415

    version = view.number(at, 1) >> 4
    view.problem[rows[(version != 4) & (version != 6)]] = BAD_IP
    network(view, level, rows, at, np.select([version == 4, version == 6], [IPV4, IPV6], default=-1))


def network(view: View, level: Level, rows: Ints, at: Ints, ethertype: Ints) -> None:
    """What follows a link header: VLAN tags, then IP. Anything else keeps its ethertype and no more."""
    import numpy as np  # noqa: PLC0415

    level.put(rows, vlan_bytes=0, ethertype=ethertype)
    for _ in range(2):
        tagged = is_one_of(ethertype, VLANS)
        if not tagged.any():
            break
        some, here = view.enough(rows[tagged], at[tagged], 4, CUT_LINK)
        tag, before = view.number(here, 2) & 0xFFF, level["vlan_bytes"][some]
        level.put(some, vlan=np.where(before == 0, tag, level["vlan"][some]), vlan_bytes=before + 4)
        level.put(some, ethertype=view.number(here + 2, 2))
        rows = np.concatenate((rows[~tagged], some))
        at, ethertype = np.concatenate((at[~tagged], here + 4)), level["ethertype"][rows]
    for number, read in ((IPV4, _ip4), (IPV6, _ip6)):
        mine = ethertype == number
        if mine.any():
            read(view, level, rows[mine], at[mine])


def _ip4(view: View, level: Level, rows: Ints, at: Ints) -> None:
    rows, at = view.enough(rows, at, 20, CUT_IP)
    header, total = (view.number(at, 1) & 0x0F) * 4, view.number(at + 2, 2)
    # 0: left to the network card (segmentation offload); then it is what was on the wire
    unsaid = total == 0
    total[unsaid] = (view.start[rows] + view.wire[rows] - at)[unsaid]
    good = (view.number(at, 1) >> 4 == 4) & (header >= 20) & (total >= header)
    view.problem[rows[~good]] = BAD_IP
    rows, at, header, total = rows[good], at[good], header[good], total[good]
    fragment = view.number(at + 6, 2)
    level.put(
        rows, family=4, src_at=at + 12, dst_at=at + 16, protocol=view.number(at + 9, 1),
        ttl=view.number(at + 8, 1), ip_id=view.number(at + 4, 2), ip_bytes=total, ip_header_bytes=header,
        fragment=(fragment & 0x3FFF != 0).astype("int64"),
    )  # fmt: skip
    first = fragment & 0x1FFF == 0  # only the first fragment has the transport header
    _transport(view, level, *view.enough(rows[first], (at + header)[first], 0, CUT_IP))


def _ip6(view: View, level: Level, rows: Ints, at: Ints) -> None:
    rows, at = view.enough(rows, at, 40, CUT_IP)
    good = view.number(at, 1) >> 4 == 6
    view.problem[rows[~good]] = BAD_IP
    rows, at = rows[good], at[good]
    length, unsaid = view.number(at + 4, 2), view.number(at + 4, 2) == 0  # 0: a jumbogram, or offloaded
    length[unsaid] = (view.start[rows] + view.wire[rows] - at - 40)[unsaid]
    level.put(
        rows, family=6, src_at=at + 8, dst_at=at + 24, protocol=view.number(at + 6, 1),
        ttl=view.number(at + 7, 1), ip_bytes=length + 40, ip_header_bytes=40, fragment=0,
    )  # fmt: skip
    _extensions(view, level, rows, at + 40)


def _extensions(view: View, level: Level, rows: Ints, at: Ints) -> None:
    """IPv6 extension headers, then the transport header, which only the first fragment has."""
    import numpy as np  # noqa: PLC0415

    every = rows
    for _ in range(8):
        extended = is_one_of(level["protocol"][rows], EXTENSIONS)
        _transport(view, level, rows[~extended], at[~extended])
        rows, at = view.enough(rows[extended], at[extended], 8, CUT_IP)
        kind, length = level["protocol"][rows], view.number(at + 1, 1)
        size = np.select([kind == 44, kind == 51], [8, (length + 2) * 4], default=(length + 1) * 8)
        split = kind == 44
        level.put(rows[split], fragment=1, ip_id=view.number(at + 4, 4)[split])
        level.put(rows, ip_header_bytes=level["ip_header_bytes"][rows] + size, protocol=view.number(at, 1))
        first = ~split | (view.number(at + 2, 2) >> 3 == 0)
        rows, at = view.enough(rows[first], (at + size)[first], 0, CUT_IP)
    view.problem[rows] = TOO_MANY
    unknown = every[is_one_of(level["protocol"][every], EXTENSIONS)]  # what they carry was not reached
    split = level["fragment"][unknown] == 1
    level.put(unknown, protocol=-1, fragment=np.where(split, 1, -1))


def _transport(view: View, level: Level, rows: Ints, at: Ints) -> None:
    protocol = level["protocol"][rows]
    other = ~is_one_of(protocol, TRANSPORTS)
    level.put(rows[other], payload=at[other])
    for number, size in TRANSPORTS.items():
        mine = protocol == number
        if not mine.any():
            continue
        some, here = view.enough(rows[mine], at[mine], size, CUT_TRANSPORT)
        level.put(some, transport_bytes=size, payload=here + size)
        if number in ECHOES:
            _icmp(view, level, some, here, ECHOES[number])
        else:
            level.put(some, src_port=view.number(here, 2), dst_port=view.number(here + 2, 2))
        if number == TCP:
            _tcp(view, level, some, here)


def _tcp(view: View, level: Level, rows: Ints, at: Ints) -> None:
    header = (view.number(at + 12, 1) >> 4) * 4
    view.problem[rows[header < 20]] = BAD_TRANSPORT
    header = header.clip(min=20)
    level.put(
        rows, seq=view.number(at + 4, 4), ack=view.number(at + 8, 4), transport_bytes=header,
        tcp_flags=view.number(at + 12, 2) & 0x1FF, payload=at + header,
    )  # fmt: skip


def _icmp(view: View, level: Level, rows: Ints, at: Ints, echoes: tuple[int, int]) -> None:
    kind = view.number(at, 1)
    level.put(rows, icmp_type=kind)
    echo = (kind == echoes[0]) | (kind == echoes[1])
    rows, at = rows[echo], at[echo]
    level.put(rows, icmp_id=view.number(at + 4, 2), icmp_seq=view.number(at + 6, 2))
