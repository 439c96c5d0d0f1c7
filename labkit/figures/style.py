"""One look for all figures, and the only place that touches pyplot.

A Figure that is returned as the last value of a notebook cell shows as exactly one image if it was made
by pyplot and closed again: `new_figure` does that. Colours are those of Okabe and Ito, which people with
any kind of colour vision can tell apart (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ARMS", "GREY", "VERDICTS", "arm_colours", "new_figure"]

#: Colours of the arms, in the order the arms are given.
ARMS = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
GREY = "#6b7280"
VERDICTS = {"supported": "#009E73", "refuted": "#D55E00", "inconclusive": "#9ca3af"}

RC: dict[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "svg.hashsalt": "labkit",
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
}


def new_figure(
    width: float = 8,
    height: float = 4,
    *,
    rows: int = 1,
    columns: int = 1,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A closed figure of this size in inches, and its axes row by row."""
    import matplotlib.pyplot as plt  # noqa: PLC0415  (import labkit must stay fast)

    with plt.rc_context(RC):  # type: ignore[arg-type]
        figure, axes = plt.subplots(
            rows, columns, figsize=(width, height), squeeze=False, sharex=sharex, sharey=sharey
        )
        plt.close(figure)
    return figure, list(axes.flat)


def arm_colours(arms: Iterable[str]) -> dict[str, str]:
    """A colour for each arm, in the order of first appearance."""
    unique = list(dict.fromkeys(arms))
    return {arm: ARMS[i % len(ARMS)] for i, arm in enumerate(unique)}
