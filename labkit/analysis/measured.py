"""What was measured, when and on how many machines: what every number of the performance plan rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from labkit.analysis.cpu import kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["overview"]

Span = tuple[pd.Timestamp, pd.Timestamp]


def overview(trials: pd.DataFrame, runs: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, from the frames `trials`, `runs` and `cpu_times` of the performance plan.

    Columns `arm`, `repetitions`, `commands`, `failed` (exit codes and errors of iperf3), `started_at`,
    `ended_at`, `same_time_as` (arms that were measured meanwhile; empty where each had its own time),
    `nodes`, `kernels`, `cpus`, `counted` (how CPU time is counted), `iperf3` and `congestion`.
    """
    arms = trials.groupby("arm", sort=False)
    frame = pd.DataFrame({
        "repetitions": arms["repetition"].nunique(),
        "commands": arms.size(),
        "failed": arms["exit_code"].agg(lambda codes: int((codes != 0).sum()))
        + runs.groupby("arm", sort=False)["error"].count(),
        "started_at": arms["started_at"].min().dt.floor("s"),
        "ended_at": arms["started_at"].max().dt.ceil("s"),
    })  # fmt: skip
    spans: dict[str, Span] = dict(
        zip(frame.index, zip(frame["started_at"], frame["ended_at"], strict=True), strict=True)
    )
    meanwhile = pd.Series({arm: ", ".join(_meanwhile(arm, spans)) for arm in spans}, dtype="str")
    machines = kernels(times).set_index("arm")
    tools = runs.groupby("arm", sort=False).agg(
        iperf3=("version", "first"), congestion=("congestion", "first")
    )
    return frame.assign(same_time_as=meanwhile).join(machines).join(tools).rename_axis("arm").reset_index()


def _meanwhile(arm: str, spans: Mapping[str, Span]) -> list[str]:
    start, end = spans[arm]
    return [other for other, (s, e) in spans.items() if other != arm and s <= end and start <= e]
