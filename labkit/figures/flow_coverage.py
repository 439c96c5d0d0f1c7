"""What the instruments saw of what happened: requests, and packets that were dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labkit.figures.style import GREY, VERDICTS, arm_colours, new_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["drop_reasons", "instruments", "requests_in_flows"]

PALE = "#d1d5db"


def _nothing(sentence: str) -> Figure:
    figure, (axes,) = new_figure(8, 1.2)
    axes.set_axis_off()
    axes.text(0.5, 0.5, sentence, ha="center", va="center", color=GREY)
    return figure


def instruments(found: pd.DataFrame) -> Figure:
    """Frame of `analysis.flow_coverage.instruments`: a bar for each arm and instrument, the share of requests
    that it has a connection for."""
    if found.empty:
        return _nothing("No instrument was read.")
    colours = arm_colours(found["arm"])
    figure, (axes,) = new_figure(8.5, 0.9 + 0.36 * len(found))
    at = np.arange(len(found))[::-1] - found["arm"].ne(found["arm"].shift()).cumsum().to_numpy() * 0.4
    axes.barh(at, [100] * len(found), color="#f3f4f6", height=0.72)
    axes.barh(at, found["share_pct"], color=found["arm"].map(colours), height=0.72)
    for y, row in zip(at, found.itertuples(), strict=True):
        axes.text(101.5, y, f"{row.connections:,} of {row.requests:,}", va="center", fontsize=8)
    axes.set_yticks(at, found["arm"] + ": " + found["instrument"])
    axes.set_xlim(0, 122)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("requests in the backends' logs that it has a connection for, %")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title("Which instrument accounts for the requests", loc="left")
    return figure


def requests_in_flows(seconds: pd.DataFrame) -> Figure:
    """Frame of `analysis.flow_coverage.by_second`: a panel for each server, arms below each other.

    Grey: requests in the server's log; in the arm's colour: those whose connection is in the flows.
    """
    if seconds.empty:
        return _nothing("No request was made.")
    groups = seconds.groupby("arm", sort=False)["pod"].unique()
    columns, colours = max(map(len, groups)), arm_colours(seconds["arm"])
    figure, panels = new_figure(
        9, 0.8 + 1.7 * len(groups), rows=len(groups), columns=columns, sharex=True, sharey=True
    )
    for number, axes in enumerate(panels):
        arm, pods = groups.index[number // columns], groups.iloc[number // columns]
        if number % columns >= len(pods):
            axes.set_axis_off()
            continue
        name = pods[number % columns]
        _seconds(axes, seconds[(seconds["arm"] == arm) & (seconds["pod"] == name)], colours[arm])
        axes.set_title(f"{arm}: {name}", loc="left", fontsize=9)
    for axes in panels[::columns]:
        axes.set_ylabel("requests a second")
    for axes in panels[-columns:]:
        axes.set_xlabel("seconds since the first request")
    _key(figure, seconds, colours)
    return figure


def _seconds(axes: Axes, mine: pd.DataFrame, colour: str) -> None:
    at = mine["at_s"].to_numpy(float) + 0.5
    axes.bar(at, mine["requests"].to_numpy(int), width=0.86, color=PALE)
    if mine["connections"].notna().all():
        axes.bar(at, mine["connections"].to_numpy(int), width=0.86, color=colour)
    else:
        axes.text(1, 0.97, "no flows in this arm", transform=axes.transAxes, ha="right", va="top", color=GREY)


def _key(figure: Figure, seconds: pd.DataFrame, colours: dict[str, str]) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    with_flows = dict.fromkeys(seconds.loc[seconds["connections"].notna(), "arm"])
    handles = [Patch(color=PALE, label="requests in the server's log")]
    handles += [Patch(color=colours[arm], label=f"of them in the flows of {arm}") for arm in with_flows]
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        handlelength=1,
    )


def drop_reasons(found: pd.DataFrame) -> Figure:
    """Frame of `analysis.flow_coverage.drops_counted`: for each arm and reason, what the datapath counted, the
    drop events that Hubble still has, and the flows with verdict DROPPED, which have denied packets twice."""
    if found.empty:
        return _nothing("No arm counts drops by reason.")
    sums = (
        found.groupby(["arm", "drop_reason"], sort=False)[["counted", "drops", "verdicts"]]
        .sum()
        .reset_index()
    )
    sums = sums.sort_values(["arm", "counted"], ascending=[False, True], ignore_index=True)
    bars = (
        ("counted by the datapath since its start", sums["counted"], PALE, 0.27),
        ("drop events that Hubble still has", sums["drops"], VERDICTS["refuted"], 0.0),
        (
            "flows with verdict DROPPED (drops and policy verdicts)",
            sums["drops"] + sums["verdicts"],
            "#CC79A7",
            -0.27,
        ),
    )
    figure, (axes,) = new_figure(8.5, 1.2 + 0.72 * len(sums))
    at = np.arange(len(sums))
    for label, values, colour, shift in bars:
        axes.barh(at + shift, values.to_numpy(int), height=0.25, color=colour, label=label)
        for y, value in zip(at + shift, values, strict=True):
            axes.annotate(
                f"{value:,}", (value, y), (3, 0), textcoords="offset points", va="center", fontsize=7.5
            )
    axes.set_yticks(at, sums["arm"] + ": " + sums["drop_reason"])
    axes.margins(x=0.08)
    axes.set_xlabel("packets or flows")
    axes.grid(visible=False, axis="y")
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False, fontsize=8, handlelength=1
    )
    return figure
