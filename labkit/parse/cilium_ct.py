"""The connection table of a node, of `cilium-dbg bpf ct list global`, as JSON and as text.

Layout: cilium `pkg/maps/ctmap/types.go`, `pkg/tuple/ipv4.go`. Two traps of the JSON form, both settled by
comparing each JSON entry of the recordings with its line in the text form:

* `SourceAddr` and `DestAddr` are swapped, their ports are not: an entry with DestAddr C, SourceAddr S,
  SourcePort p and DestPort q is the connection C:p -> S:q;
* ports are in network byte order. `RevNAT` is, too, by the source; no recorded entry has one.

An entry is made by a packet, so `Packets=0` says that packets are not counted here (option
BPFConntrackAccounting), and becomes NA. Where socket LB translates a Service's address in `connect()`,
no entry ever holds that address. A `service` entry is printed with the frontend first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.cilium import address, dump, frame_of, host_order, protocol
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["CONNECTIONS", "connections", "connections_text"]

TOOL = "cilium-dbg bpf ct list"

CONNECTIONS = Schema(
    "cilium_connections", "Entries of a node's connection table.",
    key=("protocol", "direction", "src_ip", "src_port", "dst_ip", "dst_port", "service", "related"), columns=(
    Column("protocol", "str", "TCP, UDP, ICMP, …"),
    Column("direction", "str", "IN or OUT of the endpoint, or of the node"),
    Column("src_ip", "str", "who opened it"),
    Column("src_port", "Int64", "source port; the identifier of an ICMP echo"),
    Column("dst_ip", "str", "whom it was opened to"),
    Column("dst_port", "Int64", "destination port"),
    Column("service", "boolean", "the entry of a Service's address, which remembers the backend"),
    Column("related", "boolean", "errors that belong to a connection"),
    Column("expires_s", "Int64", "end of its life by the agent's BPF clock, in seconds; may have passed"),
    Column("packets", "UInt64", "packets; NA where they are not counted"),
    Column("counted_bytes", "UInt64", "bytes; NA where they are not counted"),
    Column("flags", "str", "RxClosing, SeenNonSyn, …, comma-separated"),
    Column("service_id", "Int64", "service whose address replies get back; NA for none"),
    Column("identity", "Int64", "security identity of the source; 0 where there is none"),
    Column("backend_id", "Int64", "backend of a service entry; NA for none"),
))  # fmt: skip

#: Bits of an entry's flags, from the lowest: cilium `pkg/maps/ctmap/types.go`.
FLAGS = (
    "RxClosing", "TxClosing", "Nat64", "LBLoopback", "SeenNonSyn", "NodePort", "ProxyRedirect",
    "DSRInternal", "FromL7LB", "Reserved1", "FromTunnel",
)  # fmt: skip
IN, RELATED, SERVICE = 1, 2, 4
LINE = re.compile(
    r"(?P<protocol>\S+) (?P<direction>IN|OUT) \[?(?P<src>\S+?)\]?:(?P<sport>\d+) -> \[?(?P<dst>\S+?)\]?:(?P<dport>\d+)"
    r"(?P<related> related)?(?P<service> service)? expires=(?P<expires>\d+)(?: \(remaining: -?\d+ sec\(s\)\))?"
    r" Packets=(?P<packets>\d+) Bytes=(?P<bytes>\d+) RxFlagsSeen=\S+ LastRxReport=\d+ TxFlagsSeen=\S+ LastTxReport=\d+"
    r" Flags=0x[\da-f]+ \[ (?P<flags>[^\]]*)\] RevNAT=(?P<revnat>\d+) SourceSecurityID=(?P<identity>\d+)"
    r"(?: BackendID=(?P<backend>\d+))?(?: NatPort=\d+)?"
)


def connections(data: bytes) -> pd.DataFrame:
    """Entries of the connection table, of `-o json`: frame CONNECTIONS."""
    return frame_of(TOOL, CONNECTIONS, map(_entry, dump(TOOL, data)))


def connections_text(data: bytes) -> pd.DataFrame:
    """Entries of the connection table, of the text form, with or without `-d`: frame CONNECTIONS."""
    return CONNECTIONS.frame(_lines(text_of(TOOL, data)))


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    key, value = entry["Key"], entry["Value"]
    packets = value["Packets"] or None
    return {
        "protocol": protocol(key["NextHeader"]),
        "direction": "IN" if key["Flags"] & IN else "OUT",
        "src_ip": address(key["DestAddr"]),
        "src_port": host_order(key["SourcePort"]),
        "dst_ip": address(key["SourceAddr"]),
        "dst_port": host_order(key["DestPort"]),
        "service": bool(key["Flags"] & SERVICE),
        "related": bool(key["Flags"] & RELATED),
        "expires_s": value["Lifetime"],
        "packets": packets,
        "counted_bytes": value["Bytes"] if packets else None,
        "flags": ",".join(name for bit, name in enumerate(FLAGS) if value["Flags"] >> bit & 1),
        "service_id": host_order(value["RevNAT"]) or None,
        "identity": value["SourceSecurityID"],
        "backend_id": value["Union0"][1] or None,
    }


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = LINE.fullmatch(line.strip())
        if found is None:
            raise ParseError(TOOL, "no entry of the connection table", line=number, excerpt=line)
        yield _line(found)


def _line(found: re.Match[str]) -> dict[str, Any]:
    packets = int(found["packets"]) or None
    return {
        "protocol": found["protocol"],
        "direction": found["direction"],
        "src_ip": found["src"],
        "src_port": int(found["sport"]),
        "dst_ip": found["dst"],
        "dst_port": int(found["dport"]),
        "service": found["service"] is not None,
        "related": found["related"] is not None,
        "expires_s": int(found["expires"]),
        "packets": packets,
        "counted_bytes": int(found["bytes"]) if packets else None,
        "flags": ",".join(found["flags"].split()),
        "service_id": int(found["revnat"]) or None,
        "identity": int(found["identity"]),
        "backend_id": int(found["backend"] or 0) or None,
    }
