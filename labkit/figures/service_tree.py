"""A Service as kube-proxy's rules see it: from KUBE-SERVICES over the chances to the endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["service_tree"]

#: Left edges and widths of the columns, in a drawing that is 15 wide.
ROOT, CHAIN, ENDPOINT, POD, BARS = (0.0, 2.3), (2.55, 2.85), (6.35, 2.85), (9.45, 2.65), (12.35, 1.6)
HEADS = {
    "the Service's rule": ROOT, "its chain": CHAIN, "an endpoint's chain": ENDPOINT, "rewritten to": POD,
    "connections sent there": BARS,
}  # fmt: skip
FILLS = {"root": "#E9EBEE", "chain": "#FBE9C8", "endpoint": "#F3DDEB", "pod": "#DCEBF7"}
BRANCH, HEAD = 1.0, 0.7


def service_tree(tree: pd.DataFrame) -> Figure:
    """Draw the rows of one Service of `labkit.analysis.service_tree`, with pods (`with_pods`) and `arm`.

    One tree for each arm and port. On the lines stand the chances of a new client; the bars count the
    connections since kube-proxy last wrote the chain, for each node.
    """
    groups = [group for _, group in tree.groupby(["arm", "service"], sort=False)]
    branches = [group["endpoint_chain"].nunique() for group in groups]
    height = sum(max(n, 2) * BRANCH + HEAD for n in branches)
    figure, (ax,) = new_figure(10, max(0.6 * height + 0.3, 1.2))
    ax.axis("off")
    if not groups:
        ax.text(0.5, 0.5, "No arm has rules of kube-proxy for this Service.", ha="center", color=GREY)
        return figure
    for text, (left, width) in HEADS.items():
        ax.text(left + width / 2, 0.12, text, ha="center", va="bottom", fontsize=7.5, color=GREY)
    colours = arm_colours(tree["arm"])
    top = 0.0
    for group, n in zip(groups, branches, strict=True):
        arm, service = str(group["arm"].iloc[0]), str(group["service"].iloc[0])
        ax.text(0, top - 0.38, f"arm {arm}", color=colours[arm], weight="bold", fontsize=10, va="center")
        _tree(ax, service, group, top - HEAD, colours[arm])
        top -= max(n, 2) * BRANCH + HEAD
    ax.set(xlim=(-0.1, 15.1), ylim=(top, 0.55))
    return figure


def _tree(ax: Axes, service: str, group: pd.DataFrame, top: float, colour: str) -> None:
    """One Service port of one arm: the same tree on every node, with counters of each."""
    endpoints = group.drop_duplicates("endpoint_chain").sort_values("endpoint").to_dict("records")
    rows = max(len(endpoints), 2)
    middle = top - rows * BRANCH / 2 + 0.1
    first = endpoints[0]
    nodes = group.drop_duplicates("node")
    found = [f"{n}: rule {p}" for n, p in zip(nodes["node"], nodes["position"], strict=True)]
    virtual = f"{first['cluster_ip']}:{first['port']}/{first['protocol']}"
    _box(ax, ROOT, middle, "root", "KUBE-SERVICES", [virtual, *found])
    note = ["clients are remembered"] if first["affinity"] else []
    _line(ax, ROOT, CHAIN, middle, middle, colour, 1.0)
    _box(ax, CHAIN, middle, "chain", first["service_chain"], [service, *note])
    most = max(int(group["packets"].fillna(0).max()), 1)
    for n, endpoint in enumerate(endpoints):
        y = middle + ((len(endpoints) - 1) / 2 - n) * BRANCH
        _line(ax, CHAIN, ENDPOINT, middle, y, colour, endpoint["probability"])
        ax.text(ENDPOINT[0] - 0.08, y + 0.1, f"{endpoint['probability']:.0%}", ha="right", va="bottom",
                fontsize=8.5, weight="bold", color=colour)  # fmt: skip
        _box(ax, ENDPOINT, y, "endpoint", endpoint["endpoint_chain"], [])
        _line(ax, ENDPOINT, POD, y, y, colour, endpoint["probability"])
        pod = [] if pd.isna(endpoint["pod"]) else [endpoint["pod"], f"on {endpoint['pod_node']}"]
        _box(ax, POD, y, "pod", f"{endpoint['endpoint_ip']}:{endpoint['endpoint_port']}", pod)
        _bars(ax, group[group["endpoint_chain"] == endpoint["endpoint_chain"]], group, y, most, colour)


def _box(ax: Axes, column: tuple[float, float], y: float, fill: str, title: str, lines: list[str]) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415  (import labkit must stay fast)

    left, width = column
    half = 0.2 + 0.11 * len(lines)
    ax.add_patch(
        FancyBboxPatch(
            (left, y - half), width, 2 * half, boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=FILLS[fill], edgecolor="#9CA3AF", linewidth=0.8, zorder=2,
        )
    )  # fmt: skip
    up, size = 0.11 * len(lines), 7 if len(title) <= 22 else 6.4
    ax.text(left + width / 2, y + up, title, ha="center", va="center", fontsize=size, weight="bold", zorder=3)
    for n, text in enumerate(lines, 1):
        ax.text(left + width / 2, y + up - 0.24 * n, text, ha="center", va="center", fontsize=6.3, zorder=3,
                color="#374151")  # fmt: skip


def _line(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    y0: float,
    y1: float,
    colour: str,
    share: float,
) -> None:
    """A line from one column to the next, the wider the more clients take it."""
    left, right = sum(start), end[0]
    bend = (left + right) / 2 if y0 == y1 else left + 0.12
    ax.plot([left, bend, bend, right], [y0, y0, y1, y1], color=colour, linewidth=0.8 + 2.4 * share, zorder=1,
            solid_joinstyle="round", solid_capstyle="butt")  # fmt: skip


def _bars(ax: Axes, mine: pd.DataFrame, group: pd.DataFrame, y: float, most: int, colour: str) -> None:
    """A bar a node: how many connections its rules sent to this endpoint, and their share there."""
    nodes = list(dict.fromkeys(group["node"]))
    step = min(0.8 / len(nodes), 0.34)
    totals = group.groupby("node")["packets"].sum()
    for n, node in enumerate(nodes):
        at = y + ((len(nodes) - 1) / 2 - n) * step
        counted = mine.loc[mine["node"] == node, "packets"]
        if counted.empty or counted.isna().all():
            label, length = f"{node}: not counted", 0.0
        else:
            value = int(counted.sum())
            share = f", {value / totals[node]:.0%}" if totals[node] else ""
            label, length = f"{value}{share}  {node}", BARS[1] * value / most
        ax.barh(
            at, length, height=step * 0.72, left=BARS[0], color=colour, alpha=0.9 - 0.4 * (n % 2), zorder=2
        )
        ax.text(BARS[0] + length + 0.08, at, label, va="center", fontsize=6.3, color="#374151")
