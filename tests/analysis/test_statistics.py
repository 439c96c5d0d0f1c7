import numpy as np
import pandas as pd
import pytest

from labkit.analysis import statistics


def repetitions(arms, *, n, sd, seed, cells=1):
    """Log-normal noise around a median for each arm: one row a repetition."""
    rng = np.random.default_rng(seed)
    rows = [
        (arm, cell, k, middle * np.exp(rng.normal(0, sd)))
        for arm, middle in arms.items()
        for cell in range(cells)
        for k in range(n)
    ]
    return pd.DataFrame(rows, columns=["arm", "cell", "repetition", "value"])


def share(frame, verdict):
    return (frame["verdict"] == verdict).mean()


def test_a_repetition_is_reduced_before_anything_else():
    frame = pd.DataFrame({"arm": "a", "repetition": [0, 0, 0, 1, 1], "us": [1.0, 2.0, 30.0, 5.0, np.nan]})
    found = statistics.per_repetition(frame, "us", ["arm"])
    assert found["us"].tolist() == [2, 5]
    assert found["samples"].tolist() == [3, 1]
    gone = statistics.per_repetition(frame.assign(us=np.nan), "us", ["arm"])
    assert gone.empty


def test_interval_and_ratio_are_the_same_each_time():
    values = np.array([8.2, 9.3, 9.1, 8.6, 8.3, 8.7])
    assert statistics.interval(values) == statistics.interval(values)
    low, high = statistics.interval(values)
    assert values.min() <= low < np.median(values) < high <= values.max()
    assert statistics.ratio(values * 2, values)[0] == pytest.approx(2)


def test_intervals_cover_the_truth_as_often_as_documented():
    rng = np.random.default_rng(1)
    tries = 300
    covered = sum(
        low <= 100 <= high for low, high in (statistics.interval(rng.normal(100, 4, 6)) for _ in range(tries))
    )
    assert 0.90 <= covered / tries <= 0.97
    ratios = (statistics.ratio(rng.normal(110, 4, 6), rng.normal(100, 4, 6)) for _ in range(tries))
    assert 0.92 <= sum(low <= 1.1 <= high for _, low, high in ratios) / tries <= 0.99


def test_one_repetition_gives_no_interval_and_no_verdict():
    point, low, high = statistics.ratio(np.array([3.0]), np.array([1.0, 1.1]))
    assert point == pytest.approx(3 / 1.05)
    assert np.isnan([low, high]).all()
    assert statistics.verdict(point, low, high, better="higher") == "unknown"


@pytest.mark.parametrize(
    ("ratio", "low", "high", "noise", "higher", "lower"),
    [
        (1.00, 0.97, 1.03, 1.0, "no difference", "no difference"),
        (1.02, 1.01, 1.04, 1.0, "no difference", "no difference"),  # real, and too small to matter
        (1.20, 1.08, 1.35, 1.0, "better", "worse"),
        (0.80, 0.70, 0.93, 1.0, "worse", "better"),
        (1.20, 0.98, 1.35, 1.0, "unknown", "unknown"),
        (1.04, 1.01, 1.09, 1.0, "unknown", "unknown"),
        (1.20, 1.08, 1.35, 1.3, "unknown", "unknown"),  # an arm drifted by more
        (0.80, 0.70, 0.93, 1.3, "unknown", "unknown"),
    ],
)
def test_verdicts(ratio, low, high, noise, higher, lower):
    assert statistics.verdict(ratio, low, high, better="higher", noise=noise) == higher
    assert statistics.verdict(ratio, low, high, better="lower", noise=noise) == lower


def test_equal_arms_are_rarely_called_different():
    frame = repetitions({"a": 100, "b": 100}, n=6, sd=0.1, seed=2, cells=200)
    found = statistics.contrasts(frame, "value", ["cell"], better="higher")
    assert len(found) == 200
    assert share(found, "better") + share(found, "worse") <= 0.05


def test_a_planted_effect_is_found():
    frame = repetitions({"a": 100, "b": 110}, n=15, sd=0.04, seed=3, cells=60)
    found = statistics.contrasts(frame, "value", ["cell"], better="higher")
    assert share(found, "better") >= 0.8
    assert set(found["reference"]) == {"a"}


def test_enough_repetitions_show_that_there_is_no_difference():
    frame = repetitions({"a": 100, "b": 100}, n=40, sd=0.04, seed=4, cells=20)
    assert share(statistics.contrasts(frame, "value", ["cell"], better="higher"), "no difference") >= 0.9


def test_a_control_that_differs_takes_the_verdict_back():
    frame = repetitions({"a": 100, "b": 130}, n=15, sd=0.02, seed=5)
    plain = statistics.contrasts(frame, "value", [], better="higher")
    assert plain["verdict"].tolist() == ["better"]
    for control in (1.5, 1 / 1.5):
        found = statistics.contrasts(frame, "value", [], better="higher", control=control)
        assert found["verdict"].tolist() == ["unknown"]
        assert found["noise"].item() == pytest.approx(1.5)


def test_one_arm_has_nothing_to_be_compared_with():
    frame = repetitions({"a": 100}, n=6, sd=0.1, seed=6)
    assert statistics.contrasts(frame, "value", ["cell"], better="higher").empty
    assert statistics.contrasts(frame.iloc[:0], "value", ["cell"], better="higher").empty
    assert statistics.medians(frame.iloc[:0], "value", ["arm"]).empty


def test_a_cell_that_failed_in_one_arm_is_left_out():
    frame = repetitions({"a": 100, "b": 120}, n=6, sd=0.02, seed=7, cells=2)
    frame.loc[(frame["arm"] == "b") & (frame["cell"] == 1), "value"] = np.nan
    assert statistics.contrasts(frame, "value", ["cell"], better="higher")["cell"].tolist() == [0]


def test_drift_is_the_later_half_over_the_earlier():
    frame = pd.DataFrame(
        {"arm": "a", "repetition": [3, 1, 2, 0, 4], "value": [20.0, 10.0, 999.0, 10.0, 20.0]}
    )
    assert statistics.drift(frame, "value", ["arm"])["later_over_earlier"].item() == 2


def test_percentiles_draw_whole_repetitions():
    calm = pd.DataFrame(
        {"arm": "a", "repetition": np.repeat(range(6), 50), "value": np.tile(np.arange(50.0), 6)}
    )
    found = statistics.percentiles(calm, "value", ["arm"]).set_index("quantile")
    assert found.loc[0.5, ["value", "low", "high"]].tolist() == [
        24.5,
        24.5,
        24.5,
    ]  # all repetitions are equal
    assert found["n"].tolist() == [6, 6, 6]
    shifted = calm.assign(value=calm["value"] + 100 * calm["repetition"])
    low, high = statistics.percentiles(shifted, "value", ["arm"]).loc[0, ["low", "high"]]
    assert high - low > 100  # one moment more or less matters, 300 samples or not


def test_ratio_of_ratios():
    flat, grown = np.array([10.0, 11, 9]), np.array([20.0, 22, 18])
    assert statistics.ratio_of_ratios(grown, flat, flat, flat)[0] == pytest.approx(2)
    assert np.isnan(statistics.ratio_of_ratios(grown, flat, flat, np.array([]))[0])
