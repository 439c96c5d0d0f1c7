"""What the comparison promises, held by simulation: seeded, with the sizes that the promises name."""

import math

import numpy as np
import pandas as pd
import pytest

from labkit.analysis.comparison import compare, effect, noise_floor, precision

RUNS = 1000


def repetitions(arms, *, n, sd, seed, cells=1, blocks=1, tail="normal", block_sd=0.0, replicas=1):
    """One row a repetition: log-normal (or heavy-tailed) noise around a median for each arm, shifted by block."""
    rng = np.random.default_rng(seed)
    count = (cells, blocks, len(arms), n)
    noise = rng.normal(0, sd, count) if tail == "normal" else sd * rng.standard_t(3, count)
    noise += rng.normal(0, block_sd, (cells, blocks, 1, 1))
    values = np.array(list(arms.values()))[:, None] * np.exp(noise)
    at = np.indices(count)
    return pd.DataFrame({
        "cell": at[0].ravel(), "block": at[1].ravel(), "arm": np.array(list(arms))[at[2].ravel()],
        "replica": at[3].ravel() % replicas, "value": values.ravel(),
    })  # fmt: skip


def singly(frame):
    """Each cell as a run of its own, so that nothing is corrected for the others."""
    return pd.concat(compare(group, "value", [], better="higher") for _, group in frame.groupby("cell"))


def share(frame, *verdicts):
    return frame["verdict"].isin(verdicts).mean()


@pytest.mark.parametrize(("n", "blocks", "tail"), [(15, 1, "normal"), (6, 3, "heavy")])
def test_intervals_cover_the_truth(n, blocks, tail):
    frame = repetitions(
        {"a": 100, "b": 110}, n=n, sd=0.04, seed=1, cells=RUNS, blocks=blocks, tail=tail, block_sd=0.2
    )
    found = compare(frame, "value", ["cell"], better="higher")
    covered = ((found["low"] <= 1.1) & (found["high"] >= 1.1)).mean()
    assert 0.93 <= covered <= 0.97


def test_identical_arms_are_called_different_at_most_once_in_twenty_runs():
    frame = repetitions({"a": 100, "b": 100}, n=15, sd=0.04, seed=2, cells=RUNS)
    alone = [
        effect({0: group[group["arm"] == "a"]["value"].to_numpy()}, {0: group[group["arm"] == "b"]["value"].to_numpy()}).p
        for _, group in frame.groupby("cell")
    ]  # fmt: skip
    assert (np.array(alone) < 0.05).mean() <= 0.06  # p by itself, without margin and floor
    assert share(singly(frame), "better", "worse") <= 0.05


def test_noisy_identical_arms_are_not_called_different_either():
    frame = repetitions({"a": 100, "b": 100}, n=15, sd=0.25, seed=3, cells=400, tail="heavy")
    assert share(singly(frame), "better", "worse") <= 0.05


def test_a_planted_effect_is_found():
    frame = repetitions({"a": 100, "b": 110}, n=15, sd=0.04, seed=4, cells=RUNS)
    found = singly(frame)
    assert share(found, "better") >= 0.8
    assert share(found, "worse") == 0


def test_enough_repetitions_show_that_there_is_no_difference():
    frame = repetitions({"a": 100, "b": 101}, n=40, sd=0.04, seed=5, cells=100)
    assert share(compare(frame, "value", ["cell"], better="lower"), "no difference") >= 0.9


def test_many_comparisons_are_corrected():
    frame = repetitions({"a": 100, "b": 100}, n=10, sd=0.1, seed=6, cells=200)
    found = compare(frame, "value", ["cell"], better="higher", margin=0.001)
    assert share(found, "better", "worse") == 0


def test_too_little_data_says_how_much_is_wanting_and_that_settles_it():
    few = repetitions({"a": 100, "b": 110}, n=6, sd=0.12, seed=8, cells=60)
    found = compare(few, "value", ["cell"], better="higher")
    assert share(found, "unknown") > 0.5
    more = int(found["more"].median())
    enough = repetitions({"a": 100, "b": 110}, n=6 + more, sd=0.12, seed=9, cells=60)
    assert share(compare(enough, "value", ["cell"], better="higher"), "better") >= 0.6
    none = repetitions({"a": 100, "b": 110}, n=3, sd=0.12, seed=8)
    nothing = compare(none, "value", [], better="higher").iloc[0]
    assert (nothing["verdict"], nothing["more"]) == ("unknown", 3)
    assert math.isnan(nothing["low"])


def test_the_noise_floor_is_what_an_arm_differs_from_itself():
    frame = repetitions({"a": 100, "b": 103}, n=100, sd=0.01, seed=10, replicas=2)
    calm = compare(frame, "value", [], better="higher", margin=0.01).iloc[0]
    assert calm["verdict"] == "better"
    drifted = frame["value"].where(
        frame["replica"] == 0, frame["value"] * 1.08
    )  # each arm, between its replicas
    floors = noise_floor(frame.assign(value=drifted), "value", [])
    assert floors["floor"].tolist() == pytest.approx([0.08, 0.08], abs=0.01)
    noisy = compare(frame.assign(value=drifted), "value", [], better="higher", margin=0.01).iloc[0]
    assert noisy["verdict"] == "no difference"
    assert noisy["bound"] == pytest.approx(0.08, abs=0.01)


def test_blocks_take_out_what_they_share():
    frame = repetitions({"a": 100, "b": 106}, n=6, sd=0.01, seed=11, blocks=4, block_sd=0.5)
    found = compare(frame, "value", [], better="lower", margin=0.02).iloc[0]
    assert (found["verdict"], found["blocks"]) == ("worse", 4)
    assert found["ratio"] == pytest.approx(1.06, abs=0.01)


def test_precision_says_whether_the_wanted_width_was_reached():
    frame = repetitions({"calm": 100, "wild": 100}, n=20, sd=0.02, seed=12)
    frame.loc[frame["arm"] == "wild", "value"] *= np.exp(np.random.default_rng(1).normal(0, 0.3, 20))
    found = precision(frame, "value", ["arm"]).set_index("arm")
    assert found["reached"].to_dict() == {"calm": True, "wild": False}


def test_a_cell_that_one_arm_lacks_is_left_out():
    frame = repetitions({"a": 100, "b": 100}, n=8, sd=0.02, seed=13, cells=2)
    frame.loc[(frame["arm"] == "b") & (frame["cell"] == 1), "value"] = np.nan
    assert compare(frame, "value", ["cell"], better="higher")["cell"].tolist() == [0]
    assert compare(frame.iloc[:0], "value", ["cell"], better="higher").empty
