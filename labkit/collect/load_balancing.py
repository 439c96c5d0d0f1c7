"""Who answers when a Service is asked.

The backends' Service gets 500 fetches, a connection each, from every frontend, and each answer names its pod.
The servers of iperf3 say no names; where kube-proxy counts, its rules show which of them was chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import POD, collects, gather
from labkit.collect.kubernetes import endpoints, pod_targets
from labkit.collect.plan import fetch, placement, service_address
from labkit.collect.services import rules
from labkit.errors import MissingFeature
from labkit.parse import curl
from labkit.parse import kubernetes as parse
from labkit.parse.answers import ANSWERS
from labkit.parse.answers import answers as parse_answers
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["ASKED", "SERVERS", "SERVICE", "STEP", "answers", "backends", "servers", "timings"]

STEP = "load-balancing"
SERVICE = "backend-service"
ASKED = 500
TIMED = 200

#: Steps before and after the performance plan in which the rules of kube-proxy were read with counters.
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
    """Who answered each of ASKED fetches from each frontend: frame ANSWERS and `reply`.

    Each fetch is a process and a connection of its own. One that failed has no row.
    """
    address = service_address(cluster, SERVICE)
    loop = f"for i in $(seq {ASKED}); do curl -sS --connect-timeout 3 http://{address}/; done"
    names = pod_targets(cluster, "frontend", "toolbox")
    replies = cluster.at(STEP).run_each(names, ("sh", "-c", loop))
    return gather(replies, parse_answers, "pod", names)


@collects(curl.TRANSFERS, POD)
def timings(cluster: Cluster) -> pd.DataFrame:
    """Times of 200 fetches from each frontend, a connection each: frame TRANSFERS and `reply`."""
    names = pod_targets(cluster, "frontend", "toolbox")
    argv = fetch(service_address(cluster, SERVICE), TIMED)
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
    rules: Cilium's maps do not count.
    """
    where = placement(cluster)
    before, after = (_dnat(cluster.at(step), where.client_node) for step in (BEFORE, AFTER))
    if after.empty:
        raise MissingFeature(
            cluster.arm, "nothing in this arm counts which server the Service of iperf3 led to"
        )
    sent = after.assign(connections=after["packets"] - before["packets"].reindex(after.index, fill_value=0))
    servers = sent.reset_index()
    paths = {address: path for path, address in where.servers.items() if path != "service"}
    frame = SERVERS.frame(
        {
            "node": where.client_node,
            "protocol": str(row.protocol).upper(),
            "server": row.server,
            "path": paths.get(str(row.server), "other-node"),
            "connections": row.connections,
        }
        for row in servers.itertuples()
    )
    return frame.assign(reply=after["reply"].iloc[0]).astype({"reply": "str"})


def _dnat(cluster: Cluster, node: str) -> pd.DataFrame:
    """The rules of one node that rewrite to a server of iperf3, by protocol and server."""
    every = rules(cluster)
    named = every["comment"].str.contains(f"{cluster.namespace}/perf-server", na=False)
    found = every[(every["node"] == node) & named & (every["target"] == "DNAT")]
    found = found.assign(server=found["to_destination"].str.rsplit(":", n=1).str[0])
    return found.set_index(["protocol", "server"])
