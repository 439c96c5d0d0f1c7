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
    """A cell for each claim and arm. Takes topic, claim, arm, verdict, one row a finding.

    Topics stand in two columns, broken where they come closest to equal length.
    """
    claims = findings.drop_duplicates("claim")[["topic", "claim"]].reset_index(drop=True)
    arms = list(dict.fromkeys(findings["arm"]))
    if claims.empty:
        figure, (ax,) = new_figure(5, 1)
        ax.text(0.5, 0.5, "no findings", ha="center", transform=ax.transAxes)
        ax.axis("off")
        return figure
    parts = [part for part in _halves(claims) if len(part)]
    tallest = max(len(part) for part in parts)
    width = (2.9 + 0.85 * len(arms)) * len(parts)
    figure, axes = new_figure(width, 1.1 + 0.215 * tallest, columns=len(parts))
    for ax, part in zip(axes, parts, strict=True):
        _panel(
            ax, findings[findings["claim"].isin(part["claim"])], part.reset_index(drop=True), arms, tallest
        )
    _legend(figure)
    return figure


def _halves(claims: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Claims in two parts at the border of topics that leaves them most alike in length."""
    starts = [0, *claims.index[claims["topic"] != claims["topic"].shift()][1:]]
    cut = min(starts, key=lambda start: abs(len(claims) / 2 - start))
    return claims.iloc[:cut], claims.iloc[cut:]


def _panel(ax: Axes, findings: pd.DataFrame, claims: pd.DataFrame, arms: list[str], tallest: int) -> None:
    rows = {claim: i for i, claim in enumerate(claims["claim"])}
    for finding in findings.itertuples():
        _cell(ax, arms.index(str(finding.arm)), rows[str(finding.claim)], str(finding.verdict))
    _topics(ax, list(claims["topic"]), len(arms))
    ax.set_yticks(range(len(claims)), list(claims["claim"]), family="monospace", fontsize=7.5)
    ax.set_xticks(range(len(arms)), [arm.replace(" vs ", "\nvs ") for arm in arms], fontsize=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.set(xlim=(-0.5, len(arms) - 0.4), ylim=(tallest - 0.5, -0.5))
    for spine in ax.spines.values():
        spine.set_visible(False)


def _cell(ax: Axes, column: int, row: int, verdict: str) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    ax.add_patch(Rectangle((column - 0.46, row - 0.42), 0.92, 0.84, color=VERDICTS[verdict], lw=0))
    ax.text(column, row, SIGNS[verdict], ha="center", va="center", color="white", fontsize=8, weight="bold")


def _topics(ax: Axes, topics: list[str], arms: int) -> None:
    """A rule above each topic, and its name at the right, upright."""
    for row, topic in enumerate(topics):
        if row == 0 or topics[row - 1] != topic:
            last = row + topics.count(topic) - 1
            ax.axhline(row - 0.5, color="#d1d5db", lw=0.8)
            ax.text(arms - 0.42, (row + last) / 2, topic, va="center", fontsize=7.5, color=GREY, rotation=270)


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    handles = [Patch(color=VERDICTS[verdict], label=f"{sign} {verdict}") for verdict, sign in SIGNS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
