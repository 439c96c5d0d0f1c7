"""Who answers when a Service is asked.

The backends' Service gets as many fetches as the arm's plan has answers, a connection each, from every
frontend, and each answer names its pod.
The servers of iperf3 say no names; where kube-proxy counts, its rules show which of them was chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import performance
from labkit.collect.gather import POD, collects, gather, read_one
from labkit.collect.kubernetes import endpoints, pod_targets, services
from labkit.collect.plan import Plan, fetch, placement, service_address
from labkit.collect.services import SAVE
from labkit.errors import MissingFeature, ReplayMiss, TimeLimit
from labkit.parse import curl
from labkit.parse import kubernetes as parse
from labkit.parse.answers import ANSWERS
from labkit.parse.answers import answers as parse_answers
from labkit.parse.iptables import rules
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = [
    "AFFINITY", "SERVERS", "SERVICE", "STEP", "STICKY", "answers", "asking", "backends", "kept", "servers", "sticky",
    "timings",
]  # fmt: skip

STEP, AFFINITY = "load-balancing", "affinity"
SERVICE, STICKY = "backend-service", "sticky-service"
#: Fetches over one connection, and of the Service with affinity.
KEPT = 20
#: Steps before and after the performance plan in which a recording has the rules that lacks them around it.
BEFORE, AFTER = STEP, "services-100"

SERVERS = Schema("servers", "Which server of iperf3 the Service led to.", key=("node", "protocol", "server"), columns=(
    Column("node", "str", "the client's node, whose rules chose"),
    Column("protocol", "str", "TCP or UDP: each port of a Service chooses, and keeps its choice, for itself"),
    Column("server", "str", "address of the server"),
    Column("path", "str", "same-node or other-node, seen from the client"),
    Column("connections", "Int64", "connections that the rule sent there during the performance plan"),
))  # fmt: skip


@collects(ANSWERS, POD)
def answers(cluster: Cluster) -> pd.DataFrame:
    """Who answered each fetch from each frontend: frame ANSWERS and `reply`.

    Each fetch is a process and a connection of its own. One that failed has no row.
    """
    argv = asking(service_address(cluster, SERVICE), Plan.from_about(cluster.about).answers)
    names = pod_targets(cluster, "frontend", "toolbox")
    # the loop exits as its last fetch does: one that failed must not take the others with it
    replies = cluster.at(STEP).run_each(names, argv, check=False)
    for reply in replies:
        if reply.exit_code is None:
            raise TimeLimit(reply)
    return gather(replies, parse_answers, "pod", names)


@collects(ANSWERS, POD)
def kept(cluster: Cluster) -> pd.DataFrame:
    """Who answered fetches over one connection of each frontend: frame ANSWERS and `reply`.

    A backend is chosen when a connection is made, so keep-alive keeps it: one backend, however many requests.
    """
    url = f"http://{service_address(cluster, SERVICE)}/"
    argv = ("curl", "-sS", "--connect-timeout", "3", *(url,) * KEPT)
    return _answers(cluster.at(AFFINITY), argv, "fetches over one connection were not recorded")


@collects(ANSWERS, POD)
def sticky(cluster: Cluster) -> pd.DataFrame:
    """Who answered fetches of a Service with session affinity, a connection each: frame ANSWERS and `reply`.

    `sessionAffinity: ClientIP` remembers the client's address, so it is one backend again.
    """
    here = cluster.at(AFFINITY)
    try:
        found = services(here)
    except ReplayMiss:
        raise MissingFeature(cluster.arm, "no Service with session affinity was recorded") from None
    mine = found[(found["namespace"] == cluster.namespace) & (found["service"] == STICKY)]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no Service {STICKY} in step {AFFINITY}")
    return _answers(here, asking(str(mine["cluster_ip"].iloc[0]), KEPT), "it was not asked")


def _answers(cluster: Cluster, argv: tuple[str, ...], lacking: str) -> pd.DataFrame:
    names = pod_targets(cluster, "frontend", "toolbox")
    try:
        replies = cluster.run_each(names, argv, check=False)
    except ReplayMiss:
        raise MissingFeature(cluster.arm, lacking) from None
    return gather(replies, parse_answers, "pod", names)


def asking(address: str, times: int) -> tuple[str, ...]:
    """Fetch the page at an address so often, with a process and a connection each, and print it."""
    return ("sh", "-c", f"for i in $(seq {times}); do curl -sS --connect-timeout 3 http://{address}/; done")


@collects(curl.TRANSFERS, POD)
def timings(cluster: Cluster) -> pd.DataFrame:
    """Times of fetches from each frontend, a connection each: frame TRANSFERS and `reply`."""
    names = pod_targets(cluster, "frontend", "toolbox")
    argv = fetch(service_address(cluster, SERVICE), Plan.from_about(cluster.about).timings)
    replies = cluster.at(STEP).run_each(names, argv, check=False)
    return gather(replies, curl.transfers, "pod", names)


@collects(parse.ENDPOINTS)
def backends(cluster: Cluster) -> pd.DataFrame:
    """The Service's endpoints that take connections: rows of frame ENDPOINTS."""
    found = endpoints(cluster.at("baseline"))
    mine = (found["namespace"] == cluster.namespace) & (found["service"] == SERVICE) & found["ready"]
    return found[mine].reset_index(drop=True)


@collects(SERVERS)
def servers(cluster: Cluster) -> pd.DataFrame:
    """Which server each run of iperf3 through the Service really measured: frame SERVERS and `reply`.

    kube-proxy's DNAT rules count the first packet of each connection; the counters of the client's node
    before and after the plan are held against each other. Raises MissingFeature where there are no such
    rules (Cilium's maps do not count), or where the readings do not stand around the plan.
    """
    where = placement(cluster)
    before, after = _around(cluster)
    last = _dnat(cluster, after)
    if last.empty:
        raise MissingFeature(
            cluster.arm, "nothing in this arm counts which server the Service of iperf3 led to"
        )
    first = _dnat(cluster, before)["packets"].reindex(last.index, fill_value=0)
    if (last["packets"] < first).any():
        raise MissingFeature(
            cluster.arm, "kube-proxy wrote its rules anew meanwhile, so what they counted is lost"
        )
    paths = {address: path for path, address in where.servers.items() if path != "service"}
    frame = SERVERS.frame(
        {
            "node": where.client_node,
            "protocol": str(row.protocol).upper(),
            "server": row.server,
            "path": paths.get(str(row.server), "other-node"),
            "connections": row.connections,
        }
        for row in last.assign(connections=last["packets"] - first).reset_index().itertuples()
    )
    return frame.assign(reply=after.id).astype({"reply": "str"})


def _around(cluster: Cluster) -> tuple[Reply, Reply]:
    """The rules of the client's node before and after the plan.

    Raises MissingFeature where the plan was not run between the two: what was counted then is something else.
    """
    import pandas as pd  # noqa: PLC0415

    ran, readings = performance.trials(cluster), performance.around(cluster)
    if readings is None:
        target = f"node/{placement(cluster).client_node}"
        readings = cluster.at(BEFORE).run(target, SAVE), cluster.at(AFTER).run(target, SAVE)
    before, after = readings
    ended = (ran["started_at"] + pd.to_timedelta(ran["duration_s"], unit="s")).max()
    if before.started_at > ran["started_at"].min() or after.started_at < ended:
        raise MissingFeature(
            cluster.arm, "the rules' counters were not read right around the performance plan"
        )
    return before, after


def _dnat(cluster: Cluster, reply: Reply) -> pd.DataFrame:
    """The rules that rewrite to a server of iperf3, by protocol and server."""
    every = read_one(reply, rules)
    named = every["comment"].str.contains(f"{cluster.namespace}/perf-server", na=False)
    found = every[named & (every["target"] == "DNAT")]
    found = found.assign(server=found["to_destination"].str.rsplit(":", n=1).str[0])
    return found.set_index(["protocol", "server"])
