"""The requests that labkit itself makes in the step `load-balancing`: how many, from where, when.

They are what flows, logs and counters can be held against: the number that really was made is known.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from labkit.collect.gather import POD, collects
from labkit.collect.kubernetes import pod_targets
from labkit.collect.load_balancing import SERVICE, STEP, asking
from labkit.collect.plan import Plan, fetch, service_address
from labkit.parse import curl
from labkit.parse.answers import answers
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["FETCHES", "fetches"]

FETCHES = Schema("fetches", "Rounds of requests to the backends' Service, one row a round.", key=("started_at",), columns=(
    Column("protocol", "str", "TCP: each request is an HTTP GET on a connection of its own"),
    Column("dst_ip", "str", "the Service's address, which was asked for"),
    Column("requests", "Int64", "requests made"),
    Column("answered", "Int64", "requests that were answered"),
    Column("started_at", "datetime64[us, UTC]", "when it began, by the clock of whoever asked"),
    Column("ended_at", "datetime64[us, UTC]", "when it was over, by the same clock"),
))  # fmt: skip
WHOLE = Schema(FETCHES.name, FETCHES.meaning, FETCHES.key, (POD, *FETCHES.columns, REPLY))


@collects(FETCHES, POD)
def fetches(cluster: Cluster) -> pd.DataFrame:
    """Each frontend's rounds, some timed by curl and some that print who answered: frame FETCHES by pod."""
    address = service_address(cluster, SERVICE)
    plan = Plan.from_about(cluster.about)
    rounds = (
        (fetch(address, plan.timings), plan.timings, _transferred),
        (asking(address, plan.answers), plan.answers, _printed),
    )
    rows = []
    for target, pod in sorted(pod_targets(cluster, "frontend", "toolbox").items()):
        for argv, requests, answered in rounds:
            reply = cluster.at(STEP).run(target, argv, check=False)  # one failed request fails the command
            rows.append({
                "pod": pod, "protocol": "TCP", "dst_ip": address, "requests": requests,
                "answered": answered(reply.stdout), "started_at": reply.started_at,
                "ended_at": reply.started_at + timedelta(seconds=reply.duration_s), "reply": reply.id,
            })  # fmt: skip
    return WHOLE.frame(rows)


def _transferred(data: bytes) -> int:
    return int((curl.transfers(data)["http_code"] == 200).sum())


def _printed(data: bytes) -> int:
    return len(answers(data))
