import pandas as pd
import pytest

from labkit.analysis import turns
from labkit.analysis.shapes import COLUMNS, beside, of_turns
from labkit.measure import results
from labkit.measure.turns import in_turns
from labkit.reference_shapes import reference_shapes
from labkit.schema import concat
from tests.measure.made_up import MadeUp, arms

KINDS = {"a": "overlay", "b": "cilium"}


def ratios(*rows):
    names = ["measure", "path", "arm", "reference", "ratio", "low", "high", "within", "better"]
    return pd.DataFrame(rows, columns=names)


def said(row, shape="SH2"):
    frame = beside(reference_shapes(), ratios(row), KINDS)
    assert list(frame.columns) == COLUMNS
    found = frame[(frame["id"] == shape) & (frame["verdict"] != "not measured")]
    return found.iloc[0] if len(found) else None


def test_all_eleven_are_there_and_well_formed():
    shapes = reference_shapes()
    assert set(shapes["id"]) == {f"SH{n}" for n in range(1, 12)}
    assert not shapes.duplicated(["id", "measure", "path", "within"]).any()
    assert (shapes["low"] <= shapes["high"]).all()
    assert (
        (shapes["low"] > 0) | (shapes["high"] < float("inf"))
    ).all()  # one end at least, or it cannot fail
    assert (shapes[["statement", "numerator", "denominator", "source", "look_at"]] != "").all(axis=None)
    assert set(shapes["within"]) <= {"", "overlay", "cilium"}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.95, 1.05, "inside"),
        (0.90, 1.10, "inside"),
        (0.85, 0.95, "unknown"),
        (1.05, 1.15, "unknown"),
        (0.50, 2.00, "unknown"),
        (0.60, 0.89, "outside"),
        (1.11, 1.30, "outside"),
        (float("nan"), float("nan"), "unknown"),
    ],
)
def test_what_can_be_said_of_an_interval(low, high, verdict):
    row = said(("rr", "other-node", "b", "a", 1.0, low, high, "", "higher"))
    assert row["verdict"] == verdict
    assert (row["look_at"] != "") == (verdict == "outside")


def test_what_nobody_measured_is_said_once_a_shape():
    frame = beside(reference_shapes(), ratios(), KINDS)
    assert len(frame) == len(reference_shapes())
    assert set(frame["verdict"]) == {"not measured"}


def test_the_path_and_the_kind_of_arm_have_to_fit():
    assert said(("rr", "same-node", "b", "a", 1.0, 0.95, 1.05, "", "higher")) is None
    assert said(("crr", "other-node", "b", "a", 1.0, 0.95, 1.05, "", "higher")) is None
    service = ("crr", "other-node", "cluster-ip", "pod-ip", 1.0, 0.98, 1.02)
    assert said((*service, "b", "higher"), "SH10")["verdict"] == "inside"
    assert said((*service, "a", "higher"), "SH10") is None


def test_times_and_reversed_sides_are_turned_round():
    time = said(("rr", "other-node", "b", "a", 2.0, 1.6, 2.5, "", "lower"))
    assert (time["ratio"], time["low"], time["high"]) == (0.5, 0.4, 0.625)
    assert (time["verdict"], time["arm"]) == ("outside", "b")
    other = said(("rr", "other-node", "a", "b", 2.0, 1.6, 2.5, "", "higher"))
    assert (other["ratio"], other["arm"], other["reference"]) == (0.5, "b", "a")


def test_open_ends_and_an_arm_against_itself():
    assert (
        said(("rr", "same-node", "pod-ip", "host", 0.4, 0.3, 0.5, "a", "higher"), "SH4")["verdict"]
        == "inside"
    )
    assert (
        said(("rr", "same-node", "pod-ip", "host", 1.4, 1.3, 1.5, "a", "higher"), "SH4")["verdict"]
        == "outside"
    )
    grown = ("connect-growth", "service", "1000 more Services", "few Services", 1.4, 1.3, 1.5, "a", "higher")
    assert said(grown, "SH5")["verdict"] == "inside"
    assert said((*grown[:7], "b", "higher"), "SH5")["verdict"] == "outside"
    assert said(("udp", "x", "a", "a", 1.0, 0.99, 1.01, "", "higher"), "SH11")["verdict"] == "inside"
    assert said(("udp", "x", "a", "a", 1.2, 1.1, 1.3, "", "higher"), "SH11")["look_at"].startswith(
        "more repet"
    )


def test_what_was_measured_in_turns_is_held_against_the_shapes():
    clusters = arms(a=MadeUp(noise=0.01, seed=1), b=MadeUp(latency_us=80, noise=0.01, seed=2))
    in_turns(clusters)
    trials = concat(results.trials(c).assign(arm=name) for name, c in clusters.items())
    ours = of_turns(turns.contrasts(trials), turns.of_host(trials), turns.floors(trials))
    frame = beside(reference_shapes(), ours, KINDS)
    quicker = frame[(frame["id"] == "SH2") & (frame["arm"] == "b")].iloc[0]
    assert quicker["ratio"] == pytest.approx(1 / 0.8, rel=0.05)  # 80 % of the time is 1.25 times the rate
    assert quicker["verdict"] == "outside"
    itself = frame[frame["id"] == "SH11"]
    assert (itself["arm"] == itself["reference"]).all()
    assert set(itself["arm"]) == {"a", "b"}
    assert itself["verdict"].isin(["inside", "unknown"]).all()
    assert frame[frame["id"] == "SH4"]["reference"].eq("host").all()
