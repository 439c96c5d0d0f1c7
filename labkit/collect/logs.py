"""What the workloads and the nodes' kernels write down by themselves, in any arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import NODE, POD, collects, gather
from labkit.collect.kubernetes import node_targets, pod_targets
from labkit.parse import access_log, nstat

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["backend_log", "kernel_counters"]


@collects(access_log.LOG, POD)
def backend_log(cluster: Cluster, tail: int = 500) -> pd.DataFrame:
    """The last lines of each backend's log: frame LOG by pod."""
    targets = pod_targets(cluster, "backend", "backend")
    replies = [cluster.logs(target, tail) for target in sorted(targets)]
    return gather(replies, access_log.lines, "pod", targets)


@collects(nstat.COUNTERS, NODE)
def kernel_counters(cluster: Cluster) -> pd.DataFrame:
    """The protocol counters of each node's network namespace: frame COUNTERS by node."""
    targets = node_targets(cluster)
    return gather(cluster.run_each(targets, ("nstat", "-az")), nstat.counters, "node", targets)
