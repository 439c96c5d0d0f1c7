"""The maps that an agent has open, of `cilium-dbg map list -o json`.

What it prints of a map is the agent's own cache: what the agent wrote, or last read. Maps that packets
write to (NAT, affinity) stay empty in it however full they are; a map without a cache has no number at
all. To count such a map, read it: `bpf nat list`, `bpf ct list`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import frame_of
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["MAPS", "maps"]

TOOL = "cilium-dbg map list"

MAPS = Schema("cilium_maps", "Maps that an agent has open.", key=("map",), columns=(
    Column("map", "str", "name"),
    Column("cached", "Int64", "entries in the agent's cache; NA where it keeps none"),
    Column("errors", "Int64", "entries that could not be written; NA where it keeps no cache"),
    Column("path", "str", "where the map is pinned"),
))  # fmt: skip


def maps(data: bytes) -> pd.DataFrame:
    """Maps with what the agent believes to be in them: frame MAPS."""
    return frame_of(TOOL, MAPS, _rows(json_object(TOOL, data)))


def _rows(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from map(_map, value["maps"] or ())


def _map(item: dict[str, Any]) -> dict[str, Any]:
    cache = item["cache"]
    return {
        "map": item["path"].rpartition("/")[2],
        "cached": None if cache is None else len(cache),
        "errors": None if cache is None else sum(1 for entry in cache if entry.get("last-error")),
        "path": item["path"],
    }
