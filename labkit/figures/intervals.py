"""Measurements with their spread: every repetition, the median, its interval; and contrasts of arms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.figures.names import in_order, legend, name, nothing, title
from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["forest", "repetitions"]

WIDTH = 0.8  # of a group, of which each arm has its share
COLUMNS = ((0, "verdict"), (0.44, "ratio  [95 %]"), (0.78, "noise"), (0.9, "n"))
RATIOS = (0.1, 0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 3, 4, 5, 10)
#: Fewer of them on a long axis; an interval that goes on beyond WIDEST is cut there, its numbers stand beside it.
FEW_RATIOS, WIDEST = (0.2, 0.33, 0.5, 0.75, 1, 1.33, 2, 3, 5), 5


def repetitions(
    values: pd.DataFrame, medians: pd.DataFrame, value: str, label: str, *, scale: float = 1
) -> Figure:
    """Every repetition as a point, in the order of time from left to right; median and its interval beside it.

    `values` holds one row a repetition (`arm`, `path`, `mode`, `repetition`, the value), `medians` is
    `analysis.statistics.medians` of it by arm, path and mode. A panel a path, a group a mode.
    """
    values = values.dropna(subset=[value])
    if values.empty:
        return nothing("Nothing was measured in these arms.")
    paths, modes, colours = in_order(values["path"]), in_order(values["mode"]), arm_colours(values["arm"])
    figure, panels = new_figure(10, 3.6, columns=len(paths), sharey=True)
    for axes, path in zip(panels, paths, strict=True):
        title(axes, name(path))
        for arm, colour in colours.items():
            for at, mode in enumerate(modes):
                x = at + _offset(list(colours).index(arm), len(colours))
                wide = WIDTH / len(colours)
                _cell(
                    axes,
                    _of(values, arm, path, mode),
                    _of(medians, arm, path, mode),
                    value,
                    x,
                    wide,
                    colour,
                    scale,
                )
        axes.set_xticks(range(len(modes)), [name(mode).replace(", ", "\n") for mode in modes])
        axes.set_xlim(-0.6, len(modes) - 0.4)
        axes.grid(visible=False, axis="x")
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel(label)
    _key(figure, colours)
    return figure


def _offset(index: int, count: int) -> float:
    return WIDTH * ((index + 0.5) / count - 0.5)


def _of(frame: pd.DataFrame, arm: str, path: str, mode: str) -> pd.DataFrame:
    return frame[(frame["arm"] == arm) & (frame["path"] == path) & (frame["mode"] == mode)]


def _cell(
    axes: Axes,
    points: pd.DataFrame,
    summary: pd.DataFrame,
    value: str,
    x: float,
    wide: float,
    colour: str,
    scale: float,
) -> None:
    if points.empty:
        axes.annotate("no result", (x, 0), (0, 4), textcoords="offset points", rotation=90, ha="center",
                      color=colour, fontsize=8)  # fmt: skip
        return
    order = points.sort_values("repetition")[value].to_numpy(dtype=float) * scale
    spread = np.linspace(-0.28, 0.28, len(order)) * wide
    axes.plot(x + spread, order, ".", color=colour, alpha=0.6, markersize=7, markeredgewidth=0)
    row = summary.iloc[0]
    axes.vlines(x, row["low"] * scale, row["high"] * scale, color=colour, linewidth=1.6)
    axes.hlines(row["median"] * scale, x - 0.38 * wide, x + 0.38 * wide, color=colour, linewidth=2.4)


def _key(figure: Figure, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415  (import labkit must stay fast)

    lines = [Line2D([], [], color=colour, linewidth=2.4, label=arm) for arm, colour in colours.items()]
    point = Line2D([], [], color=GREY, marker=".", linestyle="", label="one repetition, in order of time")
    bar = Line2D([], [], color=GREY, linewidth=1.6, label="95 % interval of the median")
    legend(figure, [*lines, point, bar])


def forest(contrasts: pd.DataFrame, labels: Sequence[str], better: str, *, margin: float) -> Figure:
    """Ratios of arms to the reference with their intervals, and the band in which there is no difference.

    `contrasts` is `analysis.statistics.contrasts`; `labels` are its columns that name a row; `better` says
    which way is better, as in `higher is better`. Hollow marks stand for `unknown`; `noise` is how far an arm
    drifted by itself, or differed from itself. Where there is a column `says`, it stands for the verdict.
    """
    if contrasts.empty:
        return nothing("There is nothing to compare: a contrast needs two arms that were measured alike.")
    colours = arm_colours([*contrasts["reference"], *contrasts["arm"]])
    groups = _groups(contrasts, labels)
    members = list(dict.fromkeys(contrasts["arm"]))
    high = 1.5 + (0.14 + 0.22 * len(members)) * len(groups)
    figure, (axes, table) = new_figure(11.5, high, columns=2, sharey=True)
    if grid := axes.get_gridspec():
        grid.set_width_ratios((1, 1))
    axes.axvspan(1 - margin, 1 + margin, color="#e5e7eb", zorder=0)
    axes.axvline(1, color=GREY, linewidth=0.8, zorder=1)
    _columns(table)
    for at, group in enumerate(groups):
        for row in _rows(contrasts, labels, group):
            y = at + _offset(members.index(row["arm"]), len(members)) * 0.9
            _ratio(axes, row, y, colours[row["arm"]])
            _numbers(table, row, y)
    _ratio_axis(axes, contrasts, better, margin)
    axes.set_yticks(range(len(groups)), [", ".join(name(key) for key in group) for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    if len(members) > 1:
        _members(axes, {arm: colours[arm] for arm in members})
    return figure


def _groups(contrasts: pd.DataFrame, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Each combination of the labels once, in the order that paths and modes have in all figures."""
    orders = [in_order(contrasts[column]) for column in labels]
    found = dict.fromkeys(zip(*(contrasts[column] for column in labels), strict=True))
    return sorted(
        found, key=lambda group: [order.index(key) for order, key in zip(orders, group, strict=True)]
    )


def _rows(
    contrasts: pd.DataFrame, labels: Sequence[str], group: tuple[str, ...]
) -> list[dict[Hashable, Any]]:
    chosen = np.logical_and.reduce([contrasts[c] == key for c, key in zip(labels, group, strict=True)])
    return contrasts[chosen].to_dict("records")


def _ratio(axes: Axes, row: Mapping[Hashable, Any], y: float, colour: str) -> None:
    inside = "white" if row["verdict"] == "unknown" else colour
    axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt", zorder=2)
    axes.plot(row["ratio"], y, "o", color=colour, markerfacecolor=inside, markersize=6, zorder=3)


def _columns(table: Axes) -> None:
    table.set_axis_off()
    table.set_xlim(0, 1)
    for x, text in COLUMNS:
        table.text(x, 1.01, text, transform=table.transAxes, fontsize=8, color=GREY, va="bottom")


def _numbers(table: Axes, row: Mapping[Hashable, Any], y: float) -> None:
    known = row["verdict"] != "unknown"
    interval = f"{row['ratio']:.2f}  [{row['low']:.2f}, {row['high']:.2f}]"
    n = f"{row['n']}, {row['n_reference']}"
    for (x, _), text in zip(
        COLUMNS, (row.get("says", row["verdict"]), interval, f"{row['noise']:.2f}", n), strict=True
    ):
        table.text(x, y, text, va="center", fontsize=8, color="black" if known else GREY)


def _ratio_axis(axes: Axes, contrasts: pd.DataFrame, better: str, margin: float) -> None:
    low = min(contrasts["low"].min(), contrasts["ratio"].min(), 1 - 2 * margin)
    high = max(contrasts["high"].max(), contrasts["ratio"].max(), 1 + 2 * margin)
    axes.set_xscale("log")
    low, high = max(low / 1.06, 1 / WIDEST), min(high * 1.06, WIDEST)
    axes.set_xlim(low, high)
    axes.set_xticks([r for r in (RATIOS if high / low < WIDEST else FEW_RATIOS) if low <= r <= high])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    arms = " and ".join(dict.fromkeys(contrasts["arm"]))
    base = contrasts["reference"].iloc[0]
    axes.set_xlabel(
        f"{arms} relative to {base} (ratio of medians; {better}); grey: within ±{100 * margin:g} %"
    )


def _members(axes: Axes, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    lines = [
        Line2D([], [], color=colour, marker="o", linewidth=1.8, label=arm) for arm, colour in colours.items()
    ]
    axes.legend(
        handles=lines, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(lines), frameon=False, fontsize=8
    )
