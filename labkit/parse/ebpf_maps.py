"""Maps of the `ebpf` topology of a lab, of `bpftool -j map dump pinned …`: Services, policies, what became of packets.

The structures are those of labkit/netns/ebpf/maps.h. bpftool formats keys and values by the type information
(BTF) of the object; without it there is nothing to read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import json_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

__all__ = [
    "BACKENDS", "CONNECTIONS", "COUNTERS", "FRONTENDS", "ISOLATED", "PEERS", "PORTS", "backends", "connections",
    "counters", "frontends", "isolated", "peers", "ports",
]  # fmt: skip

TOOL = "bpftool map dump"

FRONTENDS = Schema("ebpf_frontends", "Services in the map of a node.", key=("vip", "protocol", "port"), columns=(
    Column("vip", "str", "address of the Service"),
    Column("protocol", "str", "TCP or UDP"),
    Column("port", "Int64", "port of the Service"),
    Column("service", "Int64", "number of this port in the maps"),
    Column("backends", "Int64", "how many slots of the backend map it has"),
    Column("affinity_s", "Int64", "how long a client keeps its backend; NA where it does not"),
))  # fmt: skip

BACKENDS = Schema("ebpf_backends", "Backends in the map of a node.", key=("service", "slot"), columns=(
    Column("service", "Int64", "number of the Service's port in the maps"),
    Column("slot", "Int64", "number of the backend in it, from 0; one of them is drawn for each connection"),
    Column("backend_ip", "str", "address of the endpoint"),
    Column("backend_port", "Int64", "its port"),
    Column("chosen", "Int64", "connections that were led here since the entry was written"),
))  # fmt: skip

ISOLATED = Schema("ebpf_isolated", "Pods of a node that policies isolate.", key=("pod_ip", "direction"), columns=(
    Column("pod_ip", "str", "address of the pod"),
    Column("direction", "str", "ingress or egress, as the pod sees it"),
))  # fmt: skip

PEERS = Schema("ebpf_policy_peers", "With whom isolated pods may speak.", key=("pod_ip", "direction", "prefix"), columns=(
    Column("pod_ip", "str", "address of the isolated pod"),
    Column("direction", "str", "ingress or egress, as the pod sees it"),
    Column("prefix", "str", "addresses of peers; a longer prefix overrules a shorter one"),
    Column("ports", "Int64", "number of the set of ports that is open to them"),
))  # fmt: skip

PORTS = Schema("ebpf_policy_ports", "What is in the sets of ports.", key=("ports", "protocol", "first_port"), columns=(
    Column("ports", "Int64", "number of the set"),
    Column("protocol", "str", "TCP, UDP or SCTP; NA is all traffic"),
    Column("first_port", "Int64", "first port that is open; NA where all are"),
    Column("last_port", "Int64", "last port that is open; NA where all are"),
))  # fmt: skip

COUNTERS = Schema("ebpf_counters", "What became of packets.", key=("ip", "direction", "outcome"), columns=(
    Column("ip", "str", "address of the pod, or of the node where it asked a Service itself"),
    Column("direction", "str", "ingress or egress, as that one sees it"),
    Column("outcome", "str", "forwarded, or dropped because: denied, no-backend, collision, spoofed, unreadable"),
    Column("packets", "Int64", "packets, of all processors"),
    Column("total_bytes", "Int64", "their bytes with Ethernet headers; segments that travel as one count once"),
))  # fmt: skip

CONNECTIONS = Schema(
    "ebpf_connections", "Connections that a node remembers.",
    key=("scope", "protocol", "client_ip", "client_port", "server_ip", "server_port"), columns=(
    Column("scope", "str", "outbound: a pod here asked; inbound: a pod here was asked; service: a pod or the node "
           "asked a Service (before translation); node: the node asked a Service (after it)"),
    Column("protocol", "str", "TCP, UDP, ICMP, or the number of another"),
    Column("client_ip", "str", "who asked"),
    Column("client_port", "Int64", "its port; of ICMP the identifier"),
    Column("server_ip", "str", "who was asked"),
    Column("server_port", "Int64", "its port"),
    Column("other_ip", "str", "the backend in scope service, the Service in the others; NA where not translated"),
    Column("other_port", "Int64", "its port"),
    Column("closing", "boolean", "whether an end has closed it"),
))  # fmt: skip

PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 132: "SCTP"}
DIRECTIONS = {1: "egress", 2: "ingress"}
OUTCOMES = {1: "forwarded", 2: "denied", 3: "no-backend", 4: "collision", 5: "spoofed", 6: "unreadable"}
SCOPES = {1: "outbound", 2: "inbound", 3: "service", 4: "node"}

Fields = dict[str, Any]


def frontends(data: bytes) -> pd.DataFrame:
    """Of the map `services`: frame FRONTENDS."""
    return _frame(FRONTENDS, data, lambda key, value: {
        "vip": _ip(key["vip"]),
        "protocol": PROTOCOLS[key["protocol"]],
        "port": key["port"],
        "service": value["service"],
        "backends": value["backends"],
        "affinity_s": value["affinity_s"] or None,
    })  # fmt: skip


def backends(data: bytes) -> pd.DataFrame:
    """Of the map `backends`: frame BACKENDS."""
    return _frame(BACKENDS, data, lambda key, value: {
        "service": key["service"],
        "slot": key["slot"],
        "backend_ip": _ip(value["ip"]),
        "backend_port": value["port"],
        "chosen": value["chosen"],
    })  # fmt: skip


def isolated(data: bytes) -> pd.DataFrame:
    """Of the map `isolated`: frame ISOLATED."""
    return _frame(
        ISOLATED, data, lambda key, _: {"pod_ip": _ip(key["ip"]), "direction": DIRECTIONS[key["direction"]]}
    )


def peers(data: bytes) -> pd.DataFrame:
    """Of the map `policy_peers`: frame PEERS."""
    return _frame(PEERS, data, lambda key, value: {
        "pod_ip": _ip(key["ip"]),
        "direction": DIRECTIONS[key["direction"]],
        "prefix": f"{_ip(key['peer'])}/{key['prefixlen'] - 64}",
        "ports": value["ports"],
    })  # fmt: skip


def ports(data: bytes) -> pd.DataFrame:
    """Of the map `policy_ports`: frame PORTS."""

    def row(key: Fields, _: Fields) -> Fields:
        bits, first = key["prefixlen"], int.from_bytes(key["port"], "big")
        some = bits > 48
        return {
            "ports": key["ports"],
            "protocol": PROTOCOLS[key["protocol"]] if bits > 32 else None,
            "first_port": first if some else None,
            "last_port": first + (1 << (64 - bits)) - 1 if some else None,
        }

    return _frame(PORTS, data, row)


def counters(data: bytes) -> pd.DataFrame:
    """Of the map `counters`, summed over the processors: frame COUNTERS."""
    return _frame(COUNTERS, data, lambda key, cpus: {
        "ip": _ip(key["ip"]),
        "direction": DIRECTIONS[key["direction"]],
        "outcome": OUTCOMES[key["outcome"]],
        "packets": sum(cpu["value"]["packets"] for cpu in cpus),
        "total_bytes": sum(cpu["value"]["bytes"] for cpu in cpus),
    }, values="values")  # fmt: skip


def connections(data: bytes) -> pd.DataFrame:
    """Of the map `connections`: frame CONNECTIONS."""

    def row(key: Fields, value: Fields) -> Fields:
        translated = any(value["other_ip"])
        return {
            "scope": SCOPES[key["scope"]],
            "protocol": PROTOCOLS.get(key["protocol"], str(key["protocol"])),
            **{
                f"{end}_{part}": key[f"{end}_{part}"]
                for end in ("client", "server")
                for part in ("ip", "port")
            },
            "client_ip": _ip(key["client_ip"]),
            "server_ip": _ip(key["server_ip"]),
            "other_ip": _ip(value["other_ip"]) if translated else None,
            "other_port": value["other_port"] if translated else None,
            "closing": bool(value["closing"]),
        }

    return _frame(CONNECTIONS, data, row)


def _frame(
    schema: Schema, data: bytes, row: Callable[[Fields, Any], Fields], values: str = "value"
) -> pd.DataFrame:
    entries = json_of(TOOL, data)
    if isinstance(entries, dict) and "error" in entries:
        raise ParseError(TOOL, f"it says: {entries['error']}")
    if not isinstance(entries, list):
        raise ParseError(
            TOOL, f"a JSON list was expected, got {type(entries).__name__}", excerpt=str(entries)
        )
    rows = []
    for entry in entries:
        try:
            formatted = entry["formatted"]
            rows.append(row(formatted["key"], formatted[values]))
        except (KeyError, TypeError, ValueError) as error:
            raise ParseError(TOOL, f"not an entry of {schema.name} ({error!r})", excerpt=str(entry)) from None
    return schema.frame(rows)


def _ip(octets: list[int]) -> str:
    if len(octets) != 4:
        raise ValueError(f"{len(octets)} octets")
    return ".".join(map(str, octets))
