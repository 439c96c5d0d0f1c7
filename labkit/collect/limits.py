"""Whether so many Services fit into an arm, worked out before any is created.

What one more takes is not a formula but what the lab's own Service of the backends holds: the extra ones have
its port and its endpoints. (A formula would go wrong: with the frontend and an entry an endpoint it is three in
Cilium's service map, and four since there is one for the ports that a Service does not have.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import cilium, cilium_maps, ebpf, kubernetes
from labkit.collect.gather import NODE, collects, read_one
from labkit.collect.plan import Plan, service_address
from labkit.errors import ApiError, MissingFeature, ParseError, ReplayMiss, RequestError
from labkit.netns.ebpf.layout import CAPACITY
from labkit.parse import service_cidr
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["LIMITS", "fitting", "limits", "require_room"]

CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
SERVICE, MAP = "backend-service", "IPv4 service"
#: Where what holds Services cannot be read, nothing is known to limit them.
UNKNOWN = (MissingFeature, RequestError, ParseError)

LIMITS = Schema("limits", "Whether the planned Services fit into a node's maps, and into the range of addresses.", key=("services", "holds"), columns=(
    Column("services", "Int64", "extra Services that are planned"),
    Column("holds", "str", "the map that holds Services, or the range of their addresses"),
    Column("each", "Int64", "entries that one of them takes there"),
    Column("needs", "Int64", "entries that all of them take"),
    Column("entries", "Int64", "entries that are there without them"),
    Column("max_entries", "Int64", "entries that the map can hold"),
    Column("most", "Int64", "extra Services that fit at most"),
    Column("fits", "boolean", "whether the planned ones do"),
))  # fmt: skip

#: Node, map, entries of one Service, entries in all, entries that fit, and the reply.
Held = tuple[str, str, int, int, int, str]


@collects(LIMITS, NODE)
def limits(cluster: Cluster) -> pd.DataFrame:
    """Each planned number of Services against each node's maps: frame LIMITS by node.

    Raises MissingFeature where Services are in no map that has a size: rules of iptables have none.
    """
    return limits.schema.frame(
        row for count in Plan.from_about(cluster.about).services for row in _against(cluster, count)
    )


def fitting(cluster: Cluster) -> tuple[str, ...]:
    """The planned steps with more Services that fit, upwards. Raises MissingFeature where none does."""
    plan = Plan.from_about(cluster.about)
    try:
        found = limits(cluster.at("baseline"))
    except UNKNOWN:
        return plan.steps
    least = found["most"].min()
    steps = tuple(step for step, count in zip(plan.steps, plan.services, strict=True) if count <= least)
    if plan.steps and not steps:
        raise MissingFeature(cluster.arm, f"at most {least} more Services fit, and more are planned")
    return steps


def require_room(cluster: Cluster, count: int) -> None:
    """Raise MissingFeature where so many more Services do not fit, with demand, limit, and how many would."""
    try:
        rows = _against(cluster.at("baseline"), count)
    except UNKNOWN:
        return
    for row in rows:
        if not row["fits"]:
            raise MissingFeature(
                cluster.arm,
                f"{count} Services more need {row['needs']} entries in {row['holds']} on {row['node']}, which "
                f"has room for {row['max_entries']} and holds {row['entries']}: at most {row['most']} fit. Nothing was created",
            )


def _against(cluster: Cluster, count: int) -> list[dict[str, object]]:
    return [
        {
            "node": node,
            "services": count,
            "holds": holds,
            "each": each,
            "needs": count * each,
            "entries": entries,
            "max_entries": most,
            "most": (most - entries) // max(each, 1),
            "fits": entries + count * each <= most,
            "reply": reply,
        }
        for node, holds, each, entries, most, reply in _held(cluster)
    ]


def _held(cluster: Cluster) -> list[Held]:
    address = service_address(cluster, SERVICE)
    addresses = list(_of_api(cluster))
    if kubernetes.is_cilium(cluster):
        return [*addresses, *_of_cilium(cluster, address)]
    try:
        return [*addresses, *_of_lab(cluster, address)]
    except MissingFeature:
        if addresses:
            return addresses
        raise MissingFeature(
            cluster.arm,
            "no map with a size holds Services here; rules of iptables have no limit of their own",
        ) from None


def _of_api(cluster: Cluster) -> Iterator[Held]:
    """The range of the cluster's own Services, where the API server says it: each takes an address."""
    try:
        reply = cluster.read(CIDRS)
    except (ApiError, ReplayMiss):
        return
    ranges = read_one(reply, service_cidr.service_cidrs)
    own = ranges[ranges["prefix"].str.contains(".", regex=False)]
    if len(own):
        there = kubernetes.services(cluster)["cluster_ip"].dropna()
        used = there[there.str.contains(".", regex=False)].nunique()
        yield "all nodes", "addresses of Services", 1, int(used), int(own["addresses"].sum()), reply.id


def _of_cilium(cluster: Cluster, address: str) -> Iterator[Held]:
    sizes = cilium.map_sizes(cluster)
    most = {row.node: int(str(row.max_entries)) for row in sizes[sizes["map"] == MAP].itertuples()}
    for node, held in cilium_maps.lb_map(cluster).groupby("node"):
        mine = held["frontend_ip"] == address
        yield str(node), MAP, int(mine.sum()), len(held), most[node], str(held["reply"].iloc[0])


def _of_lab(cluster: Cluster, address: str) -> Iterator[Held]:
    backends = ebpf.backends(cluster)
    for node, held in ebpf.frontends(cluster).groupby("node"):
        mine, behind = held[held["vip"] == address], backends[backends["node"] == node]
        reply = str(held["reply"].iloc[0])
        yield str(node), "services", len(mine), len(held), CAPACITY["services"], reply
        yield str(node), "backends", int(mine["backends"].sum()), len(behind), CAPACITY["backends"], reply
