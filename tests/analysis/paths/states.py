"""States of the recorded arms, and ways to alter them as a fault would."""

from __future__ import annotations

from functools import cache

import pandas as pd

from labkit.analysis.paths import Model
from labkit.explain.state import read
from labkit.parse import iptables
from tests.conftest import arm, recorded
from tests.parse import many_services as many

__all__ = [
    "devices",
    "leaves",
    "many_services",
    "many_slots",
    "model",
    "of_way",
    "state",
    "with_rules",
    "without",
]


@cache
def state(name):
    return read(arm(name))


@cache
def model(name):
    return Model(state(name))


def of_way(hops, way="1", branch=0):
    """The hops of one way, as rows."""
    return hops[hops["way"].str.startswith(way) & (hops["branch"] == branch)].reset_index(drop=True)


def devices(hops, way="1", branch=0):
    """What a capture would see on one way: device, direction, destination, TTL."""
    seen = of_way(hops, way, branch)
    seen = seen[seen["tap"].notna() & (seen["place"] == "device")]
    return [
        (row["device"], row["direction"], row["dst_ip"], None if pd.isna(row["ttl"]) else row["ttl"])
        for row in seen.to_dict("records")
    ]


def leaves(hops):
    """Chance and last verdict of each branch's request."""
    forth = hops[hops["way"].str.startswith("1")]
    last = forth.groupby("branch").tail(1)
    return list(zip(last["probability"].round(6), last["verdict"], strict=True))


def without(found, frame, **where):
    """The state without the rows of a frame that have these values, which must be there."""
    rows = found.frames[frame]
    gone = pd.Series(data=True, index=rows.index)
    for column, value in where.items():
        gone &= (rows[column] == value).fillna(value=False)
    assert gone.any(), f"no such row in {frame}"
    return found.changed(**{frame: rows[~gone]})


def with_rules(name, node, *edits, at=(), drop=()):
    """The state with the text of iptables-save on one node edited: pairs of old and new, then lines to add.

    `at` are pairs of a line that is there and the line to put before it; lines with one of `drop` are left out.
    """
    (reply,) = recorded(name, "iptables-save -c", subject=node)
    text = reply.stdout.decode()
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    for part in drop:
        assert part in text, part
        text = "".join(line for line in text.splitlines(keepends=True) if part not in line)
    for before, line in at:
        place = text.index(before)
        start = text.rindex("\n", 0, place) + 1
        text = text[:start] + line + "\n" + text[start:]
    frames = []
    for read_by, frame in ((iptables.rules, "rules"), (iptables.chains, "chains")):
        mine = read_by(text.encode())
        mine.insert(0, "node", pd.Series([node] * len(mine), dtype="str"))
        mine["reply"] = pd.Series([reply.id] * len(mine), dtype="str")
        others = state(name).frames[frame]
        frames.append(pd.concat([others[others["node"] != node], mine], ignore_index=True))
    return state(name).changed(rules=frames[0], chains=frames[1])


def _in_the_api(name, count):
    """The recorded Services, and so many more, as the API lists them."""
    services = state(name).frames["services"]
    row = services[services["service"] == "backend-service"]
    more = row.loc[row.index.repeat(count)].assign(
        namespace="scale", service=[many.name(n).partition("/")[2] for n in range(count)],
        cluster_ip=[many.address(n) for n in range(count)],
    )  # fmt: skip
    return pd.concat([services, more.astype(services.dtypes)], ignore_index=True)


def many_services(count, rules, chains):
    """State of an arm with kube-proxy and so many Services more, of what was read on one node."""
    on = {"node": "vxlan-node-0", "reply": "r1"}
    return state("overlay-vxlan").changed(
        rules=rules.assign(**on), chains=chains.assign(**on), services=_in_the_api("overlay-vxlan", count)
    )


def many_slots(count):
    """State of an arm with Cilium and so many Services more in the service map of each node: three slots each."""
    slots = state("cilium").frames["lb_map"]
    mine = slots[(slots["frontend_ip"] == "10.0.234.81") & (slots["port"] == 80)]
    more = pd.concat([mine] * count, ignore_index=True)
    more["frontend_ip"] = [many.address(n) for n in range(count) for _ in range(len(mine))]
    return state("cilium").changed(
        lb_map=pd.concat([slots, more.astype(slots.dtypes)], ignore_index=True),
        services=_in_the_api("cilium", count),
    )
