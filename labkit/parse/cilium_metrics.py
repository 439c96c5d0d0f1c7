"""What the programs counted, of `cilium-dbg bpf metrics list -o json`: packets by reason and line of source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import dump, frame_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METRICS", "metrics"]

TOOL = "cilium-dbg bpf metrics list"

METRICS = Schema("bpf_metrics", "Packets that a node's programs counted.", key=("reason", "direction", "file", "line"), columns=(
    Column("reason", "str", "Success, Interface, or why a packet was dropped"),
    Column("direction", "str", "ingress or egress"),
    Column("packets", "UInt64", "packets since the map was made"),
    Column("counted_bytes", "UInt64", "bytes since the map was made; 0 for events that are no packets"),
    Column("file", "str", "source file of the program that counted"),
    Column("line", "Int64", "line in it"),
))  # fmt: skip


def metrics(data: bytes) -> pd.DataFrame:
    """Packets by reason, direction and place in the source: frame METRICS."""
    return frame_of(TOOL, METRICS, map(_metric, dump(TOOL, data)))


def _metric(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "reason": item["reason"],
        "direction": item["direction"],
        "packets": item["packets"],
        "counted_bytes": item["bytes"],
        "file": item["file"],
        "line": item["line"],
    }
