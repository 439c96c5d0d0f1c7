"""How far the clocks of two nodes are apart, as far as captured packets tell.

A packet is never seen before it was sent. One that goes from a node to another bounds what the other's clock
is ahead from above, one that comes back bounds it from below: the time between the last sighting on the one
and the first on the other is the offset and the time on the way, which is at least 0. Between the tightest
bounds lies the offset; their middle is right where both ways take as long (as RFC 5905, section 8, has it).
Nodes whose boot ids are the same share a kernel, and so a clock.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CLOCKS", "clocks"]

CLOCKS = Schema("clocks", "How far the clocks of two nodes are apart.", key=("node", "other"), columns=(
    Column("node", "str", "a node"),
    Column("other", "str", "another node"),
    Column("offset_us", "float64", "the other's clock less the node's; 0 where they share a kernel, NA where it is not known"),
    Column("low_us", "float64", "least that the packets allow; NA where none came back"),
    Column("high_us", "float64", "most that the packets allow; NA where none went there"),
    Column("basis", "str", "`same kernel`, `packets both ways`, or `unknown`"),
    Column("packets", "Int64", "packets that were seen on both"),
))  # fmt: skip

SAME_KERNEL, BOTH_WAYS, UNKNOWN = "same kernel", "packets both ways", "unknown"


def clocks(sightings: pd.DataFrame, nodes: pd.DataFrame) -> pd.DataFrame:
    """Each two nodes of `packets.journeys` and `kubernetes.nodes`: frame CLOCKS, with `arm` where they have it.

    The bounds are measured for nodes that share a kernel too, where they must have 0 between them.
    """
    arm = ["arm"] if "arm" in nodes else []
    arms = list(dict.fromkeys(nodes["arm"])) if arm else [None]
    parts = []
    for name in arms:
        mine = nodes[nodes["arm"] == name] if arm else nodes
        seen = sightings[sightings["arm"] == name] if arm else sightings
        frame = CLOCKS.frame(_pairs(_crossings(seen), dict(zip(mine["node"], mine["boot_id"], strict=True))))
        if arm:
            frame.insert(0, "arm", pd.Series(name, index=frame.index, dtype="str"))
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def _crossings(seen: pd.DataFrame) -> pd.DataFrame:
    """Each packet between nodes: from, to, and the time between its last sighting here and its first there."""
    seen = seen[seen["cross_node"].fillna(value=False).astype(bool)]
    forth = seen["request"].astype(bool)
    seen = seen.assign(
        src=seen["client_node"].where(forth, seen["server_node"]),
        dst=seen["server_node"].where(forth, seen["client_node"]),
    )
    by = ["packet", "src", "dst"]
    left = seen[seen["node"] == seen["src"]].groupby(by, sort=False)["time"].max().rename("left")
    came = seen[seen["node"] == seen["dst"]].groupby(by, sort=False)["time"].min().rename("came")
    both = pd.concat([left, came], axis=1, join="inner").reset_index()
    return both.assign(us=(both["came"] - both["left"]).dt.as_unit("us").astype("int64"))


def _pairs(crossings: pd.DataFrame, boots: dict[str, str]) -> Iterator[dict[str, Any]]:
    for node, other in itertools.combinations(sorted(boots), 2):
        there = crossings.loc[(crossings["src"] == node) & (crossings["dst"] == other), "us"]
        back = 0 - crossings.loc[(crossings["src"] == other) & (crossings["dst"] == node), "us"]
        low, high = back.max(), there.min()
        same = bool(boots[node]) and boots[node] == boots[other]
        known = len(there) > 0 and len(back) > 0
        yield {
            "node": node, "other": other,
            "offset_us": 0.0 if same else (low + high) / 2 if known else None,
            "low_us": low, "high_us": high,
            "basis": SAME_KERNEL if same else BOTH_WAYS if known else UNKNOWN,
            "packets": len(there) + len(back),
        }  # fmt: skip
