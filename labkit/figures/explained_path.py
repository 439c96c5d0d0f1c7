"""The explained way of a packet: a column for each arm and way, a box for each hop, a band for each node."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


__all__ = ["explained_path"]

ADDRESSES, HOOK, TUNNEL, POLICY, DEVICE, OTHER = (
    "#FBE9C8",
    "#E9EBEE",
    "#F3DDEB",
    "#D9F0E6",
    "#FFFFFF",
    "#F9FAFB",
)
#: Fill of a hop by what it is, in Okabe and Ito's hues, lightened.
FILLS = {
    "device": DEVICE, "service": ADDRESSES, "socket": ADDRESSES, "masquerade": ADDRESSES, "conntrack": ADDRESSES,
    "tunnel": TUNNEL, "policy": POLICY, "netfilter": HOOK,
}  # fmt: skip
LEGEND = (
    ("addresses", ADDRESSES),
    ("netfilter", HOOK),
    ("tunnel", TUNNEL),
    ("policy", POLICY),
    ("other decisions", OTHER),
)
BAD = "#D55E00"
BAD_ENDS = ("dropped", "rejected", "inconclusive")
WIDTH, LEFT, BOX = 7.0, 0.35, 6.3
LINE, PAD, GAP, TITLE = 0.25, 0.16, 0.13, 0.34
#: Characters that fit in a box, and lines that are shown of a decision.
CHARACTERS, LINES = 57, 4


class _Column(NamedTuple):
    """One way, or several of the same shape: how many, how likely together, and the hops of the first."""

    arm: str
    alike: int
    chance: float
    rows: list[dict[Hashable, Any]]


def explained_path(hops: pd.DataFrame, *, way: str = "1 request", most: int = 2) -> Figure:
    """Draw frame HOPS of `labkit.analysis.paths`, with `arm`: which way the packet goes, and why.

    A column for each arm and shape of way (the `most` likeliest of an arm): ways that differ in nothing but
    names and addresses are one. Boxes of devices, with a thick edge, say what a capture sees there; those of
    decisions, what decides. What ends badly or is not known has a red edge; what is assumed a dashed one.
    """
    columns = list(_columns(hops[hops["way"] == way], most))
    figure, (ax,) = new_figure(10, 1.2)
    ax.axis("off")
    if not columns:
        ax.text(0.5, 0.5, "No arm explains a way.", ha="center", color=GREY)
        return figure
    colours = arm_colours(hops["arm"])
    depth = max(_draw(ax, n * WIDTH, column, colours[column.arm]) for n, column in enumerate(columns))
    _legend(ax, -depth - 0.35)
    ax.set(xlim=(0, max(len(columns), 2) * WIDTH), ylim=(-depth - 0.6, 1.15))
    figure.set_size_inches(max(3.1 * len(columns), 6.2), (depth + 1.75) * 0.45)
    return figure


def _columns(hops: pd.DataFrame, most: int) -> Iterator[_Column]:
    """Ways by arm and shape, the likeliest first."""
    for arm, mine in hops.groupby("arm", sort=False):
        shapes: dict[tuple[Hashable, ...], list[list[dict[Hashable, Any]]]] = {}
        for _, rows in mine.groupby("branch"):
            shape = tuple(rows[["place", "node", "direction", "verdict"]].itertuples(index=False, name=None))
            shapes.setdefault(tuple(map(str, shape)), []).append(rows.to_dict("records"))
        found = [_Column(str(arm), len(ways), sum(rows[0]["probability"] for rows in ways), ways[0])
                 for ways in shapes.values()]  # fmt: skip
        yield from sorted(found, key=lambda column: -column.chance)[:most]


def _draw(ax: Axes, x: float, column: _Column, colour: str) -> float:
    """One column: gives how deep it reaches."""
    _heading(ax, x, column, colour)
    top, start, node = 0.0, 0.0, None
    centre = x + LEFT + BOX / 2
    for row in column.rows:
        here = row["node"] if isinstance(row["node"], str) else ""
        if here != node:
            _band(ax, x, start, top, node)
            start, node, top = top + 0.1, here, top + 0.1 + (TITLE if here else 0)
        lines = _lines(row)
        height = LINE * len(lines) + PAD
        ax.plot(
            [centre, centre], [-top + GAP, -top], color=colour, linewidth=1.6, zorder=2, solid_capstyle="butt"
        )
        _box(ax, (x + LEFT, -top - height), height, row, colour)
        for n, text in enumerate(lines):
            weight = "bold" if n == 0 and row["place"] == "device" else "normal"
            ax.text(x + LEFT + 0.12, -top - PAD / 2 - LINE * (n + 0.5), text, fontsize=6.1, va="center",
                    weight=weight, zorder=4)  # fmt: skip
        top += height + GAP
    _band(ax, x, start, top, node)
    return top


def _heading(ax: Axes, x: float, column: _Column, colour: str) -> None:
    first, last = column.rows[0], column.rows[-1]
    chance = "" if column.chance > 1 - 1e-6 else f", {column.chance:.0%}"
    alike = "" if column.alike == 1 else f" by {column.alike} ways like this"
    ax.text(
        x + LEFT,
        0.72,
        f"arm {column.arm}{chance}{alike}",
        color=colour,
        weight="bold",
        fontsize=9,
        va="center",
    )
    said = f"{first['src_ip']} to {first['dst_ip']}: {last['verdict']}"
    bad = last["verdict"] in BAD_ENDS
    ax.text(x + LEFT, 0.26, said, color=BAD if bad else GREY, fontsize=6.8, va="center")


def _band(ax: Axes, x: float, start: float, end: float, node: str | None) -> None:
    """What happens on one node; between the nodes there is none."""
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415  (import labkit must stay fast)

    if not node:
        return
    ax.add_patch(
        FancyBboxPatch(
            (x + LEFT - 0.16, -end), BOX + 0.32, end - start, boxstyle="round,pad=0,rounding_size=0.1",
            facecolor="#F3F4F6", edgecolor="#D1D5DB", linewidth=0.7, zorder=1,
        )
    )  # fmt: skip
    ax.text(
        x + LEFT,
        -start - TITLE / 2 - 0.02,
        node,
        fontsize=6.8,
        color=GREY,
        va="center",
        style="italic",
        zorder=4,
    )


def _lines(row: dict[Hashable, Any]) -> list[str]:
    if row["place"] == "device":
        ttl = "TTL not known" if pd.isna(row["ttl"]) else f"TTL {row['ttl']}"
        port = "" if pd.isna(row["dst_port"]) else f":{row['dst_port']}"
        inside = "" if pd.isna(row["tap"]) or row["tap"] == "node" else f" in {row['tap']}"
        name = str(row["device"]).replace("|", " or ")
        about = f"{row['src_ip']} to {row['dst_ip']}{port}, {ttl}"
        if isinstance(row["encap"], str):
            about += f", in {row['encap']} to {row['outer_dst_ip']}"
        direction = "" if pd.isna(row["direction"]) else f", {row['direction']}"
        return [*textwrap.wrap(f"{name}{inside}{direction}", CHARACTERS), *textwrap.wrap(about, CHARACTERS)]
    walked = "" if pd.isna(row["rules_walked"]) else f" ({row['rules_walked']} rules)"
    found = textwrap.wrap(f"{row['place']}{walked}: {row['decision']}", CHARACTERS, break_on_hyphens=False)
    if row["verdict"] in BAD_ENDS and isinstance(row["note"], str):
        found += textwrap.wrap(row["note"], CHARACTERS, break_on_hyphens=False)
    return found if len(found) <= LINES else [*found[: LINES - 1], f"{found[LINES - 1][: CHARACTERS - 2]} …"]


def _box(ax: Axes, corner: tuple[float, float], height: float, row: dict[Hashable, Any], colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415

    bad, device = row["verdict"] in BAD_ENDS, row["place"] == "device"
    ax.add_patch(
        FancyBboxPatch(
            corner, BOX, height, boxstyle="round,pad=0,rounding_size=0.06", facecolor=FILLS.get(row["place"], OTHER),
            edgecolor=BAD if bad else colour if device else "#D1D5DB", linewidth=1.2 if bad or device else 0.6,
            linestyle="--" if row["verdict"] == "assumed" else "-", zorder=3,
        )
    )  # fmt: skip


def _legend(ax: Axes, y: float) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    x = LEFT
    for name, fill in LEGEND:
        ax.add_patch(Rectangle((x, y - 0.1), 0.3, 0.2, facecolor=fill, edgecolor="#9CA3AF", linewidth=0.5))
        ax.text(x + 0.42, y, name, fontsize=6.3, va="center", color=GREY)
        x += 0.75 + 0.125 * len(name)
    ax.text(x, y, "dashed: assumed", fontsize=6.3, va="center", color=GREY)
