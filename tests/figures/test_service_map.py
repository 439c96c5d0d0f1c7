"""The service map: what is drawn, and where."""

import pandas as pd
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from labkit.analysis.service_map import connections, edges
from labkit.collect import hubble
from labkit.figures.layered import layered
from labkit.figures.service_map import service_map
from tests.conftest import arm


@pytest.fixture(scope="module")
def found():
    return edges(connections(hubble.flows(arm("cilium").at("policy-deny-all")).assign(arm="cilium")))


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def patches(figure, kind):
    return [patch for axes in figure.axes for patch in axes.patches if isinstance(patch, kind)]


def test_every_workload_is_a_box_and_every_pair_and_verdict_an_arrow(found):
    figure = service_map(found)
    drawn = found[~found["client"].eq("IPv6 link-local")]
    names = {*drawn["client"], *drawn["server"]}
    assert len(patches(figure, FancyBboxPatch)) == len(names)
    assert {name.split("/")[-1] for name in names} <= set(texts(figure))
    assert len(patches(figure, FancyArrowPatch)) == len(drawn.groupby(["client", "server", "verdict"]))
    assert any("Not drawn: 4 connections" in text for text in texts(figure))


def test_nothing_overlaps(found):
    figure = service_map(found)
    figure.draw_without_rendering()
    boxes = [patch.get_window_extent() for patch in patches(figure, FancyBboxPatch)]
    labels = [
        text.get_window_extent() for axes in figure.axes for text in axes.texts if "×" in text.get_text()
    ]
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert not [(a, b) for i, a in enumerate(labels) for b in labels[:i] if a.overlaps(b)]
    assert not [(a, b) for a in labels for b in boxes if a.overlaps(b)]


def test_a_panel_an_arm(found):
    both = pd.concat([found, found.assign(arm="cilium-acns")], ignore_index=True)
    figure = service_map(both)
    assert [axes.get_title("left") for axes in figure.axes] == ["cilium", "cilium-acns"]


def test_an_arm_that_only_talks_to_itself(found):
    itself = found[found["client"] == found["server"]]
    assert not itself.empty
    assert not patches(service_map(itself), FancyBboxPatch)


def test_no_flows_is_a_sentence(found):
    assert texts(service_map(found.iloc[:0])) == ["No arm has flows, so there is no service map."]


def test_callers_stand_left_of_what_they_call():
    columns = layered([("client", "web"), ("web", "db"), ("client", "db")])
    assert columns[0] == ["client"]
    assert set(columns[1]) == {"web", ("client", "db")}  # the long way passes beside `web`
    assert columns[2] == ["db"]


def test_a_cycle_is_opened():
    columns = layered([("a", "b"), ("b", "c"), ("c", "b")])
    assert [[slot for slot in column if isinstance(slot, str)] for column in columns] == [["a"], ["b"], ["c"]]


def test_crossings_are_avoided():
    first, second = layered([("a", "z"), ("b", "y"), ("c", "x")])
    wanted = dict(zip("abc", "zyx", strict=True))
    assert [wanted[name] for name in first] == second


def test_no_edges_no_columns():
    assert layered([]) == []
