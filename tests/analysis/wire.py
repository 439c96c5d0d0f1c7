"""Captures of ways that no recording has: packets that scapy builds, seen at taps that a test names."""

from collections.abc import Sequence

import pandas as pd
from scapy.contrib.geneve import GENEVE
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from labkit.parse.pcap import packets, plain
from tests.parse.capture import pcap

PODS = pd.DataFrame(
    [("client", "n0", "10.1.0.2", False), ("server", "n1", "10.1.1.2", False), ("proxy", "n0", "192.0.2.1", True)],
    columns=["pod", "node", "pod_ip", "host_network"],
)  # fmt: skip
SERVICES = pd.DataFrame([("shop", "web", "10.0.0.80")], columns=["namespace", "service", "cluster_ip"])
ASKED = pd.DataFrame(
    [("client", "http", "http://web.shop/", 0, 1, 1, 40000, "10.0.0.80", 80)],
    columns=["pod", "kind", "asked", "sample", "sent", "answered", "local_port", "remote_ip", "remote_port"],
)  # fmt: skip
ETHERNET = Ether(src="0a:00:00:00:00:01", dst="0a:00:00:00:00:02")  # without them scapy would ask by ARP
NODES = {"n0": "192.0.2.1", "n1": "192.0.2.2"}


def syn(src: str = "10.1.0.2", dst: str = "10.1.1.2", ttl: int = 64, sport: int = 40000) -> IP:
    """A SYN from client to server."""
    return IP(src=src, dst=dst, ttl=ttl, id=5) / TCP(sport=sport, dport=80, seq=77, flags="S")


def answer(src: str = "10.1.1.2", dst: str = "10.1.0.2", ttl: int = 64, dport: int = 40000) -> IP:
    """The server's answer to it."""
    return IP(src=src, dst=dst, ttl=ttl, id=0) / TCP(sport=80, dport=dport, seq=99, ack=78, flags="SA")


def echo(ttl: int = 64) -> IP:
    """An echo request from client to server."""
    return IP(src="10.1.0.2", dst="10.1.1.2", ttl=ttl, id=6) / ICMP(id=3, seq=1)


def geneve(packet: IP, src: str = "n0", dst: str = "n1") -> IP:
    """A packet in Geneve between two nodes."""
    outer = IP(src=NODES[src], dst=NODES[dst]) / UDP(sport=50000, dport=6081)
    return outer / GENEVE(vni=9, options=[]) / ETHERNET / packet


def wireguard(src: str = "n0", dst: str = "n1") -> IP:
    """An encrypted packet between two nodes."""
    return IP(src=NODES[src], dst=NODES[dst]) / UDP(sport=51871, dport=51871) / Raw(b"\4\0\0\0" + bytes(90))


def seen(*sightings: tuple[str, str, IP]) -> pd.DataFrame:
    """Sightings as frame CAPTURED: each is where (`client` or `n0 eth0`), its device, and the packet.

    Each tap has its own file and clock: those of nodes are hours apart.
    """
    rows = []
    for where, device, packet in sightings:
        frame = plain(packets(pcap([bytes(ETHERNET / packet)] * (len(rows) + 1)))).iloc[[-1]]
        name, _, interface = where.partition(" ")
        pod = name if device == "pod" else None
        node = PODS.set_index("pod").loc[name, "node"] if pod else name
        skew = pd.Timedelta(hours=5 if node == "n0" else 0)
        rows.append(frame.assign(
            tap="pod" if pod else "node", node=node, pod=pod, interface=interface or "eth0", device=device,
            reply=f"r-{name}", time=frame["time"] + skew, device_type=frame["device_type"],
        ))  # fmt: skip
    found = pd.concat(rows, ignore_index=True)
    texts = ("tap", "node", "pod", "interface", "device", "reply")
    return found.astype(dict.fromkeys(texts, "str"))


def at(found: pd.DataFrame, us: Sequence[float]) -> pd.DataFrame:
    """The sightings at these microseconds, each by the clock of its own machine."""
    begun = pd.Timestamp("2026-11-24", tz="UTC")
    times = [begun + pd.Timedelta(microseconds=one) for one in us]
    return found.assign(time=pd.Series(times, index=found.index).astype("datetime64[us, UTC]"))
