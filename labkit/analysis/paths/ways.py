"""Explained hops, told in short: a row a way, and what a Service's choice comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["WAYS", "choices", "decisions", "ways"]

WAYS = Schema("path_ways", "Each way that a packet can take, and that of its answer.", key=("branch", "way"), columns=(
    Column("branch", "Int64", "number of the way, where a choice makes several; from 0"),
    Column("way", "str", "1 request or 2 answer"),
    Column("probability", "float64", "chance that a new connection takes it"),
    Column("devices", "str", "what it crosses, node by node; > is out by a device, < is in by it"),
    Column("hooks", "Int64", "hooks of netfilter that it comes to"),
    Column("rules_walked", "Int64", "rules that it is compared with there"),
    Column("translations", "Int64", "how often its addresses are changed"),
    Column("encap", "str", "the tunnel that it goes through; NA for none"),
    Column("ends", "str", "how it ends: the verdict of its last hop"),
    Column("at", "str", "the decision that ends it"),
    Column("notes", "str", "what is assumed, not known, or may be otherwise; NA where nothing is"),
))  # fmt: skip
#: Where an endpoint is chosen.
CHOICES = ("service", "socket")
ARROW = {"in": "<", "out": ">"}


def ways(hops: pd.DataFrame) -> pd.DataFrame:
    """Frame WAYS of frame HOPS; with `arm` in front if there is one."""
    if "arm" not in hops:
        return WAYS.frame(_way(mine) for _, mine in hops.groupby(["branch", "way"], sort=False))
    frames = [ways(mine.drop(columns="arm")).assign(arm=arm) for arm, mine in hops.groupby("arm", sort=False)]
    whole = concat([WAYS.empty().assign(arm=pd.Series(dtype="str")), *frames])
    return whole[["arm", *WAYS.names]]


def _way(hops: pd.DataFrame) -> dict[str, Any]:
    last, walked = hops.iloc[-1], hops["rules_walked"].dropna()
    notes = dict.fromkeys(note for cell in hops["note"].dropna() for note in cell.split("; "))
    return {
        "branch": last["branch"], "way": last["way"],
        "probability": last["probability"], "devices": "  ".join(_devices(hops)), "hooks": len(walked),
        "rules_walked": walked.sum(), "translations": hops["verdict"].eq("translated").sum(),
        "encap": next(iter(hops["encap"].dropna()), None), "ends": last["verdict"], "at": last["decision"],
        "notes": "; ".join(notes) or None,
    }  # fmt: skip


def _devices(hops: pd.DataFrame) -> Iterator[str]:
    """A word for each node in turn: its name, and the devices with their directions."""
    seen = hops[hops["place"].isin(["device", "routing"]) & hops["device"].notna()]
    runs = (seen["node"] != seen["node"].shift()).cumsum()
    for _, mine in seen.groupby(runs):
        yield f"{mine['node'].iloc[0]}: " + " ".join(_device(row) for row in mine.to_dict("records"))


def _device(row: dict[Hashable, Any]) -> str:
    name = str(row["device"])
    inside = "" if pd.isna(row["tap"]) or row["tap"] == "node" else "pod's "
    return f"{inside}{name}{ARROW.get(row['direction'], '')}"


def choices(hops: pd.DataFrame) -> pd.DataFrame:
    """What a Service's address becomes on the way of the request, with the chance of each.

    Columns: `arm` if there is one, `node` that chooses, `place`, `dst_ip` and `dst_port` chosen, `probability`,
    `decision`, `rests_on`, `note` and `reply`.
    """
    chosen = hops[
        hops["place"].isin(CHOICES) & hops["way"].str.startswith("1") & hops["verdict"].eq("translated")
    ]
    columns = ["node", "place", "dst_ip", "dst_port", "probability", "decision", "rests_on", "note", "reply"]
    return chosen[[*(["arm"] if "arm" in hops else []), *columns]].reset_index(drop=True)


def decisions(hops: pd.DataFrame) -> pd.DataFrame:
    """The decisions on the longest way of the request of each arm: `arm` if there is one, `node`, `place`,
    `decision`, `rests_on` (of rules, the last that held) and `reply`.
    """
    by = ["arm"] if "arm" in hops else []
    forth = hops[hops["way"].str.startswith("1")]
    sizes = forth.groupby([*by, "branch"], sort=False).size().rename("size").reset_index()
    longest = sizes.sort_values("size", ascending=False, kind="stable")
    longest = longest.drop_duplicates(by) if by else longest.head(1)
    mine = forth.merge(longest[[*by, "branch"]], on=[*by, "branch"])
    found = mine[mine["rests_on"].notna()].copy()
    found["rests_on"] = found["rests_on"].str.rpartition("\n")[2]
    return found[[*by, "node", "place", "decision", "rests_on", "reply"]].reset_index(drop=True)
