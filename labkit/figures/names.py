"""What paths and modes of the performance plan are called in figures, in which order, and other words there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures.style import GREY, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["in_order", "legend", "name", "nothing", "title"]

NAMES = {
    "node-to-node": "node to node (host network)",
    "same-node": "pod on the same node",
    "other-node": "pod on another node",
    "service": "Service",
    "tcp": "TCP",
    "tcp-4": "TCP, 4 streams",
    "tcp-reverse": "TCP, reverse",
    "udp": "UDP",
    "new-connection": "new connection",
    "keep-alive": "kept connection",
}


def name(key: str) -> str:
    """The words for a path or a mode; what is none of them stays as it is."""
    return NAMES.get(key, key)


def in_order(keys: Iterable[str]) -> list[str]:
    """Each key once: those with a name in the order of NAMES, then the others as they come."""
    unique = list(dict.fromkeys(keys))
    return [key for key in NAMES if key in unique] + [key for key in unique if key not in NAMES]


def nothing(sentence: str) -> Figure:
    """A figure that says why there is none."""
    figure, (axes,) = new_figure(8, 1)
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", color=GREY, transform=axes.transAxes)
    return figure


def title(axes: Axes, text: str) -> None:
    """The title of a panel."""
    axes.set_title(text, loc="left", fontsize=10)


def legend(figure: Figure, handles: Sequence[Artist], columns: int = 0) -> None:
    """One legend for all panels, below them; in one line unless `columns` are given."""
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns or len(handles),
        frameon=False,
        fontsize=8,
    )
