"""Connection time and state of the nodes, against the number of Services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures.names import legend, nothing, title
from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["effects", "services"]

MARKS = {
    "only": ("o", "repetition, the backends' own Service"),
    "first": ("<", "repetition, first extra Service"),
    "last": (">", "repetition, last extra Service"),
}
LINES = {
    "iptables rules": "-",
    "KUBE-SVC chains": ":",
    "service map slots": "--",
    "eBPF services map": "--",
    "eBPF backends map": "-.",
}
CHANGES = {"applied": "^", "deleted": "v"}


def services(
    values: pd.DataFrame, medians: pd.DataFrame, holdings: pd.DataFrame, failures: pd.DataFrame
) -> Figure:
    """Left the time to connect to a Service, right what a node holds for all of them.

    `values` holds `connect_us` of each repetition by `arm`, `services` and `position`, `medians` is
    `analysis.statistics.medians` of it by arm and services, `holdings` the frame of that collector,
    `failures` is `analysis.scaling.failures`: connections that failed have no time and are written beside.
    """
    if values.empty or holdings.empty:
        return nothing("No arm was measured with more Services.")
    colours = arm_colours(values["arm"])
    figure, (left, right) = new_figure(10, 4.2, columns=2)
    for index, (arm, colour) in enumerate(colours.items()):
        aside = 1.07 ** (2 * index - len(colours) + 1)
        _times(left, _of(values, arm), _of(medians, arm), colour, aside)
        _failed(left, _of(failures, arm), index, colour)
        _state(right, _of(holdings, arm), colour, 1.6 + 1.4 * (len(colours) - 1 - index))
    title(left, "time to connect to a Service")
    title(right, "what a node holds for all of them")
    left.set_ylabel("median of a repetition (µs)")
    right.set_ylabel("entries")
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("Services in the cluster")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xticks([], minor=True)
    left.set_ylim(0, 1.25 * max(values["connect_us"].max(), medians["high"].max()))
    _key(figure, right, colours, set(holdings["holds"]))
    return figure


def effects(programming: pd.DataFrame) -> Figure:
    """How soon one Service or policy more took effect, of that collector by `arm`: a panel a kind.

    A line a change, from when it was last seen not to be in effect to when it was; the mark is the middle.
    What was not seen until the limit has no upper end and is written beside.
    """
    if programming.empty:
        return nothing("In no arm was timed how soon a change took effect.")
    colours = arm_colours(programming["arm"])
    kinds = list(dict.fromkeys(programming["kind"]))
    figure, panels = new_figure(10, 3.8, columns=len(kinds))
    for axes, kind in zip(panels, kinds, strict=True):
        mine = programming[programming["kind"] == kind]
        sizes = sorted(mine["size"].unique())
        for index, (arm, colour) in enumerate(colours.items()):
            _effects(axes, _of(mine, arm), sizes, (index + 0.5) / len(colours) - 0.5, colour)
            _unseen(axes, _of(mine, arm), index, colour)
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_xlim(-0.6, len(sizes) - 0.4)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("others that are there")
        title(axes, f"one {kind} more")
    panels[0].set_ylabel("until every frontend saw it (s)")
    _effects_key(figure, colours)
    return figure


def _effects(axes: Axes, mine: pd.DataFrame, sizes: list[int], aside: float, colour: str) -> None:
    seen = mine.dropna(subset=["at_most_s"])
    rounds = max(int(mine["round"].max()) + 1, 1) if len(mine) else 1
    for row in seen.to_dict("records"):
        within = (row["round"] + 0.5) / rounds - 0.5 + (0.25 / rounds if row["change"] == "deleted" else 0)
        x = sizes.index(row["size"]) + 0.35 * (2 * aside + 0.8 * within / 2)
        axes.plot([x, x], [row["at_least_s"], row["at_most_s"]], color=colour, linewidth=1.4, alpha=0.7)
        axes.plot(x, row["effective_s"], CHANGES[row["change"]], color=colour, markersize=4.5)


def _unseen(axes: Axes, mine: pd.DataFrame, at: int, colour: str) -> None:
    for row in mine[mine["at_most_s"].isna()].to_dict("records"):
        text = f"{row['change']}: no effect within {row['at_least_s']:.0f} s"
        axes.annotate(text, (0.99, 0.96 - 0.06 * at), xycoords="axes fraction", ha="right", fontsize=8,
                      color=colour)  # fmt: skip


def _effects_key(figure: Figure, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415  (import labkit must stay fast)

    arms = [Line2D([], [], color=colour, linewidth=1.8, label=arm) for arm, colour in colours.items()]
    marks = [
        Line2D([], [], color=GREY, marker=marker, linestyle="", label=change)
        for change, marker in CHANGES.items()
    ]
    legend(figure, [*arms, *marks])


def _of(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    return frame[frame["arm"] == arm]


def _times(axes: Axes, values: pd.DataFrame, medians: pd.DataFrame, colour: str, aside: float) -> None:
    for position, (marker, _) in MARKS.items():
        mine = values[values["position"] == position]
        x = mine["services"].astype(float) * aside
        axes.plot(x, mine["connect_us"], marker, color=colour, alpha=0.45, markersize=5, markeredgewidth=0)
    ordered = medians.sort_values("services")
    x = ordered["services"].astype(float) * aside
    axes.plot(x, ordered["median"], "-", color=colour, linewidth=1.6)
    axes.vlines(x, ordered["low"], ordered["high"], color=colour, linewidth=2.8)


def _failed(axes: Axes, failures: pd.DataFrame, at: int, colour: str) -> None:
    """How many connections have no time, in line `at` of the corner."""
    counts = failures.groupby("services", as_index=False)[["failed", "asked"]].sum()
    texts = [
        f"{row.failed} of {row.asked} failed at {row.services}"
        for row in counts.itertuples()
        if row.failed != 0
    ]
    axes.annotate("; ".join(texts), (0.99, 0.96 - 0.06 * at), xycoords="axes fraction", ha="right", fontsize=8,
                  color=colour)  # fmt: skip


def _state(axes: Axes, holdings: pd.DataFrame, colour: str, width: float) -> None:
    """Arms that hold the same lie on each other: the later ones are thinner."""
    for holds, style in LINES.items():
        mine = holdings[holdings["holds"] == holds].groupby("services")["entries"].max()
        if mine.gt(0).any():
            axes.plot(
                mine.index, mine.to_numpy(dtype=float), style, color=colour, linewidth=width, marker="."
            )


def _key(figure: Figure, axes: Axes, colours: dict[str, str], held: set[str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415  (import labkit must stay fast)

    arms = [Line2D([], [], color=colour, linewidth=1.8, label=arm) for arm, colour in colours.items()]
    marks = [
        Line2D([], [], color=GREY, marker=marker, linestyle="", markersize=5, label=label)
        for marker, label in MARKS.values()
    ]
    styles = [
        line
        for holds, style in LINES.items()
        if holds in held
        for line in axes.plot([], [], style, color=GREY, label=holds)
    ]
    rows = max(map(len, (arms, marks, styles)))
    nothing_more = [Line2D([], [], linestyle="", label="")] * rows
    filled = [[*group, *nothing_more][:rows] for group in (arms, marks, styles)]
    legend(figure, [handle for group in filled for handle in group], columns=3)
