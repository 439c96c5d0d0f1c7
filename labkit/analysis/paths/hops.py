"""The frame of predicted hops, and how a hop is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.analysis.paths.packet import Walk

__all__ = ["ASSUMED", "ENDS", "HOPS", "PLACES", "ended", "frame_of", "hop", "replies", "seen"]

#: What a hop is: a decision of a table or a program, or a device that the packet crosses.
PLACES = (
    "name", "socket", "device", "neighbour", "netfilter", "service", "conntrack", "routing", "bridge",
    "tunnel", "network", "policy", "masquerade", "delivery",
)  # fmt: skip
#: How a way can end.
ENDS = ("delivered", "leaves", "dropped", "rejected", "inconclusive")
ASSUMED = "assumed"

HOPS = Schema(
    "path_hops", "The way of a packet as the state of an arm predicts it, and the way of its answer.",
    key=("branch", "way", "hop"), columns=(
    Column("branch", "Int64", "number of the way, where a choice makes several; from 0"),
    Column("probability", "float64", "chance that a new connection takes this way; all ways together are 1"),
    Column("way", "str", "1 request or 2 answer"),
    Column("hop", "Int64", "number of the hop on its way, from 0"),
    Column("node", "str", "node that it is on; NA between nodes"),
    Column("place", "str", f"what it is: {', '.join(PLACES)}"),
    Column("device", "str", "device; several with | between them where the state does not tell which"),
    Column("direction", "str", "in or out, of a device where a capture can see the packet"),
    Column("tap", "str", "where that is: `node`, or the name of the pod; NA where nothing can be captured"),
    Column("src_ip", "str", "source address of the packet behind this hop, inside a tunnel if any"),
    Column("dst_ip", "str", "its destination address"),
    Column("dst_port", "Int64", "its destination port; NA where it has none, or it is a client's"),
    Column("ttl", "Int64", "its time to live; NA where it came through what is not read"),
    Column("encap", "str", "the tunnel it is in; NA for none"),
    Column("outer_src_ip", "str", "source address of the tunnel"),
    Column("outer_dst_ip", "str", "destination address of the tunnel"),
    Column("decision", "str", "what happens to it"),
    Column("rests_on", "str", "the entry, rule or setting that says so, as the tool prints it"),
    Column("rules_walked", "Int64", "rules compared one after the other at a hook; NA elsewhere"),
    Column("verdict", "str", f"passes, translated, {ASSUMED} (rests on something that was not read), or how "
                             f"the way ends: {', '.join(ENDS)}"),
    Column("note", "str", "what is assumed, not known, or may be otherwise; NA where nothing is"),
    REPLY,
))  # fmt: skip


def replies(*rows: Mapping[str, Any] | None) -> str | None:
    """The ids of the replies that rows of state were read from, space-separated."""
    found = dict.fromkeys(str(row["reply"]) for row in rows if row and row.get("reply"))
    return " ".join(found) or None


def hop(walk: Walk, node: str | None, place: str, decision: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A hop as a row: the packet as it is now, and what `more` says of the hop."""
    packet, tunnel = walk.packet, walk.packet.tunnel
    return {
        "node": node,
        "place": place,
        "device": None,
        "direction": None,
        "tap": None,
        "src_ip": packet.src,
        "dst_ip": packet.dst,
        "dst_port": packet.dport,
        "ttl": packet.ttl,
        "encap": tunnel and tunnel.kind,
        "outer_src_ip": tunnel and tunnel.src,
        "outer_dst_ip": tunnel and tunnel.dst,
        "decision": decision,
        "rests_on": None,
        "rules_walked": None,
        "verdict": "passes",
        "note": None,
        "reply": None,
        **more,
    }


def seen(walk: Walk, node: str, device: str, direction: str, decision: str, *, tap: str = "node",
         **more: Any) -> Walk:  # noqa: ANN401  # fmt: skip
    """The walk with a device that the packet crosses, where a capture sees it."""
    return walk.then(hop(walk, node, "device", decision, device=device, direction=direction, tap=tap, **more))


def ended(walk: Walk, node: str | None, place: str, how: str, decision: str, **more: Any) -> Walk:  # noqa: ANN401
    """The walk at its end: one of ENDS, and why."""
    return walk.then(hop(walk, node, place, decision, verdict=how, **more))._replace(end=how)


def frame_of(walks: Iterable[tuple[int, float, str, Iterable[dict[str, Any]]]]) -> pd.DataFrame:
    """Hops of branches and ways, which come in the order of the key, as frame HOPS.

    Built column by column: by way of rows it would take longer than explaining.
    """
    rows = [
        {"branch": branch, "probability": chance, "way": way, "hop": number, **row}
        for branch, chance, way, hops in walks
        for number, row in enumerate(hops)
    ]
    return pd.DataFrame(
        {c.name: _array([row[c.name] for row in rows], c.dtype) for c in HOPS.columns}, copy=False
    )


def _array(values: list[Any], dtype: str) -> Any:  # noqa: ANN401  (of numpy or of pandas)
    return np.array(values, dtype=float) if dtype == "float64" else pd.array(values, dtype=dtype)  # type: ignore[call-overload]
