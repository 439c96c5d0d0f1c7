"""Whole distributions of times, not only their middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labkit.figures.names import in_order, legend, name, nothing, title
from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["distributions"]


def distributions(samples: pd.DataFrame, value: str, label: str) -> Figure:
    """Share of samples that took at most so long: all together (thick) and each repetition (thin).

    `samples` has `arm`, `path`, `repetition` and the value in microseconds. A panel a path; a logarithmic
    axis, cut at the 0.1 and 99.9 percentiles of everything shown.
    """
    samples = samples.dropna(subset=[value])
    samples = samples[samples[value] > 0]
    if samples.empty:
        return nothing("No times were measured in these arms.")
    paths, colours = in_order(samples["path"]), arm_colours(samples["arm"])
    figure, panels = new_figure(10, 3.4, columns=len(paths), sharex=True, sharey=True)
    for axes, path in zip(panels, paths, strict=True):
        title(axes, name(path))
        for arm, colour in colours.items():
            mine = samples[(samples["arm"] == arm) & (samples["path"] == path)]
            for _, block in mine.groupby("repetition"):
                _steps(axes, block[value], colour, 0.6, 0.35)
            if not mine.empty:
                _steps(axes, mine[value], colour, 2.2, 1)
        axes.set_xlabel(label)
    _axes(panels[0], samples[value])
    panels[0].set_ylabel("cumulative share of samples")
    _key(figure, colours)
    return figure


def _steps(axes: Axes, values: pd.Series[float], colour: str, width: float, alpha: float) -> None:
    axes.ecdf(values.to_numpy(dtype=float), color=colour, linewidth=width, alpha=alpha)


def _axes(axes: Axes, values: pd.Series[float]) -> None:
    low, high = np.quantile(values.to_numpy(dtype=float), [0.001, 0.999])
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [m * 10**e for e in range(7) for m in (1, 2, 5)]
    axes.set_xticks([t for t in ticks if low <= t <= high])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.9, 1])
    axes.set_ylim(0, 1.01)


def _key(figure: Figure, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415  (import labkit must stay fast)

    lines = [Line2D([], [], color=colour, linewidth=2.2, label=arm) for arm, colour in colours.items()]
    thin = Line2D([], [], color=GREY, linewidth=0.6, label="one repetition")
    legend(figure, [*lines, thin])
