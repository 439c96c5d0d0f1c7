"""What the API wants of the nodes, against what is programmed on each: entry by entry.

Intended follows from Services, EndpointSlices, pods, nodes and NetworkPolicies. Programmed is what lies in
iptables, routes, neighbour and forwarding tables, and in Cilium's maps. An entry is `matching`, `missing`
(intended only), `stale` (programmed only, for nothing that the API knows), `wrong` (there, with another value)
or `duplicate` (there more than once).

The API and the nodes are read seconds apart: in a cluster at rest that makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.analysis import consistency
from labkit.analysis.audit_cilium import of_cilium
from labkit.analysis.audit_policies import of_policies
from labkit.analysis.audit_routes import of_routes
from labkit.analysis.paths.state import World
from labkit.analysis.service_tree import tree
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labkit.analysis.paths.state import State

__all__ = ["AUDIT", "KINDS", "STATES", "audit", "summary"]

STATES = ("matching", "missing", "stale", "wrong", "duplicate")
KINDS = (
    "iptables",
    "service map",
    "eBPF maps",
    "route",
    "tunnel",
    "neighbour",
    "endpoint map",
    "ipcache",
    "policy map",
)

AUDIT = Schema("audit", "Entries that each node should have, and has.", key=("node", "kind", "entry", "state"), columns=(
    Column("node", "str", "node"),
    Column("kind", "str", f"where it lies: {', '.join(KINDS)}"),
    Column("entry", "str", "what it is for: a Service's way to an endpoint, a pod, a node"),
    Column("intended", "str", "what it should say; NA where nothing wants it"),
    Column("programmed", "str", "what it says; NA where it is not there"),
    Column("state", "str", f"{', '.join(STATES)}"),
    REPLY,
))  # fmt: skip

Row = dict[str, Any]
WAY = ["cluster_ip", "protocol", "port", "endpoint_ip", "endpoint_port"]
NAMED = {"matching": "matching", "missing": "missing", "extra": "stale"}


def audit(state: State) -> pd.DataFrame:
    """Every entry of one arm's state: frame AUDIT. What was not read is not audited."""
    world = World(state)
    rows = [*_of_services(state), *of_routes(world), *of_cilium(world), *of_policies(world)]
    return AUDIT.frame(rows)


def _of_services(state: State) -> Iterator[Row]:
    """Ways from Services to endpoints, in iptables and in the service map."""
    services, endpoints, nodes = (state.get(name) for name in ("services", "endpoints", "nodes"))
    if services is None or endpoints is None or nodes is None:
        return
    wanted = consistency.intended(services, endpoints, nodes)
    for kind, frame, programmed, ways in _programmed(state):
        if programmed.empty:
            continue
        replies = frame.groupby("node")["reply"].first() if "reply" in frame else pd.Series(dtype="str")
        for row in consistency.compare(wanted, programmed).to_dict("records"):
            way = f"{row['endpoint_ip']}:{row['endpoint_port']}"
            yield _row(row["node"], kind, _frontend(row), way if row["state"] != "extra" else None,
                       way if row["state"] != "missing" else None, NAMED[row["state"]],
                       replies.get(row["node"]))  # fmt: skip
        yield from _doubled(kind, ways, replies)


def _programmed(state: State) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """What Services are programmed in: its kind, the frame it was read from, its ways, and each time they are there."""
    if (rules := state.get("rules")) is not None:
        yield "iptables", rules, consistency.of_rules(rules), _jumps(rules)
    if (slots := state.get("lb_map")) is not None:
        names = {"frontend_ip": "cluster_ip", "backend_ip": "endpoint_ip", "backend_port": "endpoint_port"}
        filled = slots[(slots["slot"] > 0) & (slots["scope"] == "external")].rename(columns=names)
        yield "service map", slots, consistency.of_lb_map(slots), filled
    frontends, backends, nodes = state.get("lab_frontends"), state.get("lab_backends"), state.get("nodes")
    if frontends is not None and backends is not None and nodes is not None:
        own = frontends[~frontends["vip"].isin(nodes["node_ip"])]  # not a port of a node
        yield "eBPF maps", own, consistency.of_lab_maps(own, backends), consistency.lab_slots(own, backends)


def _doubled(kind: str, ways: pd.DataFrame, replies: pd.Series) -> Iterator[Row]:
    """Ways that are there more than once: such an endpoint gets more than its share."""
    counted = ways.groupby(["node", *WAY], as_index=False).size()
    for row in counted[counted["size"] > 1].to_dict("records"):
        way = f"{row['endpoint_ip']}:{row['endpoint_port']}"
        yield _row(row["node"], kind, _frontend(row), way, f"{way}, {row['size']} times", "duplicate",
                   replies.get(row["node"]))  # fmt: skip


def _jumps(rules: pd.DataFrame) -> pd.DataFrame:
    """The tree of kube-proxy's rules with a row for each jump to an endpoint: doubled ones are two."""
    leads = rules["target"].str.startswith("KUBE-SEP-", na=False) & ~rules["remembers"].fillna(value=False)
    jumps = rules[leads].rename(columns={"chain": "service_chain", "target": "endpoint_chain"})
    return tree(rules).merge(jumps[["node", "service_chain", "endpoint_chain"]])


def _frontend(row: Mapping[Any, Any]) -> str:
    name = f"{row['namespace']}/{row['service']} " if isinstance(row.get("service"), str) else ""
    return f"{name}{row['cluster_ip']}:{row['port']}/{str(row['protocol']).upper()}"


def _row(
    node: str, kind: str, entry: str, intended: str | None, programmed: str | None, state: str, reply: Any  # noqa: ANN401
) -> Row:  # fmt: skip
    return {"node": node, "kind": kind, "entry": entry, "intended": intended, "programmed": programmed,
            "state": state, "reply": reply if isinstance(reply, str) else None}  # fmt: skip


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Entries by kind and state, of all nodes together: a column for each of STATES; with `arm` if there is one."""
    keys = [*(["arm"] if "arm" in found else []), "kind"]
    each = found[keys].assign(**{state: (found["state"] == state).astype("Int64") for state in STATES})
    return each.groupby(keys, sort=False, as_index=False)[list(STATES)].sum()
