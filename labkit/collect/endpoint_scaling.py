"""What more endpoints of a Service cost: connections to one that has few, and to one that has many.

In the steps `endpoints-<number>` that the arm's plan names a Service has so many pods behind it, all of which
answer. The client is that of the performance plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import kubernetes
from labkit.collect.gather import collects, stack
from labkit.collect.plan import Plan, fetch
from labkit.errors import MissingFeature
from labkit.parse import curl
from labkit.schema import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["connections", "replies"]


@collects(
    curl.TRANSFERS,
    Column("endpoints", "Int64", "endpoints of the Service"),
    Column("repetition", "Int64", "number of the repetition, from 0"),
)
def connections(cluster: Cluster) -> pd.DataFrame:
    """Each fetch, with a connection of its own: frame TRANSFERS and `reply`.

    Raises MissingFeature where the arm's plan has no numbers of endpoints.
    """
    plan = Plan.from_about(cluster.about)
    if not plan.endpoints:
        raise MissingFeature(cluster.arm, "this arm's plan has no numbers of endpoints")
    known = [
        (reply, {"endpoints": count, "repetition": reply.request.sample})
        for count in plan.endpoints
        for reply in replies(cluster.at(f"endpoints-{count}"))
    ]
    return stack(known, curl.transfers, connections.schema)


def replies(cluster: Cluster) -> Iterator[Reply]:
    """Fetch from the Service of the cluster's step, again and again."""
    plan = Plan.from_about(cluster.about)
    services = kubernetes.services(cluster)
    found = services[services["namespace"] == cluster.namespace].set_index("service")["cluster_ip"]
    (target,) = kubernetes.pod_targets(cluster, "perf-client", "client")
    argv = fetch(str(found[f"scale-{cluster.step}"]), plan.fetches)
    for sample in range(plan.repetitions):
        yield cluster.run(target, argv, sample=sample, check=False)
