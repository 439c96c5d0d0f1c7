"""How soon one Service or policy more took effect, as the arm's steps timed it (`experiments.programming`)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.collect.gather import collects
from labkit.collect.limits import fitting
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["NOTES", "PROGRAMMING", "programming"]

#: Under which name a header holds what was timed.
NOTES = "programming"

PROGRAMMING = Schema("programming", "How soon a change took effect on every node.", key=("kind", "size", "change", "round"), columns=(
    Column("kind", "str", "Service or NetworkPolicy"),
    Column("size", "Int64", "how many of them were there beside the one that was changed"),
    Column("change", "str", "applied or deleted"),
    Column("round", "Int64", "number of the round, from 0"),
    Column("started_at", "datetime64[us, UTC]", "when the change was sent"),
    Column("at_least_s", "float64", "until the last try began that saw the old state; 0 where none did"),
    Column("at_most_s", "float64", "until the first tries ended that all saw the new one; NA where not all did"),
    Column("effective_s", "float64", "the middle of both"),
))  # fmt: skip


@collects(PROGRAMMING)
def programming(cluster: Cluster) -> pd.DataFrame:
    """Every change that was timed: frame PROGRAMMING; the reply is that of the change.

    Brings a live arm into its steps. Raises MissingFeature where the arm's plan timed none.
    """
    plan = Plan.from_about(cluster.about)
    if not plan.rounds:
        raise MissingFeature(cluster.arm, "how soon a change took effect was not timed in this arm")
    for step in (*fitting(cluster), *plan.policy_steps):
        cluster.at(step).read("/api/v1/services")
    return programming.schema.frame(_row(note) for note in cluster.about.get(NOTES, ()))


def _row(note: Mapping[str, Any]) -> dict[str, Any]:
    least, most = note["at_least_s"], note["at_most_s"]
    number = re.search(r"\d+$", note["step"])
    size = int(number[0]) if number else 0
    return {
        **{name: note[name] for name in ("kind", "change", "round", "at_least_s", "at_most_s", "reply")},
        "size": size - (note["kind"] == "NetworkPolicy"),  # a policy that is changed is one of them
        "started_at": datetime.fromisoformat(note["started_at"]),
        "effective_s": None if most is None else (least + most) / 2,
    }
