"""The predicted way of a packet on an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.paths import HOPS, Model
from labkit.cluster import once
from labkit.collect.gather import Collector
from labkit.errors import MissingFeature, ParameterError
from labkit.explain.state import read

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["between_nodes", "explain", "hops", "model"]


@once
def model(cluster: Cluster) -> Model:
    """The model of an arm in its step. The state is read and indexed once.

    Raises MissingFeature where the API was not asked in this step: nobody is known then.
    """
    state = read(cluster)
    for name in ("nodes", "pods"):
        if state.get(name) is None:
            raise MissingFeature(cluster.arm, f"no {name} were read in step {cluster.step}")
    return Model(state)


def explain(
    cluster: Cluster, src: str, dst: str, *, port: int | None = None, protocol: str | None = None
) -> pd.DataFrame:
    """Which way a packet goes from `src` to `dst`, and its answer: frame HOPS.

    `src` is a pod, a node, an address, or the label of a pod; `dst` the same or a Service, with `:port` (its
    number or name) and `/udp` behind it, if you like, and `/same-node` or `/other-node` behind a label. Without a
    port a Service's first one is asked, all else pinged. Raises ParameterError for a name that is none of
    these, and says what there is.

    >>> from labkit import Lab
    >>> lab = Lab({"cilium": "replay:cilium"})
    >>> way = explain(lab.arms["cilium"], "frontend", "backend-service:80")
    >>> sorted(way["verdict"].groupby(way["branch"]).last())
    ['delivered', 'delivered']
    """
    return model(cluster).explain(src, dst, port=port, protocol=protocol)


def _hops(
    cluster: Cluster, src: str, dst: str, port: int | None = None, protocol: str | None = None
) -> pd.DataFrame:
    return explain(cluster, src, dst, port=port, protocol=protocol)


#: `explain` as a collector: `lab.each(hops, src=…, dst=…)` gives all arms beneath each other.
hops = Collector(_hops, HOPS)


def _between_nodes(cluster: Cluster) -> pd.DataFrame:
    try:
        return explain(cluster, "app=frontend", "app=frontend/other-node")
    except ParameterError as none:
        raise MissingFeature(cluster.arm, "there are no two frontends on two nodes") from none


#: The way of a ping from the first frontend to one on another node: both ends are pods whose devices are read.
#: Raises MissingFeature where there are no two such.
between_nodes = Collector(_between_nodes, HOPS)
