"""The explained way of a packet: a column for each arm and way, a line for each hop."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from collections.abc import Hashable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["explained_path"]

#: Fill of a hop by what it is, in Okabe and Ito's hues, lightened.
FILLS = {
    "device": "#FFFFFF", "service": "#FBE9C8", "socket": "#FBE9C8", "masquerade": "#FBE9C8", "conntrack": "#FBE9C8",
    "tunnel": "#F3DDEB", "policy": "#D9F0E6", "netfilter": "#E9EBEE",
}  # fmt: skip
BAD = "#D55E00"
WIDTH, LEFT, BOX = 7.0, 0.25, 6.3
LINE, PAD = 0.24, 0.16
#: Characters that fit in a box, and lines that are shown of a decision.
CHARACTERS, LINES = 50, 4


def explained_path(hops: pd.DataFrame, *, way: str = "1 request", most: int = 4) -> Figure:
    """Draw frame HOPS of `labkit.analysis.paths`, with `arm`: which way the packet goes, and why.

    One column for each arm and branch (the first `most`), with its chance; a box for each hop. Boxes of
    devices say what a capture sees there; those of decisions, what they rest on in the table.
    """
    mine = hops[hops["way"] == way]
    keys = mine[["arm", "branch"]].drop_duplicates().head(most).to_numpy().tolist()
    figure, (ax,) = new_figure(10, 1.2)
    ax.axis("off")
    if not keys:
        ax.text(0.5, 0.5, "No arm explains a way.", ha="center", color=GREY)
        return figure
    colours = arm_colours(hops["arm"])
    depths = []
    for place, (arm, branch) in enumerate(keys):
        rows = mine[(mine["arm"] == arm) & (mine["branch"] == branch)].to_dict("records")
        depths.append(_column(ax, place * WIDTH, str(arm), rows, colours[str(arm)]))
    width = len(keys) * WIDTH
    ax.set(xlim=(0, width), ylim=(-max(depths), 1.0))
    figure.set_size_inches(max(2.9 * len(keys), 6), max(depths) * 0.47 + 0.6)
    return figure


def _column(ax: Axes, x: float, arm: str, rows: list[dict[Hashable, Any]], colour: str) -> float:
    """One way: gives how deep it reaches."""
    first = rows[0]
    chance = "" if first["probability"] == 1 else f", {first['probability']:.0%}"
    ax.text(x + LEFT, 0.55, f"arm {arm}{chance}", color=colour, weight="bold", fontsize=9, va="center")
    top = 0.0
    node: object = ""
    for row in rows:
        here = row["node"] if isinstance(row["node"], str) else "between the nodes"
        if here != node:
            node = here
            ax.text(x + LEFT, -top - 0.12, str(here), fontsize=7, color=GREY, va="center", style="italic")
            top += 0.3
        lines = _lines(row)
        height = LINE * len(lines) + PAD
        _box(ax, (x + LEFT, -top - height), height, row, colour)
        for n, text in enumerate(lines):
            weight = "bold" if n == 0 and row["place"] == "device" else "normal"
            ax.text(
                x + LEFT + 0.12,
                -top - PAD / 2 - LINE * (n + 0.5),
                text,
                fontsize=5.9,
                va="center",
                weight=weight,
            )
        top += height + 0.1
    return top + 0.1


def _lines(row: dict[Hashable, Any]) -> list[str]:
    if row["place"] == "device":
        ttl = "TTL not known" if pd.isna(row["ttl"]) else f"TTL {row['ttl']}"
        port = "" if pd.isna(row["dst_port"]) else f":{row['dst_port']}"
        inside = "" if pd.isna(row["tap"]) or row["tap"] == "node" else f" in {row['tap']}"
        name = str(row["device"]).replace("|", " or ")
        about = f"{row['src_ip']} to {row['dst_ip']}{port}, {ttl}"
        if isinstance(row["encap"], str):
            about += f", in {row['encap']} to {row['outer_dst_ip']}"
        return [
            *textwrap.wrap(f"{name}{inside}, {row['direction']}", CHARACTERS),
            *textwrap.wrap(about, CHARACTERS),
        ]
    walked = "" if pd.isna(row["rules_walked"]) else f" ({row['rules_walked']} rules)"
    found = textwrap.wrap(f"{row['place']}{walked}: {row['decision']}", CHARACTERS, break_on_hyphens=False)
    return found if len(found) <= LINES else [*found[: LINES - 1], f"{found[LINES - 1][: CHARACTERS - 2]} …"]


def _box(ax: Axes, corner: tuple[float, float], height: float, row: dict[Hashable, Any], colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415  (import labkit must stay fast)

    bad = row["verdict"] in ("dropped", "rejected", "inconclusive")
    edge = BAD if bad else colour if row["place"] == "device" else "#D1D5DB"
    ax.add_patch(
        FancyBboxPatch(
            corner, BOX, height, boxstyle="round,pad=0,rounding_size=0.06", facecolor=FILLS.get(row["place"], "#F9FAFB"),
            edgecolor=edge, linewidth=1.1 if bad or row["place"] == "device" else 0.6,
            linestyle="--" if row["verdict"] == "assumed" else "-",
        )
    )  # fmt: skip
