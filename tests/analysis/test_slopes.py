import numpy as np
import pandas as pd
import pytest

from labkit.analysis.shapes import beside
from labkit.analysis.slopes import as_ratios, differences, entries_each, repetitions, slopes
from labkit.collect import scaling
from labkit.reference_shapes import reference_shapes
from tests.measured import each


def measured(arms, sizes=(1, 100, 1000), n=15, noise=0.04, seed=1):
    """Repetitions of arms that cost `first` at no size and `slope` more a thousand, with relative noise."""
    rng = np.random.default_rng(seed)
    rows = [
        (arm, size, k, (first + slope * size / 1000) * (1 + noise * rng.standard_normal()),
         50 * (1 + 0.01 * rng.standard_normal()))
        for arm, (first, slope) in arms.items() for size in sizes for k in range(n)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["arm", "services", "repetition", "us", "control"])


def test_a_slope_is_found_and_a_flat_line_is_flat():
    found = slopes(measured({"a": (300, 80), "b": (300, 0)}, n=30), "us", control="control").set_index("arm")
    assert found["verdict"].tolist() == ["grows", "flat"]
    assert found.loc["a", "low"] < 80 < found.loc["a", "high"]
    assert found.loc["a", "slope"] == pytest.approx(80, rel=0.15)
    assert found.loc["a", ["sizes", "n"]].tolist() == ["1, 100, 1000", 90]
    assert found.loc["a", "growth_pct"] == pytest.approx(100 * 80 / 300, rel=0.2)
    assert found["control_pct"].max() < 2


def test_too_little_is_unknown_and_one_size_has_no_slope():
    vague = slopes(measured({"a": (300, 10)}, n=4, noise=0.2), "us").iloc[0]
    assert vague["verdict"] == "unknown"
    assert vague["low"] < 0 < vague["high"]
    once = slopes(measured({"a": (300, 80)}, n=1), "us").iloc[0]
    assert once["verdict"] == "unknown"
    assert np.isnan(once["low"])
    assert slopes(measured({"a": (300, 80)}, sizes=(7,)), "us").empty
    few = measured({"a": (300, 80), "b": (300, 0)}, n=3)
    assert slopes(few, "us")["verdict"].tolist() == ["unknown"] * 2  # three values have no interval at 95 %
    row = differences(few, "us").iloc[0]
    assert (row["verdict"], row["crossing"]) == ("unknown", "unknown")


def test_a_curve_is_compared_with_what_was_measured_and_not_with_the_line():
    bent = measured({"a": (0.1, 0)}, sizes=(1, 1000, 5000), noise=0.01)
    bent.loc[bent["services"] == 5000, "us"] += 1  # the line is below 0 at the smallest size
    row = slopes(bent, "us").iloc[0]
    assert row["first"] == pytest.approx(0.1, rel=0.02)
    assert 500 < row["growth_pct"] < 1500


def test_what_grew_no_more_than_the_control_is_the_machine():
    frame = measured({"a": (300, 80)})
    frame["control"] *= 1 + 0.5 * frame["services"] / 1000
    assert slopes(frame, "us").iloc[0]["verdict"] == "grows"
    assert slopes(frame, "us", control="control").iloc[0]["verdict"] == "unknown"
    both = measured({"a": (300, 80), "b": (300, 0)})
    assert differences(both, "us", control="control").iloc[0]["verdict"] == "less steep"
    both["control"] *= 1 + 0.5 * both["services"] / 1000
    row = differences(both, "us", control="control").iloc[0]
    assert (row["verdict"], row["crossing"]) == ("unknown", "unknown")


def test_lines_cross_within_the_range_beyond_it_or_nowhere():
    frame = measured({"flat": (330, 0), "soon": (300, 80), "late": (320, 5), "never": (340, 80)}, noise=0.005)
    found = differences(frame, "us").set_index("arm")
    assert found["reference"].tolist() == ["flat"] * 3
    assert found["verdict"].tolist() == ["steeper", "no difference", "steeper"]
    assert found["crossing"].tolist() == ["within the range", "beyond the range", "none"]
    assert found.loc["soon", "at"] == pytest.approx(375, rel=0.05)
    assert found.loc["soon", "at_low"] < 375 < found.loc["soon", "at_high"]
    assert found.loc["late", "at"] == pytest.approx(2000, rel=0.2)


def test_a_crossing_that_may_be_anywhere_is_unknown():
    parallel = differences(measured({"a": (300, 20), "b": (310, 20)}), "us").iloc[0]
    assert parallel["crossing"] == "unknown"
    assert np.isnan(parallel["at"])
    near_the_end = differences(measured({"a": (330, 0), "b": (300, 30)}, noise=0.01), "us").iloc[0]
    assert near_the_end["crossing"] == "unknown"  # the interval holds sizes on both sides of the range's end
    assert near_the_end["at_low"] < 1000 < near_the_end["at_high"]
    assert differences(measured({"a": (300, 20)}), "us").empty


@pytest.mark.parametrize("n", [6, 15])
def test_intervals_cover_the_truth(n):
    truth, runs, covered, wrong = 20.0, 300, 0, 0
    for seed in range(runs):
        frame = measured({"a": (300, truth), "b": (300, truth)}, n=n, seed=seed)
        row = slopes(frame[frame["arm"] == "a"], "us").iloc[0]
        covered += row["low"] <= truth <= row["high"]
        wrong += differences(frame, "us").iloc[0]["verdict"] in ("steeper", "less steep")
    assert 0.915 <= covered / runs <= 0.985
    assert wrong / runs <= 0.075


def test_rules_are_counted():
    found = entries_each(each(scaling.holdings)).set_index(["arm", "holds"])["each"]
    assert found["overlay-vxlan", "iptables rules"] == 8
    assert found["overlay-routed", "KUBE-SVC chains"] == 1
    assert found["cilium", "iptables rules"] == 0
    # 3725 slots, not 4027: the last 100 Services were not programmed yet
    assert found["cilium", "service map slots"] == pytest.approx(3.7, abs=0.01)


def test_the_recorded_connections_have_slopes_by_position():
    extra = each(scaling.connections).query("position != 'only'")
    both = repetitions(extra, "connect_us", ["arm", "services", "position"], "namelookup_us")
    found = slopes(both, "connect_us", ["position"], control="namelookup_us")
    assert len(found) == 6
    assert found["n"].tolist() == [12, 12, 12, 12, 12, 7]  # five repetitions of Cilium failed as a whole
    assert (found["low"] < found["high"]).tolist() == [True] * 5 + [False]  # one repetition has no interval
    apart = differences(both, "connect_us", ["position"], control="namelookup_us").set_index(
        ["arm", "position"]
    )
    assert apart.loc[("overlay-routed", "last"), "verdict"] == "less steep"
    # the machine changed by half between Cilium's steps, with one repetition left at 1,000
    assert apart.loc[("cilium", "last"), "verdict"] == "unknown"


def test_slopes_are_held_against_published_shapes():
    found = slopes(measured({"a": (300, 80), "b": (300, 0)}, noise=0.01), "us")
    ours = beside(
        reference_shapes(), as_ratios(found, "connect-growth", "service"), {"a": "overlay", "b": "cilium"}
    )
    said = ours[ours["id"] == "SH5"].set_index("statement")["verdict"]
    assert said.tolist() == ["inside", "inside"]
    below = slopes(measured({"a": (300, 80)}, sizes=(1, 100)), "us")
    assert as_ratios(below, "connect-growth", "service").empty  # it would be extrapolated
