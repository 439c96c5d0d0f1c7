"""Figures of what was seen: their data, and that an empty frame is a sentence."""

import pandas as pd
import pytest

from labkit.figures.flow_coverage import drop_reasons, instruments, requests_in_flows


@pytest.fixture
def seconds():
    return pd.DataFrame({
        "arm": ["overlay"] * 2 + ["cilium"] * 3,
        "pod": ["b-1", "b-2", "b-3", "b-3", "b-4"],
        "at_s": [0.0, 1.0, 0.0, 1.0, 0.0],
        "requests": pd.array([5, 6, 7, 8, 9], dtype="Int64"),
        "connections": pd.array([None, None, 0, 8, 2], dtype="Int64"),
    })  # fmt: skip


def heights(axes):
    return [round(bar.get_height()) for bar in axes.patches]


def test_requests_and_those_with_a_flow(seconds):
    figure = requests_in_flows(seconds)
    assert [axes.get_title("left") for axes in figure.axes] == [
        "overlay: b-1",
        "overlay: b-2",
        "cilium: b-3",
        "cilium: b-4",
    ]
    assert heights(figure.axes[0]) == [5]
    assert heights(figure.axes[2]) == [7, 8, 0, 8]
    assert [text.get_text() for text in figure.axes[0].texts] == ["no flows in this arm"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "requests in the server's log",
        "of them in the flows of cilium",
    ]


def test_a_bar_for_each_instrument():
    found = pd.DataFrame({
        "arm": ["overlay", "cilium"], "instrument": ["kernel conntrack"] * 2, "requests": [10, 10],
        "connections": [10, 1], "share_pct": [100.0, 10.0],
    })  # fmt: skip
    (axes,) = instruments(found).axes
    assert [bar.get_width() for bar in axes.patches] == [100, 100, 100, 10]
    assert [text.get_text() for text in axes.texts] == ["10 of 10", "1 of 10"]
    assert axes.get_xlabel().endswith("%")


def test_drops_three_ways():
    found = pd.DataFrame({
        "arm": ["c", "c"], "node": ["n0", "n1"], "drop_reason": ["POLICY_DENIED"] * 2,
        "drops": [25, 38], "verdicts": [25, 38], "counted": [25, 38],
    })  # fmt: skip
    (axes,) = drop_reasons(found).axes
    assert [bar.get_width() for bar in axes.patches] == [63, 63, 126]


@pytest.mark.parametrize("figure", [drop_reasons, instruments, requests_in_flows])
def test_nothing_is_a_sentence(figure):
    columns = [
        "arm",
        "pod",
        "node",
        "at_s",
        "requests",
        "connections",
        "instrument",
        "share_pct",
        "drop_reason",
    ]
    (axes,) = figure(pd.DataFrame(columns=columns)).axes
    assert len(axes.texts) == 1
