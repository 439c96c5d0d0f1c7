"""How full a node's maps are: entries that were read out, against the sizes that the agent gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fill"]

TCP, OTHER = "TCP connection tracking", "Non-TCP connection tracking"


def fill(sizes: pd.DataFrame, read: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Entries and size of each map on each node, of frame MAP_SIZES by node.

    `read` holds, by the agent's name of a map (`IP cache`), a frame by node of its entries, one row an
    entry. Under `connection tracking` it may hold frame CONNECTIONS, which is two maps; under `Endpoint
    policy` frame POLICY_MAP, which is one map an endpoint: the fullest counts. A map that was read and has
    no row holds 0; one that was not read has no row here.

    Columns: `arm` where the frames have it, `node`, `map`, `entries`, `max_entries`, `used_pct`.
    """
    around = [name for name in ("arm",) if name in sizes]
    maps = _split(read)
    counts = pd.concat([_entries(name, frame, around) for name, frame in maps], ignore_index=True)
    keys = [*around, "node", "map"]
    named = sizes[sizes["map"].isin([name for name, _ in maps])][[*keys, "max_entries"]]
    found = named.merge(counts, on=keys, how="left")
    found["entries"] = found["entries"].fillna(0).astype("Int64")
    found["used_pct"] = 100 * found["entries"] / found["max_entries"]
    return found[[*keys, "entries", "max_entries", "used_pct"]].sort_values(keys, ignore_index=True)


def _split(read: Mapping[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    parts = [(name, frame) for name, frame in read.items() if name != "connection tracking"]
    if "connection tracking" in read:
        frame = read["connection tracking"]
        parts += [(TCP, frame[frame["protocol"] == "TCP"]), (OTHER, frame[frame["protocol"] != "TCP"])]
    return parts


def _entries(name: str, frame: pd.DataFrame, around: list[str]) -> pd.DataFrame:
    keys = [*around, "node"]
    if name == "Endpoint policy":
        counts = frame.groupby([*keys, "endpoint"]).size().groupby(keys).max()
    else:
        counts = frame.groupby(keys).size()
    return counts.rename("entries").astype("Int64").reset_index().assign(map=name).astype({"map": "str"})
