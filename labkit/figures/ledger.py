"""The ledger at a glance: claims by arms, with verdicts by colour and by sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.figures.style import GREY, VERDICTS, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ledger"]

SIGNS = {"supported": "✔", "refuted": "✘", "inconclusive": "?"}


def ledger(findings: pd.DataFrame) -> Figure:
    """A cell for each claim and arm. Takes topic, claim, arm, verdict, one row a finding."""
    claims = findings.drop_duplicates("claim")[["topic", "claim"]].reset_index(drop=True)
    arms = list(dict.fromkeys(findings["arm"]))
    figure, (ax,) = new_figure(4.2 + 1.15 * len(arms), 1.0 + 0.235 * len(claims))
    rows = {claim: i for i, claim in enumerate(claims["claim"])}
    for finding in findings.itertuples():
        _cell(ax, arms.index(str(finding.arm)), rows[str(finding.claim)], str(finding.verdict))
    _topics(ax, list(claims["topic"]), len(arms))
    ax.set_yticks(range(len(claims)), list(claims["claim"]), family="monospace")
    ax.set_xticks(range(len(arms)), [arm.replace(" vs ", "\nvs ") for arm in arms])
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.set(xlim=(-0.5, len(arms) + 0.6), ylim=(len(claims) - 0.5, -0.5))
    for spine in ax.spines.values():
        spine.set_visible(False)
    _legend(ax)
    return figure


def _cell(ax: Axes, column: int, row: int, verdict: str) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    ax.add_patch(Rectangle((column - 0.46, row - 0.42), 0.92, 0.84, color=VERDICTS[verdict], lw=0))
    ax.text(column, row, SIGNS[verdict], ha="center", va="center", color="white", fontsize=9, weight="bold")


def _topics(ax: Axes, topics: list[str], arms: int) -> None:
    """A rule between topics, and their names at the right."""
    for row, topic in enumerate(topics):
        if row == 0 or topics[row - 1] != topic:
            last = row + topics[row:].index(topic) + topics.count(topic) - 1
            ax.axhline(row - 0.5, color="#d1d5db", lw=0.8)
            ax.text(arms - 0.42, (row + last) / 2, topic, va="center", fontsize=8, color=GREY, style="italic")


def _legend(ax: Axes) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    handles = [Patch(color=VERDICTS[verdict], label=f"{sign} {verdict}") for verdict, sign in SIGNS.items()]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.4, -0.005), ncols=3, frameon=False)
