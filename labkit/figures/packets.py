"""The way of a packet across the interfaces, with its headers drawn to scale."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.figures.names import nothing
from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["packet_path"]

#: Fill of a header by its name; those of the tunnel's outside are what the inside is, only darker.
FILLS = {
    "ethernet": "#9CA3AF", "vlan": "#9CA3AF", "ip": "#56B4E9", "udp": "#009E73", "tcp": "#009E73",
    "icmp": "#009E73", "icmpv6": "#009E73", "sctp": "#009E73", "tunnel": "#E69F00", "payload": "#F3F4F6",
}  # fmt: skip
LEGEND = (
    ("Ethernet", "ethernet"), ("IP", "ip"), ("TCP, UDP, ICMP", "udp"), ("tunnel", "tunnel"), ("payload", "payload"),
)  # fmt: skip
REWRITTEN, WRAPPED = "#B45309", "#8A5A00"
ETHERNET_BYTES, ARPHRD_ETHER = 14, 1
WIDTH, PLACE, LABELS, BARS, ROW, TITLE_ROWS = 10.0, 1.55, 3.65, 3.35, 0.29, 1.3  # inches, and rows

Part = tuple[str, int, bool]
Step = dict[Any, Any]


def packet_path(journey: pd.DataFrame, fetches: pd.DataFrame | None = None) -> Figure:
    """A panel for each arm: the sightings of one packet from top to bottom, its headers to scale in bytes.

    `journey` is what `analysis.packets.example` gives. All panels have the same scale, and the pod's own IP
    packet begins at the same place in every row: what a tunnel puts in front of it sticks out to the left.
    Headers with a dashed edge were not in the capture (one on `any` keeps no Ethernet header). Where the
    destination or source address changed, it says so between the rows; `fetches`, of
    `analysis.flows.translations`, adds what was rewritten before the first packet.
    """
    arms = list(dict.fromkeys(journey["arm"]))
    ways = [journey[journey["arm"] == arm].to_dict("records") for arm in arms]
    rows = [_rows(way, _believed(way, fetches)) for way in ways]
    if not arms:
        return nothing("No packet between pods on different nodes was captured.")
    heights = [len(some) + TITLE_ROWS for some in rows]
    figure, axes = new_figure(WIDTH, ROW * sum(heights) + 0.5, rows=len(arms))
    grid = axes[0].get_gridspec()
    if grid is not None:
        grid.set_height_ratios(heights)
    scale = _Scale.of(ways)
    colours = arm_colours(arms)
    for ax, arm, way, some in zip(axes, arms, ways, rows, strict=True):
        _panel(ax, some, scale)
        ax.text(
            scale.start, -0.85, f"{arm}: {_what(way[0])}", color=colours[arm], weight="bold", fontsize=9.5
        )
        for text in ax.texts:  # the scale leaves room for them; the layout must not make more
            text.set_in_layout(False)
    _legend(figure)
    return figure


@dataclass(frozen=True, slots=True)
class _Scale:
    """The bytes in front of and from the pod's IP packet on, and how many bytes are an inch."""

    left: int
    right: int

    @classmethod
    def of(cls, ways: Sequence[Sequence[Step]]) -> _Scale:
        steps = [step for way in ways for step in way]
        return cls(max(_before(_parts(step)) for step in steps), max(int(step["ip_bytes"]) for step in steps))

    @property
    def inch(self) -> float:
        return (self.left + self.right) / BARS

    @property
    def start(self) -> float:
        return -self.left - LABELS * self.inch

    @property
    def end(self) -> float:
        return self.start + WIDTH * self.inch


def _what(first: Step) -> str:
    kind = {"icmp": "an echo request", "tcp": "the first packet of a connection"}.get(
        first["protocol"], "a packet"
    )
    return f"{kind} from {_short(first['client_pod'])} to {_short(first['server_pod'])}"


def _short(pod: str) -> str:
    """A pod's name without the hash of its template: app-frontend-…-894jm."""
    parts = pod.split("-")
    return "-".join([*parts[:-2], "…", parts[-1]]) if len(parts) > 3 else pod


def _believed(way: Sequence[Step], fetches: pd.DataFrame | None) -> str | None:
    """What the client of this packet believes it talks to, where curl said so."""
    if fetches is None or not way or way[0]["protocol"] != "tcp":
        return None
    mine = fetches[(fetches["arm"] == way[0]["arm"]) & (fetches["pod"] == way[0]["client_pod"])]
    found = mine.loc[mine["local_port"] == way[0]["client_port"], "believed_ip"]
    return str(found.iloc[0]) if len(found) else None


def _rows(way: Sequence[Step], believed: str | None) -> list[Step | str]:
    """What stands under each other: sightings, and between them notes of what happened."""
    rows: list[Step | str] = []
    for i, step in enumerate(way):
        before = way[i - 1] if i else None
        was = believed or step["dst_ip"] if before is None else before["dst_ip"]
        if step["dst_ip"] != was:
            where = "" if i else " inside the pod, before its first packet"
            service = f" (Service {step['service']})" if was == step["service_ip"] else ""
            rows.append(f"destination rewritten{where}: {was}{service} → {step['dst_ip']}")
        if before is not None and step["src_ip"] != before["src_ip"]:
            rows.append(f"source rewritten: {before['src_ip']} → {step['src_ip']}")
        if (
            before is not None
            and before["device"] == step["device"] == "nic"
            and before["node"] != step["node"]
        ):
            rows.append(_between_nodes(before, step))
        rows.append(step)
    if way and way[-1]["pod"] != way[-1]["server_pod"]:
        past = ", past every interface that was captured" if way[-1]["device"] == "nic" else ""
        rows.append(f"then into {_short(way[-1]['server_pod'])}{past}")
    return rows


def _between_nodes(before: Step, step: Step) -> str:
    hops = before["ttl"] - step["ttl"]
    if hops <= 0:
        return "the network between the nodes"
    return f"the network between the nodes routes it: TTL {before['ttl']} → {step['ttl']}"


def _parts(step: Step) -> list[Part]:
    """The parts of a packet from the outside in: kind, bytes, and whether the capture held it."""
    parts: list[Part] = []
    for text in step["headers"].split(","):
        name, size = text.split(":")
        if name.startswith("sll"):
            parts += [("ethernet", ETHERNET_BYTES, False)] if step["device_type"] == ARPHRD_ETHER else []
        else:
            kind = "ip" if name.startswith("ipv") else name if name in FILLS else "tunnel"
            parts.append((kind, int(size), True))
    held = sum(size for _, size, _ in parts[_inner(parts) :])
    rest = int(step["ip_bytes"]) - held
    return [*parts, ("payload", rest, True)] if rest > 0 else parts


def _inner(parts: Sequence[Part]) -> int:
    """Where the innermost IP header is."""
    return max(i for i, (kind, _, _) in enumerate(parts) if kind == "ip")


def _before(parts: Sequence[Part]) -> int:
    return sum(size for _, size, _ in parts[: _inner(parts)])


def _panel(ax: Axes, rows: Sequence[Step | str], scale: _Scale) -> None:
    ax.set_xlim(scale.start, scale.end)
    ax.set_ylim(len(rows) - 0.5, -0.5 - TITLE_ROWS)
    ax.set_axis_off()
    track = scale.start + PLACE * scale.inch
    stops = [y for y, row in enumerate(rows) if not isinstance(row, str)]
    ax.plot([track, track], [stops[0], stops[-1]], color=GREY, lw=1.6, zorder=2)
    for y, row in enumerate(rows):
        if isinstance(row, str):
            rewritten = "rewritten" in row
            colour = REWRITTEN if rewritten else GREY
            ax.plot(track, y, "D" if rewritten else "_", color=colour, ms=5, zorder=3)
            ax.text(
                track + 0.15 * scale.inch, y, row, va="center", fontsize=7.5, color=colour, style="italic"
            )
            continue
        ax.plot(track, y, "o", mfc="white", mec=GREY, ms=5, zorder=3)
        ax.plot([0, 0], [y - 0.45, y + 0.45], color=GREY, lw=0.6, ls=":", zorder=1)
        ax.text(track + 0.15 * scale.inch, y, _interface(row), va="center", fontsize=7.5)
        _bar(ax, y, _parts(row))
        _addresses(ax, y, row, scale.right + 0.12 * scale.inch)
    for place, first, last in _places(rows):
        in_pod = place.startswith("pod ")
        ax.axhspan(first - 0.5, last + 0.5, color="#FEF6E7" if in_pod else "#EEF3FA", lw=0, zorder=0)
        text = _short(place.removeprefix("pod ")) if in_pod else place
        ax.text(scale.start + 0.06 * scale.inch, first, text, va="center", fontsize=7.5, weight="bold")


def _places(rows: Sequence[Step | str]) -> Iterator[tuple[str, int, int]]:
    """Runs of rows on one machine: its name, first and last row. A note between two belongs to neither."""
    sightings = [(y, row) for y, row in enumerate(rows) if not isinstance(row, str)]
    names = groupby(
        sightings, key=lambda s: f"pod {s[1]['pod']}" if s[1]["tap"] == "pod" else str(s[1]["node"])
    )
    for place, run in names:
        numbers = [y for y, _ in run]
        yield place, numbers[0], numbers[-1]


def _interface(row: Step) -> str:
    direction = row["direction"] if isinstance(row["direction"], str) else "out"
    arrow = {"out": "▸ out", "in": "◂ in"}.get(direction, f"◂ in, {direction}")
    kind = "" if row["device"] in ("pod", "nic") else f" {row['device']}"
    return f"{row['interface']}{kind}  {arrow}"


def _bar(ax: Axes, y: int, parts: Sequence[Part]) -> None:
    at = -_before(parts)
    for kind, size, held in parts:
        ax.barh(
            y, size, left=at, height=0.62, color=FILLS[kind] if held else "white", zorder=2, linewidth=0.7,
            edgecolor="white" if held and kind != "payload" else GREY, linestyle="-" if held else (0, (2, 2)),
        )  # fmt: skip
        if size >= 8:
            ax.text(at + size / 2, y, str(size), ha="center", va="center", fontsize=6.5, zorder=3)
        at += size


def _addresses(ax: Axes, y: int, row: Step, x: float) -> None:
    wrapped = isinstance(row["outer_src_ip"], str)
    text = f"{row['src_ip']} → {row['dst_ip']}   TTL {row['ttl']}"
    colour = REWRITTEN if row["dst_ip"] == row["service_ip"] else "black"
    ax.text(x, y - (0.25 if wrapped else 0), text, va="center", fontsize=7.2, color=colour, zorder=3)
    if wrapped:
        port: str = "" if pd.isna(row["outer_port"]) else f", UDP {row['outer_port']}"
        vni: str = "" if pd.isna(row["vni"]) else f", VNI {row['vni']}"
        outer = f"in {row['encap'].upper()} {row['outer_src_ip']} → {row['outer_dst_ip']}{port}{vni}"
        ax.text(x, y + 0.25, outer, va="center", fontsize=6.6, color=WRAPPED, zorder=3)


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    handles = [Patch(facecolor=FILLS[kind], edgecolor=GREY, lw=0.5, label=name) for name, kind in LEGEND]
    handles.append(
        Patch(facecolor="white", edgecolor=GREY, ls=(0, (2, 2)), lw=0.7, label="not in the capture")
    )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=7.5, frameon=False,
        title="headers, with their bytes; the dotted line is where the pod's own IP packet begins",
        title_fontsize=7.5,
    )  # fmt: skip
