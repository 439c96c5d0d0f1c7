"""The same question in several steps: how a state came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import Collector
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature, ReplayMiss
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["SERVICES", "STEP", "over"]

#: Stands for the steps with more Services that an arm's plan has.
SERVICES = "services-*"
STEP = Column("step", "str", "the state of the cluster it was asked in")


def over(steps: Sequence[str], collect: Collector[[Cluster]]) -> Collector[[Cluster]]:
    """A collector that reads an arm in each of these steps, with `step` as first column.

    `services-*` stands for all steps with more Services that the arm's plan has. Steps that a recording does not hold have no rows, nor those that an arm cannot be brought into (it may be
    read-only). Raises MissingFeature where that leaves no step at all.
    """

    def read(cluster: Cluster) -> pd.DataFrame:
        frames, why = [], MissingFeature(cluster.arm, f"none of the steps {', '.join(steps)} was recorded")
        planned = {SERVICES: Plan.from_about(cluster.about).steps}
        for step in (name for given in steps for name in planned.get(given, (given,))):
            try:
                frame = collect(cluster.at(step))
            except ReplayMiss:
                continue
            except MissingFeature as missing:
                why = missing
                continue
            frame.insert(0, "step", step)
            frames.append(frame.astype({"step": "str"}))
        if not frames:
            raise why
        return concat(frames)

    first = collect.schema
    schema = Schema(first.name, first.meaning, ("step", *first.key), (STEP, *first.columns))
    return Collector(read, schema)
