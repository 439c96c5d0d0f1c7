"""The policy map of every endpoint, of `cilium-dbg bpf policy get --all -o json`.

Layout of key and value: cilium `pkg/maps/policymap/policymap.go`. Verified on the recordings against the
text form of the same map and against the NetworkPolicies in force:

* `DestPortNetwork` and `ProxyPortNetwork` are in network byte order (13568 is port 53, 20480 port 80);
* bit 0 of `Flags` is deny, bits 3 to 7 are the length of the key's prefix over protocol and port, so that
  one entry can hold a range of ports (1.17 and later; before that the bits are 0 and the entry is exact);
* `Packets` and `Bytes` of 2^64 - 1 stand for "not counted", which the text form prints as `-`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import dump, frame_of, host_order, protocol
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["POLICY_MAP", "policy_map"]

TOOL = "cilium-dbg bpf policy get"

POLICY_MAP = Schema(
    "policy_map", "Entries of the policy maps, one map an endpoint. What no entry matches is dropped.",
    key=("endpoint", "direction", "identity", "protocol", "dest_port"), columns=(
    Column("endpoint", "Int64", "id of the endpoint, on its node"),
    Column("direction", "str", "ingress or egress, as the endpoint sees it"),
    Column("identity", "Int64", "security identity of the peer; 0 is any peer"),
    Column("protocol", "str", "TCP, UDP, …; ANY"),
    Column("dest_port", "Int64", "destination port, the first of a range; NA is any port"),
    Column("end_port", "Int64", "last port of the range; equals dest_port where it is one port"),
    Column("verdict", "str", "allow or deny"),
    Column("proxy_port", "Int64", "port of the L7 proxy that the traffic is sent to; NA where it is not"),
    Column("packets", "UInt64", "packets that matched; NA where the entry was not counted"),
    Column("matched_bytes", "UInt64", "bytes that matched; NA where the entry was not counted"),
))  # fmt: skip

DENY = 1
PREFIX_SHIFT = 3
PROTOCOL_BITS, PORT_BITS = 8, 16
NOT_COUNTED = 2**64 - 1
DIRECTIONS = ("ingress", "egress")


def policy_map(data: bytes) -> pd.DataFrame:
    """Entries of every endpoint's policy map: frame POLICY_MAP."""
    return frame_of(TOOL, POLICY_MAP, _rows(dump(TOOL, data)))


def _rows(maps: list[Any]) -> Iterator[dict[str, Any]]:
    for each in maps:
        endpoint = int(each["EndpointID"])
        for entry in each["Content"] or ():
            yield {"endpoint": endpoint, **_entry(entry)}


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    key, flags = entry["Key"], entry["Flags"]
    first, last = _ports(key, flags)
    return {
        "direction": DIRECTIONS[key["TrafficDirection"]],
        "identity": key["Identity"],
        "protocol": protocol(key["Nexthdr"]),
        "dest_port": first,
        "end_port": last,
        "verdict": "deny" if flags & DENY else "allow",
        "proxy_port": host_order(entry["ProxyPortNetwork"]) or None,
        "packets": _counted(entry["Packets"]),
        "matched_bytes": _counted(entry["Bytes"]),
    }


def _ports(key: dict[str, Any], flags: int) -> tuple[int | None, int | None]:
    first = host_order(key["DestPortNetwork"])
    prefix = flags >> PREFIX_SHIFT
    if prefix <= PROTOCOL_BITS:
        return (first, first) if first else (None, None)
    free = PROTOCOL_BITS + PORT_BITS - prefix
    return first, first + 2**free - 1


def _counted(number: int) -> int | None:
    return None if number == NOT_COUNTED else number
