"""Who reached whom, in each step of the policy experiment, and where that is not what the policies say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from labkit.figures.style import GREY, arm_colours, new_figure

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["policy_matrix"]

#: Fill and ink of a cell. Blue and orange of Okabe and Ito, made light, so that words can be read on them.
CELLS = {"allowed": ("#cfe6f5", "#0b4f79"), "blocked": ("#f9d9bf", "#8a3d00")}
UNEXPECTED = "#111827"
WORDS = {
    "ok": "ok", "connect-timeout": "connect\ntimed out", "dns-timeout": "DNS\ntimed out", "no-reply": "no reply",
    "dns-failure": "no such\nname", "http-status": "HTTP error", "unreachable": "unreach-\nable",
    "no-connection": "no\nconnection",
}  # fmt: skip
KINDS = ("pod", "service-ip", "service-name", "dns")
PROTOCOLS = ("TCP", "ICMP", "UDP")
ROW, HEAD = 0.275, 0.26


class _Flow(NamedTuple):
    source: str
    target: str
    kind: str
    protocol: str


def policy_matrix(probes: pd.DataFrame) -> Figure:
    """A panel an arm: rows are source and target, columns the steps in their order.

    `probes` has a row a probe: `arm`, `step`, `source`, `target`, `kind`, `protocol`, `outcome`, `cause`,
    `expected` and `verdict` (see `analysis.connectivity.flow_names` and `analysis.enforcement.gate`). A cell's
    colour is what was observed, its words why; a frame and ≠ mark what the policies in force do not say.
    """
    if probes.empty:
        figure, (ax,) = new_figure(6, 1.2)
        ax.set_axis_off()
        ax.text(0.5, 0.5, "No arm has probes of policies.", ha="center", va="center", transform=ax.transAxes)
        return figure
    arms, rows = list(dict.fromkeys(probes["arm"])), _rows(probes)
    height = 1.75 + ROW * sum(target != "" for _, target in rows) + HEAD * sum(not t for _, t in rows)
    panel = min(2.96, 8.2 / len(arms))
    figure, axes = new_figure(max(2.1 + panel * len(arms), 6.2), height, columns=len(arms))
    colours = arm_colours(arms)
    for ax, arm in zip(axes, arms, strict=True):
        _panel(ax, probes[probes["arm"] == arm], rows, colours[arm])
    _label(axes[0], rows)
    _legend(figure, columns=3 if len(arms) > 1 else 2)
    return figure


def _rows(probes: pd.DataFrame) -> list[tuple[str, str]]:
    """Source and target of each row, from the top; a source alone is a heading."""
    columns = ["source", "target", "kind", "protocol"]
    flows = probes[columns].drop_duplicates(["source", "target"])
    keyed = sorted(
        (_Flow(*map(str, flow)) for flow in flows.itertuples(index=False)),
        key=lambda f: (
            f.source,
            PROTOCOLS.index(f.protocol),
            KINDS.index(f.kind),
            "other" in f.target,
            f.target,
        ),
    )
    rows: list[tuple[str, str]] = []
    for flow in keyed:
        if not rows or rows[-1][0] != flow.source:
            rows.append((flow.source, ""))
        rows.append((flow.source, flow.target))
    return rows


def _panel(ax: Axes, probes: pd.DataFrame, rows: list[tuple[str, str]], colour: str) -> None:
    steps = list(dict.fromkeys(probes["step"]))
    places = _places(rows)
    for probe in probes.itertuples():
        _cell(ax, steps.index(probe.step), places[str(probe.source), str(probe.target)], probe)
    ax.set_xlim(-0.03, len(steps) + 0.03)
    ax.set_ylim(max(places.values()) + ROW + 0.05, -0.02)
    ax.set_xticks([i + 0.5 for i in range(len(steps))], [_step(step) for step in steps])
    ax.xaxis.tick_top()
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ignored = probes["verdict"].eq("not enforced").any()
    ax.set_title(str(probes["arm"].iloc[0]), color=colour, weight="bold", loc="center", fontsize=11, pad=17)
    ax.annotate(
        "policies are not enforced" if ignored else " ", (0.5, 1), xytext=(0, 31), ha="center", fontsize=8.5,
        xycoords="axes fraction", textcoords="offset points", color=colour,
    )  # fmt: skip


def _label(ax: Axes, rows: list[tuple[str, str]]) -> None:
    """The names of the rows, beside the first panel only."""
    places = _places(rows)
    middles = [y + (ROW if target else HEAD) / 2 for (_, target), y in places.items()]
    ax.set_yticks(middles, [target or source for source, target in places])
    for label, (_, target) in zip(ax.get_yticklabels(), places, strict=True):
        label.set_fontweight("normal" if target else "bold")


def _places(rows: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """The upper edge of each row."""
    places, y = {}, 0.0
    for row in rows:
        places[row] = y
        y += ROW if row[1] else HEAD
    return places


def _step(step: str) -> str:
    return step.removeprefix("policy-").replace("-", "-\n")


def _cell(ax: Axes, x: float, y: float, probe: Any) -> None:  # noqa: ANN401  (a row of itertuples)
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415

    fill, ink = CELLS[probe.outcome]
    unexpected = isinstance(probe.expected, str) and probe.expected != probe.outcome
    box = FancyBboxPatch(
        (x + 0.05, y + 0.025), 0.9, ROW - 0.05, boxstyle="round,pad=0,rounding_size=0.04", mutation_aspect=0.6,
        facecolor=fill, edgecolor=UNEXPECTED if unexpected else fill, linewidth=1.1,
    )  # fmt: skip
    ax.add_patch(box)
    words = WORDS.get(probe.cause, probe.cause) + (" ≠" if unexpected else "")
    words += " ?" if probe.verdict == "unknown" else ""
    ax.text(x + 0.5, y + ROW / 2, words, ha="center", va="center", fontsize=6.4, color=ink, linespacing=0.95,
            weight="bold" if unexpected else "normal")  # fmt: skip


def _legend(figure: Figure, columns: int) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    allowed, blocked = CELLS["allowed"][0], CELLS["blocked"][0]
    figure.legend(
        handles=[
            Patch(facecolor=allowed, label="an answer came"),
            Patch(facecolor=blocked, label="no answer"),
            Patch(facecolor="white", edgecolor=UNEXPECTED, label="≠  not what the policies in force say (of ping: as Cilium reads them)"),
        ],
        loc="outside lower center", ncols=columns, labelcolor=GREY, handlelength=1.4, fontsize=8, frameon=False,
    )  # fmt: skip
