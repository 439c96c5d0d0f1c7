"""What more policies cost: connections from the frontends to the backends, and what the nodes hold for them.

In the steps `policies-<number>` that the arm's plan names so many policies select the backends and let the
frontends in, each to a port of its own; only the last one's port is asked, so that is the one that matters. The
step `policy-none` is the same without any. Connections go to backends' own addresses: no Service is in them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from labkit.collect import cilium, ebpf, kubernetes, services
from labkit.collect.gather import NODE, POD, collects, stack
from labkit.collect.plan import Plan, fetch
from labkit.errors import MissingFeature, ReplayMiss
from labkit.parse import curl
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["HOLDINGS", "NONE", "connections", "holdings", "replies"]

NONE = "policy-none"
POLICIES = Column("policies", "Int64", "policies that select the backends")
HOLDINGS = Schema("policy_holdings", "What a node holds for policies.", key=("policies", "holds"), columns=(
    POLICIES,
    Column("holds", "str", "iptables rules, entries of Cilium's policy maps or of other eBPF maps"),
    Column("entries", "Int64", "how many"),
))  # fmt: skip
CONNECTION = (
    POLICIES,
    Column("path", "str", "same-node or other-node, seen from the frontend"),
    POD,
    Column("repetition", "Int64", "number of the repetition, from 0"),
)


@collects(curl.TRANSFERS, *CONNECTION)
def connections(cluster: Cluster) -> pd.DataFrame:
    """Each fetch, with a connection of its own: frame TRANSFERS and `reply`.

    Raises MissingFeature where the arm's plan has no policies to scale.
    """
    known = [
        (reply, {"policies": count, "path": path, "pod": pod, "repetition": reply.request.sample})
        for step, count in _steps(cluster)
        for pod, path, reply in replies(cluster, step)
    ]
    return stack(known, curl.transfers, connections.schema)


def _steps(cluster: Cluster) -> list[tuple[str, int]]:
    plan = Plan.from_about(cluster.about)
    if not plan.policies:
        raise MissingFeature(cluster.arm, "this arm's plan has no numbers of policies")
    return [(NONE, 0), *zip(plan.policy_steps, plan.policies, strict=True)]


def replies(cluster: Cluster, step: str) -> Iterator[tuple[str, str, Reply]]:
    """Fetch from a backend on each frontend's node and from one on another, in turn: frontend, path, reply."""
    plan, ways = Plan.from_about(cluster.about), list(_ways(cluster.at("baseline")))
    for sample in range(plan.repetitions):
        for target, pod, path, address in ways:
            argv = fetch(address, plan.fetches)
            yield pod, path, cluster.at(step).run(target, argv, sample=sample, check=False)


def _ways(cluster: Cluster) -> Iterator[tuple[str, str, str, str]]:
    """Target and name of each frontend, path, and the address of a backend on it."""
    mine = kubernetes.workloads(cluster).set_index("pod")
    backends = mine[(mine["app"] == "backend") & mine["pod_ip"].notna()].sort_index()
    for target, pod in sorted(kubernetes.pod_targets(cluster, "frontend", "toolbox").items()):
        here = backends["node"] == mine.loc[pod, "node"]
        for path, found in (("same-node", backends[here]), ("other-node", backends[~here])):
            if len(found):
                yield target, pod, path, str(found["pod_ip"].iloc[0])


@collects(HOLDINGS, NODE)
def holdings(cluster: Cluster) -> pd.DataFrame:
    """What each node holds, without policies and with more and more: frame HOLDINGS and `reply`.

    Raises MissingFeature where the arm's plan has no policies to scale.
    """
    frames, nodes = [holdings.schema.empty()], list(kubernetes.nodes(cluster.at("baseline"))["node"])
    for step, count in _steps(cluster):
        for holds, read in HOLDERS.items():
            with suppress(MissingFeature, ReplayMiss):
                by_node = read(cluster.at(step)).groupby("node")["reply"]
                held = by_node.agg(entries="size", reply="first").reindex(nodes)
                held["entries"] = held["entries"].fillna(0)  # it was read and is empty
                frames.append(held.reset_index().assign(policies=count, holds=holds))
    dtypes = {column.name: column.dtype for column in holdings.schema.columns}
    frame = concat([one[holdings.schema.names].astype(dtypes) for one in frames])
    return frame.sort_values(list(holdings.schema.key), kind="stable", ignore_index=True)


#: What may hold policies, and how it is read: a row an entry, with `node` and `reply`.
HOLDERS: dict[str, Callable[[Cluster], pd.DataFrame]] = {
    "iptables rules": services.rules,
    "policy map entries": cilium.policy_map,
    "eBPF policy peers": ebpf.policy_peers,
    "eBPF policy ports": ebpf.policy_ports,
}
