"""The same question in several steps: how a state came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import Collector
from labkit.errors import MissingFeature, ReplayMiss
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["STEP", "over"]

STEP = Column("step", "str", "the state of the cluster it was asked in")


def over(steps: Sequence[str], collect: Collector[[Cluster]]) -> Collector[[Cluster]]:
    """A collector that reads an arm in each of these steps, with `step` as first column.

    Steps that a recording does not hold have no rows; a live arm is in one state only, the one it is in.
    Raises MissingFeature where that leaves no step at all.
    """

    def read(cluster: Cluster) -> pd.DataFrame:
        frames = [frame for step in steps if (frame := _at(cluster, step, collect)) is not None]
        if not frames:
            raise MissingFeature(cluster.arm, f"none of the steps {', '.join(steps)} was recorded")
        return concat(frames)

    first = collect.schema
    schema = Schema(first.name, first.meaning, ("step", *first.key), (STEP, *first.columns))
    return Collector(read, schema)


def _at(cluster: Cluster, step: str, collect: Collector[[Cluster]]) -> pd.DataFrame | None:
    if step != cluster.step and not cluster.source.startswith("replay:"):
        return None
    try:
        frame = collect(cluster.at(step))
    except ReplayMiss:
        return None
    frame.insert(0, "step", step)
    return frame.astype({"step": "str"})
