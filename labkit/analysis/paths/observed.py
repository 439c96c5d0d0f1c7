"""What captures saw of each flow: which addresses, at which device, with which time to live.

A packet is known again at the next device by what no hop changes: of ICMP the echo's type and number (its
identifier is a port to NAT), of TCP sequence and acknowledgement number and flags, of UDP the name asked for;
and of all the IP identification and length. A flow is a ping, a connection or a question, with both its directions; it is
told by its client, as its opening packet left it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.packet import at_port
from labkit.analysis.paths.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    import pandas as pd

__all__ = ["Flow", "Sighting", "flows"]

Row = dict[str, Any]
REQUESTS, ANSWERS = (8, 128), (0, 129)  # echoes of ICMP and ICMPv6
INNER = (
    "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "ttl", "ip_id", "ip_bytes", "tcp_flags", "seq", "ack",
    "icmp_type", "icmp_id", "icmp_seq",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sighting:
    """A packet at a device. `tap` is `node` or the name of the pod whose tap it was."""

    tap: str
    node: str
    device: str
    direction: str
    src: str
    dst: str
    dport: int | None
    ttl: int | None
    encap: str | None
    outer_src: str | None
    outer_dst: str | None


@dataclass(slots=True)
class Flow:
    """A flow, and its sightings in each direction: how many packets, and the first row that shows it."""

    protocol: str
    client: str
    client_port: int | None
    asked: str
    port: int | None
    requests: dict[Sighting, tuple[int, Row]] = field(default_factory=dict)
    answers: dict[Sighting, tuple[int, Row]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Protocol, client and its port, and what its first packet was sent to."""
        client = at_port(self.client, self.client_port)
        return f"{self.protocol} {client} to {at_port(self.asked, self.port)}"


def flows(packets: pd.DataFrame, pods: pd.DataFrame) -> list[Flow]:
    """The flows in captures, in the order they began: of frames CAPTURED and PODS of one arm.

    Left out are packets of no flow whose opening was captured, errors of ICMP, and neighbour discovery.
    """
    own = dict(zip(pods["pod"], pods["pod_ip"], strict=True))
    rows = list(_innermost(packets, own))
    of_packet: dict[Hashable, list[Row]] = {}
    for row in rows:
        of_packet.setdefault(row["packet"], []).append(row)
    addresses = set(pods.loc[~pods["host_network"].fillna(value=False), "pod_ip"].dropna())
    found: dict[tuple[str, str, int | None], Flow] = {}
    for mine in of_packet.values():
        if _opens(mine[0]):
            first = _first(mine, addresses)
            key = (first["protocol"], first["src_ip"], _client_port(first, request=True))
            if key not in found:
                found[key] = Flow(*key, first["dst_ip"], first["dst_port"])
    for mine in of_packet.values():
        _assign(mine, found)
    return [flow for flow in found.values() if flow.requests]


def _innermost(packets: pd.DataFrame, own: dict[str, str]) -> Iterable[Row]:
    """Each sighting as a row with the fields of its innermost packet, and what tells the packet."""
    for clean in rows_of(packets.sort_values("time", kind="stable")):
        clean["outer_src"] = clean["src_ip"] if clean["encap"] else None
        clean["outer_dst"] = clean["dst_ip"] if clean["encap"] else None
        if clean["encap"]:
            clean.update({name: clean[f"inner_{name}"] for name in INNER})
        if clean["protocol"] not in ("tcp", "udp", "icmp", "icmpv6") or clean["interface"] is None:
            continue
        if clean["protocol"].startswith("icmp") and clean["icmp_type"] not in (*REQUESTS, *ANSWERS):
            continue
        clean["packet"] = _identity(clean)
        clean["direction"] = _direction(clean, own)
        yield clean


def _identity(row: Row) -> tuple[Any, ...]:
    always = (row["protocol"], row["ip_id"], row["ip_bytes"])
    if row["protocol"] == "tcp":
        return (*always, row["seq"], row["ack"], row["tcp_flags"])
    if row["protocol"] == "udp":
        return (*always, row["dns_name"], max(row["src_port"] or 0, row["dst_port"] or 0))
    return (*always, row["icmp_type"], row["icmp_seq"])


def _direction(row: Row, own: dict[str, str]) -> str:
    if row["tap"] == "pod":
        return "out" if row["src_ip"] == own.get(row["pod"]) else "in"
    return "out" if row["direction"] == "out" else "in"


def _opens(row: Row) -> bool:
    """Whether the packet is the first of its flow, or one that could be."""
    if row["protocol"] == "tcp":
        return bool(row["tcp_flags"] == "SYN")
    if row["protocol"] == "udp":
        return row["src_port"] is not None and row["dst_port"] < row["src_port"]
    return row["icmp_type"] in REQUESTS


def _first(rows: list[Row], pods: set[str]) -> Row:
    """The sighting of a packet before anything translated it: one with a pod's source, if there is any."""
    return next((row for row in rows if row["src_ip"] in pods), rows[0])


def _client_port(row: Row, *, request: bool) -> int | None:
    if row["protocol"].startswith("icmp"):
        return row["icmp_id"]  # type: ignore[no-any-return]
    return row["src_port"] if request else row["dst_port"]  # type: ignore[no-any-return]


def _assign(rows: list[Row], found: dict[tuple[str, str, int | None], Flow]) -> None:
    """Put the sightings of one packet to its flow."""
    for row in rows:
        protocol = row["protocol"]
        echo = protocol.startswith("icmp")
        forth = found.get((protocol, row["src_ip"], _client_port(row, request=True)))
        back = found.get((protocol, row["dst_ip"], _client_port(row, request=False)))
        if forth is not None and not (echo and row["icmp_type"] in ANSWERS):
            _count(forth.requests, rows)
            return
        if back is not None and not (echo and row["icmp_type"] in REQUESTS):
            _count(back.answers, rows)
            return


def _count(seen: dict[Sighting, tuple[int, Row]], rows: list[Row]) -> None:
    for row in rows:
        sighting = Sighting(
            row["pod"] if row["tap"] == "pod" else "node", row["node"], row["interface"], row["direction"],
            row["src_ip"], row["dst_ip"], row["dst_port"], row["ttl"], row["encap"], row["outer_src"],
            row["outer_dst"],
        )  # fmt: skip
        count, first = seen.get(sighting, (0, row))
        seen[sighting] = (count + 1, first)
