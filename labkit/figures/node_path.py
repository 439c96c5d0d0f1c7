"""The way of a packet from pod to pod: one row an arm, one box a device."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from collections.abc import Hashable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["node_path"]

#: Slots from the sending pod to the receiving one; the way into a node mirrors the way out of one.
OUT = ("pod", "host end", "bridge", "tunnel", "network card")
SLOTS = [*((place, "out") for place in OUT), ("network", ""), *((place, "in") for place in reversed(OUT))]
#: Fill of a box by what the device is, in Okabe and Ito's hues, lightened.
FILLS = {
    "pod": "#DCEBF7", "host end": "#FBE9C8", "bridge": "#D9F0E6", "tunnel": "#F3DDEB", "network card": "#E9EBEE",
}  # fmt: skip
BOX, ROW = 0.88, 2.5


def node_path(paths: pd.DataFrame) -> Figure:
    """Draw the frame of `labkit.analysis.node_path.paths`: which devices each arm's packets cross.

    Places that no arm uses have no column. Under each device stands the entry that sends the packet there.
    """
    arms = list(dict.fromkeys(paths["arm"]))
    sides = paths.assign(side=_sides(paths))
    used = set(zip(sides["place"], sides["side"], strict=True))
    slots = [slot for slot in SLOTS if slot in used]
    figure, (ax,) = new_figure(10, max(1.6 * len(arms) + 0.3, 1.2))
    ax.axis("off")
    if not arms:
        ax.text(
            0.5, 0.5, "No arm has two pods on two nodes whose devices are known.", ha="center", color=GREY
        )
        return figure
    colours = arm_colours(arms)
    for n, arm in enumerate(arms):
        _row(ax, sides[sides["arm"] == arm], slots, -n * ROW, colours[arm])
    for x, (place, _) in enumerate(slots):
        ax.text(x, 1.1, place, ha="center", va="bottom", fontsize=7.5, color=GREY)
    ax.set(xlim=(-0.62, len(slots) - 0.38), ylim=(-(len(arms) - 1) * ROW - 1.35, 1.35))
    return figure


def _sides(paths: pd.DataFrame) -> pd.Series:
    """Whether a device is passed on the way out of the first node or into the second."""
    network = paths["hop"].where(paths["place"] == "network").groupby(paths["arm"]).transform("max")
    sides = pd.Series("out", index=paths.index, dtype="str").mask(paths["hop"] > network, "in")
    return sides.mask(paths["place"] == "network", "")


def _row(ax: Axes, path: pd.DataFrame, slots: list[tuple[str, str]], y: float, colour: str) -> None:
    """One arm: its nodes as bands, the way as a line, the devices as boxes on it."""
    places = {slot: x for x, slot in enumerate(slots)}
    at = [places[slot] for slot in zip(path["place"], path["side"], strict=True)]
    for node, mine in path.assign(x=at).dropna(subset="node").groupby("node", sort=False):
        _band(ax, mine["x"].min(), mine["x"].max(), y, str(node))
    ax.plot([min(at), max(at)], [y, y], color=colour, linewidth=2.2, zorder=1, solid_capstyle="butt")
    ax.text(
        -0.6, y + 0.78, f"arm {path['arm'].iloc[0]}", color=colour, weight="bold", fontsize=10, va="center"
    )
    for x, hop in zip(at, path.to_dict("records"), strict=True):
        if hop["place"] == "network":
            _wire(ax, x, y, hop["decided_by"], colour)
        else:
            _device(ax, x, y, hop)


def _band(ax: Axes, left: int, right: int, y: float, node: str) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415  (import labkit must stay fast)

    ax.add_patch(
        FancyBboxPatch(
            (left - 0.5, y - 1.3), right - left + 1, 1.85, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="#FAFAFA", edgecolor="#D1D5DB", linewidth=0.8, zorder=0,
        )
    )  # fmt: skip
    ax.text((left + right) / 2, y + 0.66, node, ha="center", va="center", fontsize=8, color=GREY)


def _device(ax: Axes, x: float, y: float, hop: dict[Hashable, Any]) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415

    ax.add_patch(
        FancyBboxPatch(
            (x - BOX / 2, y - 0.42), BOX, 0.84, boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=FILLS[hop["place"]], edgecolor="#9CA3AF", linewidth=0.8, zorder=2,
        )
    )  # fmt: skip
    name = "not known" if pd.isna(hop["device"]) else str(hop["device"])
    size = 8 if len(name) <= 10 else 8 * 10 / len(name)
    ax.text(x, y + 0.13, name, ha="center", va="center", fontsize=size, weight="bold", zorder=3)
    kind = "hardware" if pd.isna(hop["kind"]) else hop["kind"]
    mtu = "" if pd.isna(hop["mtu"]) else f", {hop['mtu']} B"
    ax.text(x, y - 0.2, f"{kind}{mtu}", ha="center", va="center", fontsize=6.8, color="#374151", zorder=3)
    ax.text(x, y - 0.52, _wrapped(hop["decided_by"]), ha="center", va="top", fontsize=6, color=GREY, zorder=3)


def _wire(ax: Axes, x: float, y: float, wire: str, colour: str) -> None:
    """What is between the nodes: the line goes on, above it stands what a packet looks like there."""
    text, _, to = wire.partition(" to ")
    ax.text(
        x, y + 0.12, _wrapped(text, 12), ha="center", va="bottom", fontsize=7.2, weight="bold", color=colour
    )
    ax.text(x, y - 0.14, to and f"to {to}", ha="center", va="top", fontsize=6.4, color=GREY)


def _wrapped(text: str, width: int = 17) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))
