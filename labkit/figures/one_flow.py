"""One connection as a sequence of packets between two pods, with the points it was seen at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures.names import nothing
from labkit.figures.style import GREY, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["one_flow"]

REQUEST, REPLY, INK = "#0072B2", "#D55E00", "#111827"
ARRIVED = "to-endpoint"


def one_flow(flow: pd.DataFrame) -> Figure:
    """Arrows between the two ends, from the top; a dot where a program reported the packet, and what it knew.

    `flow` is `analysis.one_flow.one_flow` of one arm: `packet`, `from_client`, addresses, `tcp_flags`,
    `frame_bytes`, `node`, `observation_point`, `state`, identities.
    """
    if flow.empty:
        return nothing("No arm has the events of a connection.")
    packets = int(flow["packet"].max())
    figure, (ax,) = new_figure(9.5, 1.3 + 0.42 * packets)
    for x in (0, 1):
        ax.axvline(x, ymax=0.985, color=GREY, linewidth=1, zorder=0)
    for event in flow.drop_duplicates("packet").to_dict("records"):
        _arrow(
            ax,
            event["packet"],
            bool(event["from_client"]),
            f"{event['tcp_flags']}, {event['frame_bytes']} bytes",
        )
    for event in flow.to_dict("records"):
        arrived = event["observation_point"] == ARRIVED
        at_server = arrived == event["from_client"]
        words = f"{event['observation_point']}, {event['state']}"
        _point(ax, event["packet"], at_server=at_server, words=words)
    _ends(ax, flow)
    ax.set_xlim(-0.62, 1.62)
    ax.set_ylim(packets + 0.6, 0.2)
    ax.set_axis_off()
    return figure


def _arrow(ax: Axes, y: int, from_client: bool, words: str) -> None:
    start, end = (0.0, 1.0) if from_client else (1.0, 0.0)
    colour = REQUEST if from_client else REPLY
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "shrinkA": 5, "shrinkB": 5}
    ax.annotate("", xy=(end, y), xytext=(start, y), arrowprops=arrow)
    ax.text(0.5, y - 0.1, words, ha="center", va="bottom", fontsize=8, color=INK)


def _point(ax: Axes, y: int, *, at_server: bool, words: str) -> None:
    x, side, align = (1.0, 0.03, "left") if at_server else (0.0, -0.03, "right")
    ax.scatter([x], [y], s=26, color=INK, zorder=3)
    ax.text(x + side, y, words, ha=align, va="center", fontsize=8, color=INK)


def _ends(ax: Axes, flow: pd.DataFrame) -> None:
    """The head of each line: address, identity and node."""
    first = flow[flow["from_client"]].iloc[0]
    for x, end, at_server in ((0, "src", False), (1, "dst", True)):
        here = (flow["observation_point"].eq(ARRIVED) == flow["from_client"]) == at_server
        node = ", ".join(sorted(flow.loc[here, "node"].unique())) or "not seen here"
        words = f"{first[f'{end}_ip']}:{first[f'{end}_port']}\nidentity {first[f'{end}_identity']}, {node}"
        ax.text(x, 0.3, words, ha="center", va="bottom", fontsize=9, fontweight="bold", color=INK)
