"""IP and transport headers of many packets at once.

Formats: 802.1Q tags, IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200), TCP (RFC 9293), UDP
(RFC 768), SCTP (RFC 9260), ICMP (RFC 792, RFC 4443). The link header in front is read by `packet_links`,
tunnels by `packet_tunnels`. Fields are read as they stand; where a length contradicts the packet it is in,
`problem` says so, and what cannot be where it should be is NA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.packet_texts import Texts, ip4, ip6
from labkit.parse.packet_view import (
    BAD_IP,
    BAD_TRANSPORT,
    CUT_IP,
    CUT_LINK,
    CUT_TRANSPORT,
    LONG_IP,
    TOO_MANY,
    is_one_of,
)  # fmt: skip

if TYPE_CHECKING:
    from labkit.parse.packet_records import Ints
    from labkit.parse.packet_view import Header, Level, View

__all__ = ["Layers"]

IPV4, IPV6 = 0x0800, 0x86DD
VLANS, TAGS = (0x8100, 0x88A8, 0x9100), 2
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
ECHOES = {ICMP: (0, 8), ICMPV6: (128, 129)}
#: IPv6 extension headers: hop-by-hop, routing, fragment, authentication, destination options.
EXTENSIONS, MOST_EXTENSIONS = (0, 43, 44, 51, 60), 8

TAG = (("tag", ">u2"), ("ethertype", ">u2"))
IP4 = (
    ("version", "u1"), ("service", "u1"), ("length", ">u2"), ("id", ">u2"), ("fragment", ">u2"), ("ttl", "u1"),
    ("protocol", "u1"), ("checksum", ">u2"), ("src", ">u4"), ("dst", ">u4"),
)  # fmt: skip
IP6 = (
    ("version", "u1"), ("flow", "u1"), ("label", ">u2"), ("length", ">u2"), ("protocol", "u1"), ("ttl", "u1"),
    ("src_high", ">u8"), ("src_low", ">u8"), ("dst_high", ">u8"), ("dst_low", ">u8"),
)  # fmt: skip
EXTENSION = (("next", "u1"), ("length", "u1"), ("fragment", ">u2"), ("id", ">u4"))
TCP_HEADER = (
    ("src_port", ">u2"), ("dst_port", ">u2"), ("seq", ">u4"), ("ack", ">u4"), ("offset_flags", ">u2"),
    ("window", ">u2"), ("checksum", ">u2"), ("urgent", ">u2"),
)  # fmt: skip
UDP_HEADER = (("src_port", ">u2"), ("dst_port", ">u2"), ("length", ">u2"), ("checksum", ">u2"))
SCTP_HEADER = (("src_port", ">u2"), ("dst_port", ">u2"), ("tag", ">u4"), ("checksum", ">u4"))
ICMP_HEADER = (("type", "u1"), ("code", "u1"), ("checksum", ">u2"), ("id", ">u2"), ("seq", ">u2"))
#: The header of each transport protocol, and its bytes.
TRANSPORTS = {
    TCP: (TCP_HEADER, 20), UDP: (UDP_HEADER, 8), SCTP: (SCTP_HEADER, 12), ICMP: (ICMP_HEADER, 8),
    ICMPV6: (ICMP_HEADER, 8),
}  # fmt: skip
VERSION = (("version", "u1"),)


class Layers:
    """Reads packets of one batch, outer or inner, into a level; addresses are numbers of texts."""

    def __init__(self, view: View, level: Level, addresses: Texts) -> None:
        self.view, self.level, self.addresses = view, level, addresses

    def by_version(self, rows: Ints, at: Ints) -> None:
        """An IP packet without a link header: its first four bits say which version it is."""
        rows, at = self.view.enough(rows, at, 1, CUT_IP)
        version = self.view.header(at, VERSION)["version"] >> 4
        rows, at, version = self.view.keep((version == 4) | (version == 6), BAD_IP, rows, at, version)
        self.network(rows, at, (version == 4) * (IPV4 - IPV6) + IPV6)

    def network(self, rows: Ints, at: Ints, ethertype: Any, tags: int = 0) -> None:  # noqa: ANN401
        """What follows a link header: VLAN tags, then IP. Anything else keeps its ethertype and no more."""
        if not len(rows):
            return
        self.level.put(rows, vlan_bytes=4 * tags, ethertype=ethertype)
        tagged = is_one_of(ethertype, VLANS)
        if tags < TAGS and tagged.any():
            some, here = self.view.enough(rows[tagged], at[tagged], 4, CUT_LINK)
            tag = self.view.header(here, TAG)
            if not tags:
                self.level.put(some, vlan=tag["tag"] & 0xFFF)
            self.network(some, here + 4, tag["ethertype"], tags + 1)
        for number, read in ((IPV4, self._ip4), (IPV6, self._ip6)):
            mine = ethertype == number
            if mine.all():
                read(rows, at)
            elif mine.any():
                read(rows[mine], at[mine])

    def _ip4(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 20, CUT_IP)
        ip = self.view.header(at, IP4)
        header, total = (ip["version"] & 0x0F).astype("int64") * 4, ip["length"].astype("int64")
        total = self._said(rows, at, total, 0)
        good = (ip["version"] >> 4 == 4) & (header >= 20) & (total >= header)
        rows, at, ip, header, total = self.view.keep(good, BAD_IP, rows, at, ip, header, total)
        fragment, protocol = ip["fragment"].astype("int64"), ip["protocol"].astype("int64")
        self.level.put(
            rows, family=4, src_ip=self.addresses.codes(ip["src"].astype("uint32"), ip4),
            dst_ip=self.addresses.codes(ip["dst"].astype("uint32"), ip4), protocol=protocol, ttl=ip["ttl"],
            ip_id=ip["id"], ip_bytes=total, ip_header_bytes=header, fragment=fragment & 0x3FFF != 0,
        )  # fmt: skip
        self._transports(rows, at + header, at + total, protocol, first=fragment & 0x1FFF == 0)

    def _said(self, rows: Ints, at: Ints, said: Ints, header: int) -> Ints:
        """The length of IP packets: what they say, or what was on the wire where they say 0, as the sender
        does that leaves it to the network card (segmentation offload), and a jumbogram."""
        room = (self.view.frame_end if len(rows) == len(self.view) else self.view.frame_end[rows]) - at
        said = said + header
        unsaid = said == header
        if unsaid.any():
            said[unsaid] = room[unsaid]
        beyond = said > room
        if beyond.any():
            self.view.problem[rows[beyond]] = LONG_IP
        return said

    def _ip6(self, rows: Ints, at: Ints) -> None:
        rows, at = self.view.enough(rows, at, 40, CUT_IP)
        ip = self.view.header(at, IP6)
        rows, at, ip = self.view.keep(ip["version"] >> 4 == 6, BAD_IP, rows, at, ip)
        total = self._said(rows, at, ip["length"].astype("int64"), 40)
        protocol = ip["protocol"].astype("int64")
        halves = {name: ip[name].astype("uint64") for name in ("src_high", "src_low", "dst_high", "dst_low")}
        self.level.put(
            rows, family=6, src_ip=self.addresses.pairs(halves["src_high"], halves["src_low"], ip6),
            dst_ip=self.addresses.pairs(halves["dst_high"], halves["dst_low"], ip6), protocol=protocol,
            ttl=ip["ttl"], ip_bytes=total, ip_header_bytes=40, fragment=0,
        )  # fmt: skip
        self._extensions(rows, at + 40, at + total, protocol)

    def _extensions(self, rows: Ints, at: Ints, stop: Ints, protocol: Ints) -> None:
        """IPv6 extension headers, then the transport header, which only the first fragment has."""
        level, view = self.level, self.view
        for _ in range(MOST_EXTENSIONS):
            extended = is_one_of(protocol, EXTENSIONS)
            if not extended.any():
                break
            plain = ~extended
            self._transports(rows[plain], at[plain], stop[plain], protocol[plain])
            rows, at, stop, kind = rows[extended], at[extended], stop[extended], protocol[extended]
            here = at + 8 <= view.end[rows]
            if not here.all():
                self._unreached(rows[~here], CUT_IP)
                rows, at, stop, kind = rows[here], at[here], stop[here], kind[here]
            head = view.header(at, EXTENSION)
            units, split = head["length"].astype("int64"), kind == 44
            size = (units + 1) * 8
            size[split], size[kind == 51] = 8, (units[kind == 51] + 2) * 4
            level.put(rows[split], fragment=1, ip_id=head["id"][split])
            protocol = head["next"].astype("int64")
            level.put(rows, ip_header_bytes=level["ip_header_bytes"][rows] + size, protocol=protocol)
            first = ~split | (head["fragment"] >> 3 == 0)
            self._later(rows[~first], protocol[~first])
            rows, at, stop, protocol = rows[first], (at + size)[first], stop[first], protocol[first]
        extended = is_one_of(protocol, EXTENSIONS)
        self._unreached(rows[extended], TOO_MANY)
        plain = ~extended
        self._transports(rows[plain], at[plain], stop[plain], protocol[plain])

    def _unreached(self, rows: Ints, problem: int) -> None:
        """Packets whose extension headers did not end: what they carry is not known, nor the rest of them."""
        self.view.problem[rows] = problem
        split = self.level["fragment"][rows] == 1
        self.level.put(rows, protocol=-1)
        self.level.put(rows[~split], fragment=-1)

    def _later(self, rows: Ints, protocol: Ints) -> None:
        """Later fragments name what the first one begins with; where that is an extension, it says little."""
        self.level.put(rows[is_one_of(protocol, EXTENSIONS)], protocol=-1)

    def _transports(self, rows: Ints, at: Ints, stop: Ints, protocol: Ints, first: Any = None) -> None:  # noqa: ANN401
        """Transport headers at `at`, of packets that end at `stop`; of fragments only the first has one."""
        view = self.view
        if first is not None and not first.all():
            rows, at, stop, protocol = rows[first], at[first], stop[first], protocol[first]
        rest = len(rows)
        for number, (form, size) in TRANSPORTS.items():
            mine = protocol == number
            count = int(mine.sum())
            if not count:
                continue
            rest -= count
            some, here, end = (rows, at, stop) if count == len(rows) else (rows[mine], at[mine], stop[mine])
            limit = view.end if len(some) == len(view) else view.end[some]
            some, here, end = view.keep(here + size <= limit, CUT_TRANSPORT, some, here, end)
            some, here, end = view.keep(here + size <= end, BAD_TRANSPORT, some, here, end)
            header = view.header(here, form)
            self.level.put(some, transport_bytes=size)
            if number in ECHOES:
                self._icmp(some, here, header, ECHOES[number])
                continue
            self.level.put(some, src_port=header["src_port"], dst_port=header["dst_port"])
            if number == TCP:
                self._tcp(some, header, end - here)
            elif number == UDP:
                self._udp(some, here, header, end - here)
        if rest:
            other = ~is_one_of(protocol, TRANSPORTS)
            some, here = view.enough(rows[other], at[other], 0, CUT_IP)
            self.level.put(some, payload_at=here)

    def _tcp(self, rows: Ints, tcp: Header, room: Ints) -> None:
        offset_flags = tcp["offset_flags"].astype("int16")
        size = (offset_flags >> 12 & 0xF) * 4
        bad = (size < 20) | (size > room)
        if bad.any():
            self.view.problem[rows[bad]] = BAD_TRANSPORT
        self.level.put(
            rows, seq=tcp["seq"], ack=tcp["ack"], tcp_flags=offset_flags & 0x1FF, transport_bytes=size.clip(min=20)
        )  # fmt: skip

    def _udp(self, rows: Ints, at: Ints, udp: Header, room: Ints) -> None:
        odd = udp["length"] != room
        if odd.any():  # 0 is a jumbogram (RFC 2675); the first of some fragments tells the length of all
            odd &= (udp["length"] > 0) & (self.level["fragment"][rows] == 0) | (udp["length"] - 1 < 7)
            self.view.problem[rows[odd]] = BAD_TRANSPORT
        self.level.put(rows, payload_at=at + 8)

    def _icmp(self, rows: Ints, at: Ints, icmp: Header, echoes: tuple[int, int]) -> None:
        kind = icmp["type"]
        self.level.put(rows, icmp_type=kind)
        echo = (kind == echoes[0]) | (kind == echoes[1])
        if not echo.all():
            rows, at, icmp = rows[echo], at[echo], icmp[echo]
        self.level.put(rows, icmp_id=icmp["id"], icmp_seq=icmp["seq"], payload_at=at + 8)
