"""The NAT table of a node, of `cilium-dbg bpf nat list -o json`.

Layout: cilium `pkg/maps/nat/types.go`. Other than in the connection table the addresses are not swapped;
ports are in network byte order. Both verified against the text form on the recordings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import address, dump, frame_of, host_order, protocol
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NAT", "nat"]

TOOL = "cilium-dbg bpf nat list"

NAT = Schema(
    "cilium_nat", "Entries of a node's NAT table, one a direction.",
    key=("protocol", "direction", "src_ip", "src_port", "dst_ip", "dst_port"), columns=(
    Column("protocol", "str", "TCP, UDP, ICMP, …"),
    Column("direction", "str", "OUT: leaves the node; IN: comes back"),
    Column("src_ip", "str", "source address of the packet"),
    Column("src_port", "Int64", "source port of the packet"),
    Column("dst_ip", "str", "destination address of the packet"),
    Column("dst_port", "Int64", "destination port of the packet"),
    Column("to_ip", "str", "new source (OUT) or new destination (IN)"),
    Column("to_port", "Int64", "port of it"),
    Column("translated", "boolean", "the new address or port is another than the old one"),
))  # fmt: skip

IN = 1


def nat(data: bytes) -> pd.DataFrame:
    """Entries of the NAT table: frame NAT."""
    return frame_of(TOOL, NAT, map(_entry, dump(TOOL, data)))


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    key, value = entry["Key"], entry["Value"]
    source = address(key["SourceAddr"]), host_order(key["SourcePort"])
    destination = address(key["DestAddr"]), host_order(key["DestPort"])
    incoming, to = bool(key["Flags"] & IN), (address(value["Addr"]), host_order(value["Port"]))
    return {
        "protocol": protocol(key["NextHeader"]),
        "direction": "IN" if incoming else "OUT",
        "src_ip": source[0],
        "src_port": source[1],
        "dst_ip": destination[0],
        "dst_port": destination[1],
        "to_ip": to[0],
        "to_port": to[1],
        "translated": to != (destination if incoming else source),
    }
