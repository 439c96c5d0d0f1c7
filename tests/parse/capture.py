"""Capture files for tests: packets that scapy builds, written by hand in every form a file can have."""

import struct

from scapy.contrib.geneve import GENEVE
from scapy.layers import dns
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

OUT = IP(src="10.240.0.4", dst="10.240.0.5", id=7, ttl=61)
POD = IP(src="10.244.0.4", dst="10.244.1.3", id=4711, ttl=63)
POD6 = IPv6(src="fd00::1", dst="fd00:0:0:1::3", hlim=62)
#: Both addresses are given: without them scapy would ask for them by ARP.
FRAME = Ether(src="02:42:0a:f4:00:01", dst="02:42:0a:f4:00:02")
SYN = TCP(sport=41244, dport=80, seq=4_000_000_000, flags="S", options=[("MSS", 1460), ("WScale", 7)])
ECHO = ICMP(id=181, seq=3) / (b"x" * 56)

#: Packets by what they are, with what must be said of them beside what scapy says.
GENERATED = {
    "echo": (POD / ECHO, {"headers": "ethernet:14,ipv4:20,icmp:8", "icmp_type": 8, "icmp_id": 181, "icmp_seq": 3}),
    "syn": (POD / SYN, {"tcp_flags": "SYN", "seq": 4_000_000_000, "headers": "ethernet:14,ipv4:20,tcp:28"}),
    "all flags": (POD / TCP(flags=0x1FF), {"tcp_flags": "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR,AE"}),
    "dns": (
        POD / UDP(sport=4000) / dns.DNS(qd=dns.DNSQR(qname="a-b.cni-lab.svc.cluster.local")),
        {"dns_name": "a-b.cni-lab.svc.cluster.local.", "protocol": "udp", "dst_port": 53},
    ),
    "sctp": (POD / SCTP(sport=1, dport=2), {"protocol": "sctp", "src_port": 1, "dst_port": 2}),
    "arp": (ARP(hwsrc="02:42:0a:f4:00:01", psrc="10.244.0.4", pdst="10.244.0.5"), {"ethertype": 0x0806, "headers": "ethernet:14", "protocol": None, "problem": None}),
    "vlan": (Dot1Q(vlan=42) / POD / SYN, {"vlan": 42, "dst_port": 80, "headers": "ethernet:14,vlan:4,ipv4:20,tcp:28"}),
    "two tags": (Dot1Q(vlan=1) / Dot1Q(vlan=42) / POD / ECHO, {"vlan": 1, "headers": "ethernet:14,vlan:8,ipv4:20,icmp:8"}),
    "options": (
        IP(src="10.0.0.1", dst="10.0.0.2", options=[IPOption_Router_Alert()]) / ECHO,
        {"headers": "ethernet:14,ipv4:24,icmp:8", "icmp_seq": 3},
    ),
    "ipv6": (POD6 / SYN, {"src_ip": "fd00::1", "dst_ip": "fd00:0:0:1::3", "ttl": 62, "ip_bytes": 68, "dst_port": 80}),
    "ipv6 echo": (POD6 / ICMPv6EchoRequest(id=5, seq=6), {"icmp_type": 128, "icmp_id": 5, "icmp_seq": 6}),
    "ipv6 options": (POD6 / IPv6ExtHdrHopByHop() / SYN, {"protocol": "tcp", "dst_port": 80, "headers": "ethernet:14,ipv6:48,tcp:28"}),
    "ipv6 first fragment": (
        POD6 / IPv6ExtHdrFragment(id=99, m=1) / UDP(sport=7, dport=8) / (b"y" * 64),
        {"fragment": True, "ip_id": 99, "protocol": "udp", "dst_port": 8},
    ),
    "ipv6 later fragment": (
        POD6 / IPv6ExtHdrFragment(id=99, offset=9, nh=17) / (b"y" * 64),
        {"fragment": True, "ip_id": 99, "protocol": "udp", "dst_port": None, "problem": None},
    ),
    "ipv6 authentication": (
        IPv6(src="fd00::1", dst="fd00::2", nh=51) / Raw(b"\x06\x04" + bytes(22) + bytes(TCP(sport=9, dport=80))),
        {"protocol": "tcp", "dst_port": 80, "headers": "ethernet:14,ipv6:64,tcp:20"},
    ),
    "vxlan 4789": (
        OUT / UDP(sport=50000, dport=4789) / VXLAN(vni=4242, flags="Instance") / FRAME / POD / SYN,
        {"encap": "vxlan", "vni": 4242, "dst_port": 4789, "inner_dst_port": 80, "inner_ttl": 63,
         "headers": "ethernet:14,ipv4:20,udp:8,vxlan:8,ethernet:14,ipv4:20,tcp:28"},
    ),
    "vxlan 8472": (
        OUT / UDP(sport=50000, dport=8472) / VXLAN(vni=1, flags="Instance") / FRAME / POD / ECHO,
        {"encap": "vxlan", "vni": 1, "inner_protocol": "icmp", "inner_icmp_id": 181, "inner_ip_bytes": 84, "ip_bytes": 134},
    ),
    "vxlan over ipv6": (
        IPv6(src="fd01::1", dst="fd01::2") / UDP(dport=4789) / VXLAN(vni=3, flags="Instance") / FRAME / POD6 / SYN,
        {"encap": "vxlan", "vni": 3, "src_ip": "fd01::1", "inner_src_ip": "fd00::1", "inner_dst_port": 80},
    ),
    "vxlan with a tag inside": (
        OUT / UDP(dport=4789) / VXLAN(vni=3, flags="Instance") / FRAME / Dot1Q(vlan=5) / POD / ECHO,
        {"inner_protocol": "icmp", "vlan": None, "headers": "ethernet:14,ipv4:20,udp:8,vxlan:8,ethernet:14,vlan:4,ipv4:20,icmp:8"},
    ),
    "vxlan that carries arp": (
        OUT / UDP(dport=4789) / VXLAN(vni=3, flags="Instance") / FRAME / ARP(hwsrc="02:42:0a:f4:00:01", psrc="10.244.0.4"),
        {"encap": "vxlan", "inner_src_ip": None, "problem": None},
    ),
    "no vxlan without the flag": (OUT / UDP(dport=4789) / VXLAN(vni=3, flags=0) / FRAME / POD / ECHO, {"encap": None, "vni": None}),
    "no vxlan by its source port": (OUT / UDP(sport=4789, dport=9) / (b"\x08" + bytes(50)), {"encap": None}),
    "geneve": (
        OUT / UDP(dport=6081) / GENEVE(vni=77, options=[]) / FRAME / POD / SYN,
        {"encap": "geneve", "vni": 77, "inner_dst_port": 80, "headers": "ethernet:14,ipv4:20,udp:8,geneve:8,ethernet:14,ipv4:20,tcp:28"},
    ),
    "geneve with options, no frame": (
        OUT / UDP(dport=6081) / Raw(b"\x02\x00\x08\x00\x00\x00\x4d\x00" + bytes(8) + bytes(POD / SYN)),
        {"encap": "geneve", "vni": 77, "inner_dst_ip": "10.244.1.3", "headers": "ethernet:14,ipv4:20,udp:8,geneve:16,ipv4:20,tcp:28"},
    ),
    "ipip": (OUT / POD / ECHO, {"encap": "ipip", "protocol": "ipip", "inner_dst_ip": "10.244.1.3", "headers": "ethernet:14,ipv4:20,ipv4:20,icmp:8"}),
    "ipv6 in ipv4": (OUT / POD6 / SYN, {"encap": "ipip", "inner_dst_ip": "fd00:0:0:1::3", "inner_dst_port": 80}),
    "gre": (OUT / GRE() / POD / ECHO, {"encap": "gre", "protocol": "gre", "inner_dst_ip": "10.244.1.3", "headers": "ethernet:14,ipv4:20,gre:4,ipv4:20,icmp:8"}),
    "esp": (IP(proto=50) / Raw(bytes(40)), {"encap": "esp", "protocol": "esp", "problem": None}),
    "wireguard": (OUT / UDP(sport=51871, dport=51871) / Raw(b"\x04\0\0\0" + bytes(60)), {"encap": "wireguard", "inner_src_ip": None}),
    "no wireguard": (OUT / UDP(sport=51871, dport=51871) / Raw(b"\x05\0\0\0" + bytes(60)), {"encap": None}),
    "no ip": (Ether(src=FRAME.src, dst=FRAME.dst, type=0x88CC) / Raw(bytes(40)), {"ethertype": 0x88CC, "src_ip": None, "problem": None}),
    "version 7": (Raw(b"\x75" + bytes(POD / ECHO)[1:]), {"problem": "malformed IP header", "src_ip": None}),
    "header of 12 bytes": (Raw(b"\x43" + bytes(POD / ECHO)[1:]), {"problem": "malformed IP header", "src_ip": None}),
    "tcp header of 4 bytes": (POD / TCP(dataofs=1), {"problem": "malformed transport header", "dst_port": 80}),
    "offloaded": (IP(src="10.0.0.1", dst="10.0.0.2", len=0) / TCP() / (b"z" * 3000), {"ip_bytes": 3040}),
}  # fmt: skip


def framed(name: str) -> bytes:
    """A generated packet with an Ethernet header in front."""
    built = GENERATED[name][0]
    if built.haslayer(Ether) and isinstance(built, Ether):
        return bytes(built)
    if isinstance(built, Raw):
        return bytes(Ether(src=FRAME.src, dst=FRAME.dst, type=0x0800) / built)
    return bytes(FRAME / built)


def fragments() -> list[bytes]:
    """An echo request in three IPv4 fragments."""
    return [bytes(FRAME / part) for part in fragment(POD / ICMP(id=1, seq=2) / (b"f" * 2500), fragsize=1000)]


def pcap(
    frames: list[bytes], *, link: int = 1, order: str = "<", nano: bool = False, wire: int | None = None
) -> bytes:
    """A capture file; packet n was seen at n seconds and n microseconds, and is `wire` bytes long."""
    magic, unit = (0xA1B23C4D, 1000) if nano else (0xA1B2C3D4, 1)
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)
    for n, frame in enumerate(frames):
        data += struct.pack(order + "IIII", n, n * unit, len(frame), wire or len(frame)) + frame
    return data


def pcapng(frames: list[bytes], *, order: str = "<", link: int = 1) -> bytes:
    """The same in pcapng: nanoseconds, an unknown block that is to be skipped, and no end block."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = len(body) + 12
        return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)

    data = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    resolution = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    data += block(1, struct.pack(order + "HHI", link, 0, 0) + resolution) + block(5, bytes(12))
    for n, frame in enumerate(frames):
        time = n * 1_000_000_000 + n * 1000
        head = struct.pack(order + "IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(frame), len(frame))
        data += block(6, head + frame)
    return data
