"""The arms as drawings: nodes, their pods with addresses, and the Services in front of them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["topology"]

#: Fill of a pod by what it does in the lab.
ROLES = {
    "frontend": "#DCEBF7", "backend": "#FBE9C8", "perf-server": "#D9F0E6", "perf-client": "#F3DDEB",
    "kube-dns": "#E8E8E8",
}  # fmt: skip
WIDTH = 4.6
ROW = 0.62


def topology(nodes: pd.DataFrame, pods: pd.DataFrame, services: pd.DataFrame) -> Figure:
    """A panel an arm. Frames NODES, PODS and SERVICES with a column `arm`; host-network pods are counted."""
    arms = list(dict.fromkeys(nodes["arm"]))
    tallest = max((_rows(_pods_of(pods, arm)) for arm in arms), default=1)
    figure, axes = new_figure(max(5.2 * len(arms), 6), 2.3 + 0.34 * tallest, columns=max(len(arms), 1))
    colours = arm_colours(arms)
    for ax, arm in zip(axes, arms, strict=False):
        ax.set_title(f"arm {arm}", color=colours[arm], weight="bold")
        _panel(ax, nodes[nodes["arm"] == arm], _pods_of(pods, arm), services[services["arm"] == arm], tallest)
    return figure


def _pods_of(pods: pd.DataFrame, arm: str) -> pd.DataFrame:
    return pods[(pods["arm"] == arm) & pods["pod_ip"].notna()]


def _rows(pods: pd.DataFrame) -> int:
    """The most pods with an address of their own on one node."""
    own = pods[~pods["host_network"]]
    return int(own["node"].value_counts().max()) if len(own) else 1


def _panel(ax: Axes, nodes: pd.DataFrame, pods: pd.DataFrame, services: pd.DataFrame, rows: int) -> None:
    height = rows * ROW + 1.5
    for i, node in enumerate(nodes.itertuples()):
        x = i * (WIDTH + 0.5)
        _node(ax, x, height, str(node.node), f"{node.node_ip}   pods {node.pod_cidr}")
        mine = pods[pods["node"] == node.node]
        _pods(ax, x, height, mine[~mine["host_network"]])
        said = f"+ {int(mine['host_network'].sum())} pods in the node's own network"
        ax.text(x + WIDTH / 2, 0.12, said, ha="center", fontsize=6.5, color=GREY)
    span = len(nodes) * (WIDTH + 0.5) - 0.5
    _services(ax, services, span, height)
    ax.set(xlim=(-0.1, span + 0.1), ylim=(-0.1, height + 1.1))
    ax.axis("off")


def _node(ax: Axes, x: float, height: float, name: str, addresses: str) -> None:
    _box(ax, x, 0, WIDTH, height, face="white", edge=GREY)
    ax.text(x + WIDTH / 2, height - 0.35, name, ha="center", weight="bold", fontsize=9)
    ax.text(x + WIDTH / 2, height - 0.78, addresses, ha="center", fontsize=7.5, color=GREY)


def _pods(ax: Axes, x: float, height: float, pods: pd.DataFrame) -> None:
    """A row a pod, by address."""
    in_order = sorted(pods.itertuples(), key=lambda pod: int(ip_address(str(pod.pod_ip))))
    for row, pod in enumerate(in_order):
        y = height - 1.55 - row * ROW
        face = ROLES.get(str(pod.app), "#F4F4F4")
        _box(ax, x + 0.2, y, WIDTH - 0.4, ROW * 0.82, face=face, edge="#B8B8B8")
        ax.text(x + 0.35, y + 0.25, _short(str(pod.pod)), va="center", fontsize=7)
        right = x + WIDTH - 0.35
        ax.text(right, y + 0.25, str(pod.pod_ip), va="center", ha="right", fontsize=7, family="monospace")


def _services(ax: Axes, services: pd.DataFrame, span: float, height: float) -> None:
    """The lab's own Services as a banner above the nodes."""
    lab = ~services["namespace"].isin(["default", "kube-system"])
    shown = services[lab].drop_duplicates(["service", "cluster_ip"])
    for i, service in enumerate(shown.itertuples()):
        width = span / max(len(shown), 1)
        _box(ax, i * width + 0.05, height + 0.3, width - 0.1, 0.6, face="#FFFFFF", edge=GREY)
        ax.text((i + 0.5) * width, height + 0.6, f"Service {service.service}  {service.cluster_ip}:{service.port}",
                ha="center", va="center", fontsize=7)  # fmt: skip


def _short(pod: str) -> str:
    """A pod's name without the hashes of its ReplicaSet: the first and the last part are telling."""
    parts = pod.split("-")
    return pod if len(pod) <= 19 else "-".join([*parts[:-2], "…", parts[-1]])


def _box(ax: Axes, x: float, y: float, width: float, height: float, *, face: str, edge: str) -> None:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415

    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.12", fc=face, ec=edge, lw=0.9
    )
    ax.add_patch(shape)
