"""One request of each arm and its answer, point by point, on one scale of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.figures.names import nothing
from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["journey"]

#: What a stretch of the way is, and its colour.
STRETCHES = {
    "in the client's node": "#56B4E9", "between the nodes": "#9CA3AF", "in the server's node": "#009E73",
    "in the server, or not captured": "#F3F4F6",
}  # fmt: skip
SERVER = "in the server, or not captured"
CHANGED = "#B45309"
WIDTH, ROW, LONGEST_NODE = 10.0, 0.215, 20
#: Letters that fit beside the last bar, and more beside one that ends at 0.
LONGEST, MORE = 58, 80
Row = dict[Any, Any]


def journey(hops: pd.DataFrame, clocks: pd.DataFrame | None = None) -> Figure:
    """A panel for each arm, one below the other; the points of the way from top to bottom.

    `hops` is what `analysis.journeys.answered` gives. The bar of a point begins when the packet was at the
    point before and ends when it was here, so that its length is what the way here cost; all arms have the
    same scale. Beside it stands what had changed. Without a common clock a bar is missing; `clocks`, of
    `analysis.clocks`, adds to each panel how far those of the nodes are apart.
    """
    arms = list(dict.fromkeys(hops["arm"]))
    if not arms:
        return nothing("No packet between pods on different nodes was captured.")
    ways = [hops[hops["arm"] == arm].to_dict("records") for arm in arms]
    figure, axes = new_figure(
        WIDTH, ROW * sum(len(way) + 2.2 for way in ways) + 0.9, rows=len(arms), sharex=True
    )
    grid = axes[0].get_gridspec()
    if grid is not None:
        grid.set_height_ratios([len(way) + 1 for way in ways])
    colours, last = arm_colours(arms), float(hops["since_us"].fillna(0).max()) or 1.0
    for ax, arm, way in zip(axes, arms, ways, strict=True):
        _panel(ax, way, last)
        ax.set_title(f"{arm}: {_what(way)}", color=colours[arm], fontsize=9.5, weight="bold", loc="left")
        if clocks is not None:
            nodes = _short(way)
            mine = clocks[(clocks["arm"] == arm) & clocks[["node", "other"]].isin(set(nodes)).all(axis=1)]
            said = "; ".join(_apart(row, nodes) for row in mine.to_dict("records"))
            ax.set_title(said, color=GREY, fontsize=7.5, loc="right")
    axes[-1].set_xlabel("microseconds since the packet left the client's pod")
    _legend(figure)
    return figure


def _short(way: Sequence[Row]) -> dict[str, str]:
    """What each node is called here: of long names, as AKS gives them, the end, where that tells them apart."""
    nodes = dict.fromkeys(row["node"] for row in way)
    short = {node: node if len(node) <= LONGEST_NODE else "…" + node.rpartition("-")[2] for node in nodes}
    return short if len(set(short.values())) == len(nodes) else {node: node for node in nodes}


def _apart(row: Row, nodes: dict[str, str]) -> str:
    """How far the clocks of two nodes are apart, and how well that is known."""
    node, other = nodes[row["node"]], nodes[row["other"]]
    if row["basis"] == "same kernel":
        return f"{node} and {other} share a clock"
    if not _known(row["offset_us"]):
        return f"the clock of {other} is not known against {node}'s"
    sure = (row["high_us"] - row["low_us"]) / 2
    return f"{other}'s clock less {node}'s: {row['offset_us']:+.0f} ± {sure:.0f} µs"


def _what(way: Sequence[Row]) -> str:
    first, last = way[0], way[-1]
    kind = "an echo" if ":" not in first["src"] else "the first packet of a connection"
    if last["request"] is True or not _known(last["since_us"]):
        return kind
    return f"{kind} and its answer, {last['since_us']:.0f} µs"


def _panel(ax: Axes, way: Sequence[Row], last: float) -> None:
    client = way[0]["node"]
    for y, row in enumerate(way):
        before = way[y - 1] if y else None
        begin = row["since_us"] if before is None else before["since_us"]
        kind = _stretch(before, row, client)
        if _known(row["since_us"]) and _known(begin):
            left, width = min(begin, row["since_us"]), abs(row["since_us"] - begin)
            edge = GREY if kind == SERVER else "none"
            ax.barh(y, width, left=left, height=0.7, color=STRETCHES[kind], edgecolor=edge, linewidth=0.5)
            ax.plot(row["since_us"], y, "|", color="black", ms=7, mew=1.2)
            cost = "" if before is None else f"{row['since_us'] - begin:+.0f}"
            _note(ax, y, max(row["since_us"], begin), cost, row["changed"], last)
        else:
            _note(ax, y, 0, "?", row["changed"], last)
    nodes = _short(way)
    ax.set_yticks(range(len(way)), [_point(row, way[0]["pod"], nodes) for row in way])
    ax.set_ylim(len(way) - 0.4, -0.6)
    ax.set_xlim(-0.01 * last, 1.75 * last)
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= last])  # beyond are notes
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)


def _known(moment: Any) -> bool:  # noqa: ANN401  (a number, None or NaN)
    return moment is not None and moment == moment  # noqa: PLR0124  (NaN is not itself)


def _note(ax: Axes, y: int, at: float, cost: str, changed: Any, last: float) -> None:  # noqa: ANN401
    """What the way here cost, and what had changed, beside the bar."""
    ax.text(at + 0.012 * last, y, cost, va="center", fontsize=7, color=GREY)
    if isinstance(changed, str):
        room = LONGEST + int(MORE * (1 - at / last))
        text = changed if len(changed) <= room else changed[: room - 1] + "…"
        ax.text(at + 0.07 * last, y, text, va="center", fontsize=7, color=CHANGED)


def _stretch(before: Row | None, row: Row, client: str) -> str:
    if before is not None and before["node"] != row["node"]:
        return "between the nodes"
    if before is not None and before["request"] is True and row["request"] is False:
        return SERVER
    return "in the client's node" if row["node"] == client else "in the server's node"


def _point(row: Row, client: str, nodes: dict[str, str]) -> str:
    """Where it is: whose pod or which node, the interface, and whether it goes there or comes back."""
    arrow = "▸" if row["request"] is True else "◂"
    if isinstance(row["pod"], str):
        return f"{'client' if row['pod'] == client else 'server'} pod  {row['point']}  {arrow}"
    kind = "" if row["device"] == "nic" else f" {row['device']}"
    return f"{nodes[row['node']]}  {row['point']}{kind}  {arrow}"


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415  (import labkit must stay fast)

    handles = [
        Patch(facecolor=colour, edgecolor=GREY, lw=0.4, label=name) for name, colour in STRETCHES.items()
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7.5, frameon=False
    )
