"""A Maglev table as a picture: which backend each slot holds, and the share that each backend gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.figures.names import nothing
from labkit.figures.style import GREY, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["maglev_table"]

BACKENDS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
DARK = ("#0072B2", "#009E73", "#D55E00")
BLANK = "#ffffff"
WIDTH = 128  # slots in a row of the picture
PANELS = 3  # tables that fit beside each other


def maglev_table(slots: pd.DataFrame) -> Figure:
    """The tables of one Service, one panel a node, and beside them the backends' shares on each node.

    `slots` has a row a slot: `arm`, `node`, `service`, `slot`, `backend` (`analysis.maglev.of_service`).
    Slots run from left to right, row by row. Nodes that hold the same table show the same picture.
    """
    if slots.empty:
        return nothing("No arm has a Maglev table of this Service.")
    tables = list(slots.groupby(["arm", "node", "service"], sort=True))[:PANELS]
    backends = sorted(slots["backend"].unique())
    colours = {backend: BACKENDS[i % len(BACKENDS)] for i, backend in enumerate(backends)}
    figure, axes = new_figure(2.9 * len(tables) + 3.6, 3.7, columns=len(tables) + 1)
    for ax, (name, table) in zip(axes, tables, strict=False):
        _picture(ax, table, colours)
        ax.set_title(f"{name[1]}", fontsize=9, loc="left")
    axes[0].set_ylabel(f"slots, {WIDTH} in a row", fontsize=9)
    _shares(axes[-1], tables, colours)
    names = " · ".join(dict.fromkeys(f"{name[0]}: {name[2]}" for name, _ in tables))
    size = int(tables[0][1]["slot"].max()) + 1
    figure.suptitle(f"Maglev tables of {names}, {size:,} slots", x=0.01, ha="left", fontsize=11)
    figure.legend(
        *axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False
    )
    return figure


def _picture(ax: Axes, table: pd.DataFrame, colours: Mapping[str, str]) -> None:
    from matplotlib.colors import to_rgb  # noqa: PLC0415  (import labkit must stay fast)

    ordered = table.sort_values("slot")["backend"].tolist()
    height = -(-len(ordered) // WIDTH)
    cells = np.full((height * WIDTH, 3), to_rgb(BLANK))
    cells[: len(ordered)] = [to_rgb(colours[backend]) for backend in ordered]
    ax.imshow(cells.reshape(height, WIDTH, 3), interpolation="nearest", aspect="auto")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    for side in ax.spines.values():
        side.set_visible(True)
        side.set_color(GREY)


def _shares(ax: Axes, tables: Sequence[tuple[Any, pd.DataFrame]], colours: Mapping[str, str]) -> None:
    names = [str(name[1]) for name, _ in tables]
    left = np.zeros(len(tables))
    for backend, colour in colours.items():
        held = np.array([int(table["backend"].eq(backend).sum()) for _, table in tables])
        shares = 100 * held / np.array([len(table) for _, table in tables])
        ax.barh(names, shares, left=left, color=colour, height=0.6, label=backend, edgecolor="white")
        for row, (start, share, count) in enumerate(zip(left, shares, held, strict=True)):
            if share > 20:
                words = f"{count:,} slots\n{share:.3f} %"
                ink = "white" if colour in DARK else "#111827"
                ax.text(start + share / 2, row, words, ha="center", va="center", fontsize=8, color=ink)
        left = left + shares
    backends = int(tables[0][1]["backend"].nunique())
    for mark in range(1, backends):
        ax.axvline(100 * mark / backends, color="#111827", linewidth=0.8, linestyle=(0, (3, 3)))
    ax.set_xlim(0, 100)
    ax.set_ylim(len(tables) - 0.4, -0.6)
    ax.set_xlabel("share of the slots, % (dashed: equal shares)", fontsize=9)
    ax.set_title("Shares", fontsize=9, loc="left")
    ax.tick_params(axis="y", length=0)
