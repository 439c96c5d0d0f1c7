"""The chances that an arm's rules or maps give to each backend of the lab's Service, by who asks.

They are those of the path that a new connection takes (`paths.explain`): the probabilities of the chains that
it walks, the slots of the map that socket load balancing draws from, or shares of Maglev's table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.load_balancing import CHANCES
from labkit.collect import kubernetes
from labkit.collect.gather import Collector
from labkit.collect.load_balancing import SERVICE, backends
from labkit.errors import MissingFeature
from labkit.explain.paths import explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["chances"]

REQUEST, TRANSLATED, BY_SERVICE = "1 request", "translated", ("service", "socket")


def _chances(cluster: Cluster) -> pd.DataFrame:
    """Each frontend's chances: frame CHANCES. Raises MissingFeature where the state does not say."""
    here = cluster.at("baseline")
    names = dict(zip(backends(here)["address"], backends(here)["pod"], strict=True))
    frontends = sorted(kubernetes.pod_targets(here, "frontend", "toolbox").values())
    return CHANCES.frame(row for pod in frontends for row in _of(here, pod, names))


def _of(cluster: Cluster, pod: str, names: dict[str, str]) -> Iterator[dict[str, object]]:
    hops = explain(cluster, pod, SERVICE)
    there = (hops["way"] == REQUEST) & (hops["verdict"] == TRANSLATED) & hops["place"].isin(BY_SERVICE)
    chosen = hops[there].drop_duplicates("branch")
    if chosen.empty or abs(chosen["probability"].sum() - 1) > 1e-6:
        raise MissingFeature(cluster.arm, f"the state that was read does not say how {pod} gets to a backend")
    found = chosen.groupby("dst_ip", sort=False).agg(
        probability=("probability", "sum"), rests_on=("rests_on", "first"), reply=("reply", "first")
    )
    for row in found.reset_index().itertuples():
        backend = names.get(str(row.dst_ip), row.dst_ip)
        yield {
            "pod": pod,
            "backend": backend,
            "probability": row.probability,
            "rests_on": row.rests_on,
            "reply": row.reply,
        }


#: As a collector: `lab.each(chances)`.
chances = Collector(_chances, CHANCES)
