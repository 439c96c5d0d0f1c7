"""How full Cilium's maps are, on a scale of powers of ten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures.names import nothing
from labkit.figures.style import arm_colours, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["map_fill"]

ROOM = "#e5e7eb"
EMPTY = 0.8  # where the mark of no entries stands: the left edge, for a logarithm has no 0
MARKERS = ("o", "s", "D", "^", "v", "P")


def map_fill(fill: pd.DataFrame, arms: Iterable[str] = ()) -> Figure:
    """A bar a map from one entry to its size, with a mark for the entries on each node.

    `fill` has columns `arm`, `node`, `map`, `entries`, `max_entries`, `used_pct` (`analysis.map_fill.fill`).
    `arms` are all arms of the lab, in order, so that colours are those of other figures. The scale is
    logarithmic: a mark half-way along its bar is far from half full; the figures beside it tell.
    """
    if fill.empty:
        return nothing("No arm has Cilium's maps.")
    order = fill.groupby("map")["used_pct"].max().sort_values().index.tolist()
    sizes = fill.groupby("map")["max_entries"].max()
    figure, (ax,) = new_figure(9, 1.3 + 0.36 * len(order))
    for row, name in enumerate(order):
        ax.barh(row, float(sizes[name]) - EMPTY, left=EMPTY, color=ROOM, height=0.62)
        most = fill.loc[fill["map"] == name, "used_pct"].max()
        ax.text(float(sizes[name]) * 1.25, row, f"of {sizes[name]:,}: {most:.3g} %", va="center", fontsize=8)
    _marks(ax, fill, order, arm_colours([*arms, *fill["arm"]]))
    ax.set_xscale("log")
    ax.set_xlim(EMPTY, float(sizes.max()) * 40)
    ax.set_xticks([10**power for power in range(len(str(sizes.max())))])
    ax.minorticks_off()
    ax.set_yticks(range(len(order)), order)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("entries (marks; at the left edge: none) and room for entries (bars), logarithmic")
    figure.suptitle(
        "Entries of each map against its size; the percentage is the fullest node's",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _marks(ax: Axes, fill: pd.DataFrame, order: list[str], colours: Mapping[str, str]) -> None:
    rows = {name: row for row, name in enumerate(order)}
    nodes = list(fill.groupby(["arm", "node"], sort=True))
    for index, ((arm, node), mine) in enumerate(nodes):
        shift = 0.36 * ((index + 0.5) / len(nodes) - 0.5)
        ax.scatter(
            mine["entries"].astype(float).clip(lower=EMPTY),
            [rows[name] + shift for name in mine["map"]],
            color=colours[str(arm)], marker=MARKERS[index % len(MARKERS)], s=26, zorder=3, clip_on=False,
            edgecolor="white", linewidth=0.5, label=f"{arm}: {node}",
        )  # fmt: skip
