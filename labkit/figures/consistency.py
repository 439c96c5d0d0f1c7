"""What Services should lead to, and what the nodes are programmed to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures.names import nothing
from labkit.figures.style import new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpecBase

__all__ = ["consistency_matrix", "consistency_steps"]

#: Fill and ink by state. Blue, orange and violet of Okabe and Ito, made light for cells with words.
STATES = {"matching": "#0072B2", "missing": "#D55E00", "extra": "#CC79A7"}
CELLS = {
    "matching": ("#cfe6f5", "#0b4f79"),
    "missing": ("#f9d9bf", "#8a3d00"),
    "extra": ("#f3dbe8", "#7a2b57"),
}
MOST_ROWS = 24


def _grid(axes: list[Axes]) -> GridSpecBase:
    grid = axes[0].get_gridspec()
    if grid is None:
        raise ValueError("these axes stand in no grid")
    return grid


def consistency_matrix(services: pd.DataFrame) -> Figure:
    """A row a Service port, a column a node of each arm; in a cell the ways found of those intended.

    `services` has columns `arm`, `by`, `node`, `namespace`, `service`, `protocol`, `port`, `matching`,
    `missing`, `extra` (`analysis.consistency.by_service`). Of more than MOST_ROWS Service ports only those
    that do not match are shown, the first MOST_ROWS of them. A blank cell: the arm has no such Service.
    """
    if services.empty:
        return nothing("No arm has Services that were read on its nodes.")
    named = services.assign(row=_names(services))
    rows, hidden = _rows(named)
    nodes = {str(arm): sorted(mine["node"].unique()) for arm, mine in named.groupby("arm", sort=False)}
    widths = [len(found) for found in nodes.values()]
    figure, axes = new_figure(
        max(8, 2.2 + 1.35 * sum(widths)), 1.5 + 0.29 * len(rows), columns=len(nodes), sharey=True
    )
    _grid(axes).set_width_ratios(widths)
    for ax, arm in zip(axes, nodes, strict=True):
        mine = named[named["arm"] == arm]
        _panel(ax, mine, rows, nodes[arm])
        ax.set_title(f"{arm}\n{mine['by'].iloc[0]}", pad=8, fontsize=9, fontweight="bold", loc="center")
    axes[0].set_yticks([i + 0.5 for i in range(len(rows))], rows)
    axes[0].set_ylim(max(len(rows), 1), 0)
    if hidden:
        axes[0].set_xlabel(hidden, loc="left", fontsize=8)
    _legend(figure)
    return figure


def _names(services: pd.DataFrame) -> pd.Series[str]:
    name = services["service"].fillna(services["cluster_ip"]) + " " + services["port"].astype("str")
    return name + "/" + services["protocol"]


def _rows(services: pd.DataFrame) -> tuple[list[str], str]:
    """Names of the rows to show, and a sentence about those that are not shown."""
    every = sorted(services["row"].unique())
    if len(every) <= MOST_ROWS:
        return every, ""
    off = sorted(services.loc[(services["missing"] > 0) | (services["extra"] > 0), "row"].unique())
    shown = off[:MOST_ROWS]
    return shown, f"{len(shown)} of {len(off)} Service ports that do not match; {len(every)} in all"


def _panel(ax: Axes, services: pd.DataFrame, rows: list[str], nodes: list[str]) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415  (import labkit must stay fast)

    for way in services[services["row"].isin(rows)].to_dict("records"):
        x, y = nodes.index(way["node"]), rows.index(way["row"])
        fill, ink = CELLS["missing" if way["missing"] else "extra" if way["extra"] else "matching"]
        shape = "round,pad=0,rounding_size=0.06"
        ax.add_patch(
            FancyBboxPatch((x + 0.04, y + 0.08), 0.92, 0.84, shape, facecolor=fill, edgecolor="none")
        )
        more = f", {way['extra']} extra" if way["extra"] else ""
        words = f"{way['matching']} of {way['matching'] + way['missing']}{more}"
        ax.text(x + 0.5, y + 0.5, words, ha="center", va="center", color=ink, fontsize=8)
    ax.set_xlim(0, max(len(nodes), 1))
    ax.set_xticks([i + 0.5 for i in range(len(nodes))], nodes)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    words = {
        "matching": "every endpoint of the API is programmed",
        "missing": "some are missing",
        "extra": "some are programmed that the API did not have",
    }
    handles = [Patch(facecolor=CELLS[state][0], label=word) for state, word in words.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def consistency_steps(summary: pd.DataFrame) -> Figure:
    """A panel an arm: for each step and node how many ways match, are missing, or are extra.

    `summary` has columns `arm`, `step`, `by`, `node`, `matching`, `missing`, `extra`
    (`analysis.consistency.summary`), in the order to show.
    """
    if summary.empty:
        return nothing("No arm has Services that were read on its nodes.")
    arms = list(dict.fromkeys(summary["arm"]))
    counts = [int((summary["arm"] == arm).sum()) for arm in arms]
    figure, axes = new_figure(9.5, 1.2 + 0.24 * sum(counts) + 0.3 * len(arms), rows=len(arms), sharex=True)
    _grid(axes).set_height_ratios(counts)
    total = float((summary["matching"] + summary["missing"] + summary["extra"]).max())
    for ax, arm in zip(axes, arms, strict=True):
        mine = summary[summary["arm"] == arm]
        _bars(ax, mine, total)
        ax.set_title(f"{arm}: {mine['by'].iloc[0]}", fontsize=9, fontweight="bold", loc="left")
    axes[-1].set_xlabel("ways from a Service port to an endpoint", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _bars(ax: Axes, summary: pd.DataFrame, total: float) -> None:
    ways = summary.to_dict("records")
    names = [f"{way['step']} · {way['node']}" for way in ways]
    left = summary["matching"].astype(float) * 0
    for state, colour in STATES.items():
        width = summary[state].astype(float)
        ax.barh(names, width, left=left, color=colour, height=0.7, label=LABELS[state])
        left = left + width
    for row, (way, end) in enumerate(zip(ways, left, strict=True)):
        parts = [f"{way[state]:,} {state}" for state in STATES if way[state]]
        ax.text(end + total * 0.008, row, ", ".join(parts), va="center", fontsize=8)
    ax.set_xlim(0, total * 1.38)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")


LABELS = {
    "matching": "matching: in the API and programmed",
    "missing": "missing: in the API only",
    "extra": "extra: programmed only",
}
