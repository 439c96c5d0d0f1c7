"""The service map: workloads as boxes, connections as arrows from client to server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from labkit.figures.layered import layered
from labkit.figures.style import GREY, VERDICTS, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from labkit.figures.layered import Slot

__all__ = ["service_map"]

COLOURS = {"FORWARDED": VERDICTS["supported"], "DROPPED": VERDICTS["refuted"]}
#: Not a workload: neighbour discovery of IPv6, which stays on one link.
LEFT_OUT = "IPv6 link-local"

# Sizes are inches: the axes have one unit an inch, so that text and boxes keep their proportion.
WIDE, HIGH, GAP = 1.45, 0.46, 0.32  # of a box; between boxes of a column
BETWEEN = 2.75  # between columns
LINE, LETTER, DEPART = 0.135, 0.057, 0.16  # of a label; of a place where an arrow leaves


@dataclass
class _Arrow:
    client: str
    server: str
    verdict: str
    connections: int
    label: str
    points: list[tuple[float, float]] = field(default_factory=list)

    @property
    def height(self) -> float:
        return (self.label.count("\n") + 1) * LINE + 0.07

    @property
    def width(self) -> float:
        return max(map(len, self.label.split("\n"))) * LETTER


@dataclass
class _Box:
    """A box, or the gap that a long arrow takes between boxes. x, y is its middle."""

    x: float
    y: float
    height: float

    def edge(self, side: int) -> float:
        return self.x + side * WIDE / 2


@dataclass
class _Map:
    arrows: list[_Arrow]
    columns: list[list[Slot]]
    boxes: dict[tuple[int, Slot], _Box]

    @property
    def size(self) -> tuple[float, float]:
        high = max((abs(b.y) + b.height / 2 for b in self.boxes.values()), default=0.3)
        return max(len(self.columns) - 1, 1) * (WIDE + BETWEEN) + WIDE + 0.3, 2 * high + 0.5


def service_map(edges: pd.DataFrame) -> Figure:
    """Frame of `analysis.service_map.edges` with a column `arm`: a panel an arm.

    An arrow goes from client to server and is the wider the more connections there are; beside its head
    stand protocol, ports and number. Dashed ones were dropped. Callers stand left of what they call. Traffic
    of a workload with itself and IPv6 neighbour discovery is not drawn; a line below says how much that is.
    """
    by_arm = {arm: edges[edges["arm"] == arm] for arm in dict.fromkeys(edges["arm"])}
    if not by_arm:
        return _nothing()
    maps = {arm: _map(found) for arm, found in by_arm.items()}
    heights = [m.size[1] for m in maps.values()]
    figure, panels = new_figure(
        max(m.size[0] for m in maps.values()), sum(heights) + 0.45 * len(maps), rows=len(maps)
    )
    if grid := panels[0].get_gridspec():
        grid.set_height_ratios(heights)
    for axes, (arm, drawn) in zip(panels, maps.items(), strict=True):
        axes.set_title(arm, loc="left")
        _draw(axes, drawn, by_arm[arm])
    _key(panels[0])
    return figure


def _nothing() -> Figure:
    figure, (axes,) = new_figure(8, 1.2)
    axes.set_axis_off()
    axes.text(0.5, 0.5, "No arm has flows, so there is no service map.", ha="center", va="center", color=GREY)
    return figure


def _map(edges: pd.DataFrame) -> _Map:
    arrows = _arrows(edges)
    columns = layered((a.client, a.server) for a in arrows)
    drawn = _Map(arrows, columns, _boxes(columns, arrows))
    _route(drawn)
    return drawn


def _arrows(edges: pd.DataFrame) -> list[_Arrow]:
    kept = edges[edges["client"] != edges["server"]]
    kept = kept[(kept["client"] != LEFT_OUT) & (kept["server"] != LEFT_OUT)]
    what = (kept["protocol"] + " " + kept["ports"].astype("str")).str.strip()
    kept = kept.assign(label=what + "  ×" + kept["connections"].astype("str"))
    found = kept.groupby(["client", "server", "verdict"], as_index=False).agg(
        connections=("connections", "sum"), label=("label", "\n".join)
    )
    return [_Arrow(*row) for row in found.itertuples(index=False)]


def _boxes(columns: list[list[Slot]], arrows: list[_Arrow]) -> dict[tuple[int, Slot], _Box]:
    """Each box is as high as the labels at its busier side; a column is centred on 0."""
    at = {slot: number for number, column in enumerate(columns) for slot in column}
    boxes: dict[tuple[int, Slot], _Box] = {}
    for number, column in enumerate(columns):
        heights = [_height(slot, arrows, at) for slot in column]
        top = (sum(heights) + GAP * (len(heights) - 1)) / 2
        for slot, height in zip(column, heights, strict=True):
            boxes[number, slot] = _Box(number * (WIDE + BETWEEN), top - height / 2, height)
            top -= height + GAP
    return boxes


def _height(slot: Slot, arrows: list[_Arrow], at: dict[Slot, int]) -> float:
    if not isinstance(slot, str):
        return 0.0
    sides = {-1: 0.12, 1: 0.12}
    for arrow in arrows:
        ahead = at[arrow.client] < at[arrow.server]
        if arrow.server == slot:
            sides[-1 if ahead else 1] += arrow.height
        elif arrow.client == slot:
            sides[1 if ahead else -1] += DEPART
    return max(HIGH, *sides.values())


def _route(drawn: _Map) -> None:
    """Give each arrow its points: from a place at the client's side, past boxes, to one at the server's."""
    at = {slot: number for number, column in enumerate(drawn.columns) for slot in column}
    ends: dict[tuple[str, int], list[tuple[float, bool, _Arrow]]] = {}
    for arrow in drawn.arrows:
        here, there = at[arrow.client], at[arrow.server]
        step = 1 if here < there else -1
        crossed = [drawn.boxes[n, (arrow.client, arrow.server)] for n in range(here + step, there, step)]
        stations = [drawn.boxes[here, arrow.client], *crossed, drawn.boxes[there, arrow.server]]
        arrow.points = [(box.edge(side), box.y) for box in crossed for side in (-step, step)]
        ends.setdefault((arrow.client, step), []).append((stations[1].y, False, arrow))
        ends.setdefault((arrow.server, -step), []).append((stations[-2].y, True, arrow))
    for (name, side), group in ends.items():
        box = drawn.boxes[at[name], name]
        for y, arrives, arrow in _stacked(box, group):
            tip = (box.edge(side), y)
            if arrives:  # straight beside its label
                arrow.points += [(tip[0] + side * (arrow.width + 0.2), y), tip]
            else:
                arrow.points.insert(0, tip)


def _stacked(box: _Box, group: list[tuple[float, bool, _Arrow]]) -> Iterator[tuple[float, bool, _Arrow]]:
    """Places at one side of a box, the arrow to the highest other end on top."""
    ordered = sorted(group, key=lambda item: (-item[0], item[2].verdict, item[1]))
    heights = [arrow.height if arrives else DEPART for _, arrives, arrow in ordered]
    y = box.y + sum(heights) / 2
    for (_, arrives, arrow), height in zip(ordered, heights, strict=True):
        yield y - height / 2, arrives, arrow
        y -= height


def _draw(axes: Axes, drawn: _Map, edges: pd.DataFrame) -> None:
    width, height = drawn.size
    axes.set_axis_off()
    axes.set_xlim(-WIDE / 2 - 0.15, width - WIDE / 2 - 0.15)
    axes.set_ylim(-height / 2, height / 2)
    axes.set_aspect("equal", anchor="W")
    for (_, slot), box in drawn.boxes.items():
        if isinstance(slot, str):
            _draw_box(axes, slot, box)
    for arrow in drawn.arrows:
        _draw_arrow(axes, arrow)
    left_out = int(edges["connections"].sum()) - sum(arrow.connections for arrow in drawn.arrows)
    if left_out:
        text = f"Not drawn: {left_out} connections within a workload or of IPv6 neighbour discovery."
        axes.text(0, 0, text, transform=axes.transAxes, fontsize=7, color=GREY, va="bottom")


def _draw_box(axes: Axes, name: str, box: _Box) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415

    namespace, _, app = name.rpartition("/")
    face, edge = ("#e0f2fe", "#0072B2") if namespace else ("#f3f4f6", GREY)
    corner = (box.edge(-1), box.y - box.height / 2)
    axes.add_patch(FancyBboxPatch(
        corner, WIDE, box.height, boxstyle="round,pad=0,rounding_size=0.1", facecolor=face, edgecolor=edge, zorder=3,
    ))  # fmt: skip
    axes.text(
        box.x,
        box.y + (0.07 if namespace else 0),
        app,
        ha="center",
        va="center",
        weight="bold",
        fontsize=9,
        zorder=4,
    )
    axes.text(box.x, box.y - 0.12, namespace, ha="center", va="center", fontsize=7, color=GREY, zorder=4)


def _draw_arrow(axes: Axes, arrow: _Arrow) -> None:
    from matplotlib.patches import FancyArrowPatch  # noqa: PLC0415
    from matplotlib.path import Path  # noqa: PLC0415

    (x, y), *rest = arrow.points
    vertices, codes = [(x, y)], [Path.MOVETO]
    for x1, y1 in rest:
        bend = (x1 - x) / 2
        vertices += [(x + bend, y), (x1 - bend, y1), (x1, y1)]
        codes += [Path.CURVE4] * 3
        x, y = x1, y1
    colour = COLOURS[arrow.verdict]
    axes.add_patch(FancyArrowPatch(
        path=Path(vertices, codes), arrowstyle="-|>,head_length=5,head_width=2.5", color=colour, zorder=2,
        linewidth=0.9 + 0.9 * np.log10(arrow.connections), linestyle="--" if arrow.verdict == "DROPPED" else "-",
    ))  # fmt: skip
    ahead = arrow.points[-1][0] > arrow.points[-2][0]
    axes.text(
        x + (-0.17 if ahead else 0.17), y, arrow.label, ha="right" if ahead else "left", va="center", fontsize=7,
        color=colour, linespacing=1.1, zorder=5,
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def _key(axes: Axes) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415

    forwarded = Line2D([], [], color=COLOURS["FORWARDED"], label="forwarded (× connections)")
    dropped = Line2D([], [], color=COLOURS["DROPPED"], linestyle="--", label="dropped")
    axes.legend(
        handles=[forwarded, dropped],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        fontsize=8,
    )
