"""The share of each backend in the answers, against an equal share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures.names import nothing, title
from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["balance"]

MARKERS = "osD^vP*X"
#: Expected shares that differ by less are drawn as one.
SAME_PCT = 0.1


def balance(shares: pd.DataFrame) -> Figure:
    """`analysis.load_balancing.shares`: a row a frontend, a mark a backend with its 95 % interval.

    The dashed line is the share that is expected; where backends differ in it, a mark of each.
    """
    if shares.empty:
        return nothing("No answers of backends were recorded in these arms.")
    colours = arm_colours(shares["arm"])
    most = max(frame["pod"].nunique() for _, frame in shares.groupby("arm"))
    figure, panels = new_figure(10, 1.9 + 0.5 * most, columns=len(colours), sharex=True)
    for axes, (arm, colour) in zip(panels, colours.items(), strict=True):
        _panel(axes, shares[shares["arm"] == arm], colour)
        title(axes, arm)
        axes.set_xlabel("share of the answers (%)")
    away = max(
        shares["high_pct"].max() - shares["expected_pct"].min(),
        shares["expected_pct"].max() - shares["low_pct"].min(),
    )
    middle = shares["expected_pct"].mean()
    panels[0].set_xlim(max(0, middle - 1.15 * away), min(100, middle + 1.15 * away))
    return figure


def _panel(axes: Axes, shares: pd.DataFrame, colour: str) -> None:
    pods, backends = list(dict.fromkeys(shares["pod"])), sorted(set(shares["backend"]))
    same = shares["expected_pct"].max() - shares["expected_pct"].min() < SAME_PCT
    for row in shares.to_dict("records"):
        index = backends.index(row["backend"])
        y = pods.index(row["pod"]) + 0.3 * ((index + 0.5) / len(backends) - 0.5) * 2
        axes.plot([row["low_pct"], row["high_pct"]], [y, y], color=colour, linewidth=1.8)
        marker = MARKERS[index % len(MARKERS)]
        axes.plot(
            row["share_pct"],
            y,
            marker,
            color=colour,
            markersize=6,
            markerfacecolor="white" if index % 2 else colour,
        )
        if not same:
            axes.plot(row["expected_pct"], y, "|", color=GREY, markersize=11, markeredgewidth=2)
    if same:
        axes.axvline(shares["expected_pct"].iloc[0], color=GREY, linestyle="--", linewidth=1)
    counts = shares.groupby("pod", sort=False)["n"].first()
    axes.set_yticks(range(len(pods)), [f"{_short(pod)}\nn = {counts[pod]}" for pod in pods])
    axes.set_ylim(len(pods) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    _key(axes, shares.drop_duplicates("backend").sort_values("backend"), colour)


def _short(pod: str) -> str:
    """A pod of a Deployment by the part of its name that is its own."""
    return f"…{pod.rsplit('-', 1)[-1]}" if "-" in pod else pod


def _key(axes: Axes, backends: pd.DataFrame, colour: str) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415  (import labkit must stay fast)

    marks = [
        Line2D([], [], color=colour, linestyle="", marker=MARKERS[i % len(MARKERS)],
               markerfacecolor="white" if i % 2 else colour, label=f"{_short(row['backend'])} on {row['node']}")
        for i, row in enumerate(backends.to_dict("records"))
    ]  # fmt: skip
    axes.legend(
        handles=marks, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=1, frameon=False, fontsize=8
    )
