"""Packets made at random from a seed, and what scapy says of any packet in our words."""

from __future__ import annotations

import random
import struct
import warnings
from typing import Any

from scapy.contrib.geneve import GENEVE
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)  # fmt: skip
from scapy.layers.l2 import GRE, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.parse.capture import FRAME

FLAGS = dict(zip("FSRPAUECN", ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"), strict=True))
#: What a packet may be called by its link type, and the class that scapy reads it with.
LINKS = {1: Ether, 113: CookedLinux, 276: CookedLinuxV2, 101: IP, 0: Loopback}


class Maker:
    """Makes packets from a seed; each is different, and all of a seed are always the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311

    def frame(self, link: int = 1) -> bytes:
        """A packet with the header of this link type; one in four is in a tunnel."""
        inside = self._ip(tunnel=self.random.random() < 0.25)
        six = isinstance(inside, IPv6)
        if link == 101:
            return bytes(inside)
        if link == 0:
            return bytes(Loopback(type=10 if six else 2) / inside)
        if link == 113:
            return bytes(CookedLinux(pkttype=self.random.randrange(5), proto=self._kind(six), src=b"\2\3\4\5\6\7\0\0", lladdrlen=6) / inside)  # fmt: skip
        if link == 276:
            head = CookedLinuxV2(
                proto=self._kind(six), ifindex=self._number(31), pkttype=self.random.randrange(5),
                lladdrtype=1, lladdrlen=6, src=b"\2\3\4\5\6\7\0\0",
            )  # fmt: skip
            return bytes(head / inside)
        return bytes(FRAME / self._tagged(inside))

    def mutated(self, frame: bytes) -> bytes:
        """The frame with a few bytes changed, or cut somewhere, or both."""
        changed = bytearray(frame)
        if self.random.random() < 0.7:
            for _ in range(self.random.randrange(1, 4)):
                changed[self.random.randrange(min(len(changed), 90))] = self.random.randrange(256)
        if self.random.random() < 0.6:
            del changed[self.random.randrange(len(changed) + 1) :]
        return bytes(changed)

    def _kind(self, six: bool) -> int:
        return 0x86DD if six else 0x0800

    def _number(self, bits: int) -> int:
        return self.random.getrandbits(bits)

    def _tagged(self, inside: Packet) -> Packet:
        if self.random.random() < 0.8:
            return inside
        tag = Dot1Q(vlan=self._number(12), prio=self._number(3))
        return (Dot1AD(vlan=self._number(12)) / tag if self.random.random() < 0.5 else tag) / inside

    def _ip(self, *, tunnel: bool) -> Packet:
        six = self.random.random() < 0.4
        inside = self._tunnel() if tunnel else self._transport(six)
        return (self._ip6(inside) if six else self._ip4(inside, split=not tunnel)) / inside

    def _ip4(self, inside: Packet, *, split: bool) -> Packet:
        options = self.random.choice(([], [], [], [IPOption_Router_Alert()], [IPOption_NOP()] * 4))
        flags = self.random.choice((0, 2, 2))
        if split and isinstance(inside, UDP) and self.random.random() < 0.2:
            flags = 1  # the first fragment of more
        address = ".".join
        src, dst = (address(str(self._number(8)) for _ in range(4)) for _ in range(2))
        return IP(src=src, dst=dst, id=self._number(16), ttl=self._number(8), flags=flags, options=options)

    def _ip6(self, inside: Packet) -> Packet:
        src, dst = (":".join(f"{self._number(16):x}" for _ in range(8)) for _ in range(2))
        found: Packet = IPv6(src=src, dst=dst, hlim=self._number(8), fl=self._number(20))
        if self.random.random() < 0.2:
            found = found / IPv6ExtHdrHopByHop()
        if self.random.random() < 0.2:
            found = found / IPv6ExtHdrDestOpt()
        if isinstance(inside, UDP) and self.random.random() < 0.15:
            found = found / IPv6ExtHdrFragment(id=self._number(32), m=1)
        return found

    def _transport(self, six: bool) -> Packet:
        body = Raw(self.random.randbytes(self.random.randrange(80)))
        ports = {"sport": self.random.randrange(20000, 21000), "dport": self.random.randrange(22000, 23000)}
        kind = self.random.randrange(5)
        if kind == 0:
            options = self.random.choice(([], [("MSS", 1460)], [("Timestamp", (1, 2)), ("NOP", None)]))
            numbers = {"seq": self._number(32), "ack": self._number(32), "flags": self._number(8)}
            return TCP(**ports, **numbers, options=options) / body
        if kind == 1:
            return UDP(**ports) / body
        if kind == 2:
            labels = (
                self.random.choice("abcdefgh-0") * self.random.randrange(1, 30)
                for _ in range(self.random.randrange(1, 7))
            )
            name = ".".join(labels)
            return UDP(sport=ports["sport"], dport=53) / DNS(id=self._number(16), qd=DNSQR(qname=name))
        if kind == 3:
            return SCTP(**ports, tag=self._number(32)) / body
        if six:
            return self.random.choice((ICMPv6EchoRequest, ICMPv6EchoReply))(
                id=self._number(16), seq=self._number(16), data=body.load
            )
        return ICMP(type=self.random.choice((0, 8)), id=self._number(16), seq=self._number(16)) / body

    def _tunnel(self) -> Packet:
        inside, vni = self._ip(tunnel=False), self._number(24)
        kind = self.random.randrange(4)
        if kind == 0:
            port = self.random.choice((4789, 8472))
            return (
                UDP(sport=self.random.randrange(32768, 61000), dport=port)
                / VXLAN(vni=vni, flags="Instance")
                / FRAME
                / inside
            )
        if kind == 1:
            return (
                UDP(sport=self.random.randrange(32768, 61000), dport=6081)
                / GENEVE(vni=vni, options=[])
                / FRAME
                / inside
            )
        if kind == 2:
            return GRE(key_present=self.random.randrange(2), key=7) / inside
        return inside


def by_scapy(raw: bytes, link: int) -> dict[str, Any]:
    """What scapy says of a packet: our columns, as far as scapy knows them."""
    first: Any = LINKS[link]
    if link == 101 and raw[:1] and raw[0] >> 4 == 6:
        first = IPv6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layer = first(raw)
        except struct.error:  # not even the first header is whole
            return {}
    said: dict[str, Any] = {}
    if link in (1, 113, 276, 0):
        tags = []
        layer = layer.payload
        while isinstance(layer, (Dot1Q, Dot1AD)) and len(tags) < 2:
            tags.append(layer.vlan)
            layer = layer.payload
        if tags:
            said["vlan"] = tags[0]
    if type(layer) in (IP, IPv6):
        said |= _ip(layer)
    return said


def _ip(layer: Packet, prefix: str = "") -> dict[str, Any]:
    six = isinstance(layer, IPv6)
    said: dict[str, Any] = {"src_ip": layer.src, "dst_ip": layer.dst, "ttl": layer.hlim if six else layer.ttl}
    said["fragment"] = False
    if not six:
        said |= {"ip_id": layer.id, "fragment": bool(layer.frag or layer.flags.MF)}
        said |= {"ip_bytes": layer.len} if layer.len else {}
    inside, later = layer.payload, not six and layer.frag
    while type(inside) in (IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment):
        if isinstance(inside, IPv6ExtHdrFragment):
            said |= {"ip_id": inside.id, "fragment": True}
            later = later or inside.offset
        inside = inside.payload
    if not later:
        said |= _transport(inside)
    said = {prefix + name: value for name, value in said.items()}
    return said | ({} if prefix or later else _inside(inside))


def _transport(inside: Packet) -> dict[str, Any]:
    said: dict[str, Any] = {}
    kinds = {TCP: "tcp", UDP: "udp", SCTP: "sctp", ICMP: "icmp", ICMPv6EchoRequest: "icmpv6", ICMPv6EchoReply: "icmpv6"}  # fmt: skip
    if type(inside) in kinds:
        said["protocol"] = kinds[type(inside)]
    if isinstance(inside, (TCP, UDP, SCTP)):
        said |= {"src_port": inside.sport, "dst_port": inside.dport}
    if isinstance(inside, TCP):
        said |= {"seq": inside.seq, "ack": inside.ack}
        said["tcp_flags"] = ",".join(FLAGS[flag] for flag in str(inside.flags))
    if isinstance(inside, ICMP) and inside.type in (0, 8):
        said |= {"icmp_type": inside.type, "icmp_id": inside.id, "icmp_seq": inside.seq}
    if isinstance(inside, (ICMPv6EchoRequest, ICMPv6EchoReply)):
        said |= {"icmp_type": inside.type, "icmp_id": inside.id, "icmp_seq": inside.seq}
    return said


def _inside(carrier: Packet) -> dict[str, Any]:
    """What is in a tunnel."""
    said: dict[str, Any] = {}
    inside = carrier.payload
    if isinstance(carrier, UDP) and type(inside) in (VXLAN, GENEVE) and carrier.dport in (4789, 8472, 6081):
        vxlan = isinstance(inside, VXLAN)
        if (vxlan and not inside.flags.Instance) or (not vxlan and inside.version):
            return {}
        said = {"encap": "vxlan" if vxlan else "geneve", "vni": inside.vni}
        inside = inside.payload
    elif isinstance(carrier, GRE):
        if (
            carrier.routing_present
            or carrier.version
            or carrier.strict_route_source
            or carrier.recursion_control
            or carrier.flags
        ):
            return {"encap": "gre"}
        said = {"encap": "gre"}
    elif type(carrier) in (IP, IPv6):
        said, inside = {"encap": "ipip"}, carrier
    if isinstance(inside, Ether):
        inside = inside.payload
        for _ in range(2):
            inside = inside.payload if isinstance(inside, (Dot1Q, Dot1AD)) else inside
    return said | (_ip(inside, "inner_") if said and type(inside) in (IP, IPv6) else {})
