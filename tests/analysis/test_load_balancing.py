import numpy as np
import pandas as pd
import pytest

from labkit.analysis.load_balancing import ALL, evenness, fit, kept, shares
from labkit.collect import load_balancing
from labkit.explain.balancing import chances
from labkit.figures.load_balancing import balance


def frames(*counts, pods=("p",)):
    backends = pd.DataFrame({"arm": "a", "pod": [f"b{i}" for i in range(len(counts))], "node": "n"})
    rows = [("a", pod, f"b{i}") for pod in pods for i, count in enumerate(counts) for _ in range(count)]
    return pd.DataFrame(rows, columns=["arm", "pod", "backend"]), backends


def test_shares_have_wilson_intervals():
    found = shares(*frames(50, 50))
    row = found[found["pod"] == "p"].iloc[0]
    assert (row["share_pct"], row["expected_pct"], row["n"]) == (50, 50, 100)
    assert row["low_pct"] == pytest.approx(40.38, abs=0.01)
    assert row["high_pct"] == pytest.approx(59.62, abs=0.01)


def test_a_backend_that_never_answered_counts():
    answers, backends = frames(100, 0)
    found = shares(answers, backends)
    assert found["answers"].tolist() == [100, 0, 100, 0]
    assert evenness(answers, backends)["p"].max() < 1e-6


def test_even_and_uneven_counts():
    assert evenness(*frames(502, 498)).iloc[0]["p"] > 0.8
    assert evenness(*frames(560, 440)).iloc[0]["p"] < 0.001
    three = evenness(*frames(30, 30, 60)).iloc[0]
    assert (three["backends"], three["chi2"]) == (3, pytest.approx(15))


def test_frontends_and_all(cluster):
    answers = load_balancing.answers(cluster).assign(arm=cluster.arm)
    backends = load_balancing.backends(cluster).assign(arm=cluster.arm)
    found = evenness(answers, backends)
    assert found["pod"].iloc[-1] == ALL
    assert found["n"].tolist() == [500, 500, 1000]
    assert found["p"].gt(0.05).all()
    assert shares(answers, backends).groupby("pod")["share_pct"].sum().tolist() == pytest.approx(
        [100, 100, 100]
    )


def test_nothing_answered():
    answers, backends = frames(0, 0)
    assert shares(answers, backends).empty
    assert evenness(answers, backends).empty


def given(*by_pod):
    """Chances of each frontend, a mapping from backends to probabilities each."""
    rows = [
        {"arm": "a", "pod": pod, "backend": backend, "probability": p, "rests_on": "", "reply": "r"}
        for pod, backends in by_pod
        for backend, p in backends.items()
    ]
    return pd.DataFrame(rows, columns=["arm", "pod", "backend", "probability", "rests_on", "reply"])


def test_the_state_of_every_recorded_arm_says_a_half_each(cluster):
    frame = chances(cluster)
    assert list(frame.columns) == chances.schema.names
    assert frame["probability"].tolist() == [0.5] * 4
    assert set(frame["backend"]) == set(load_balancing.backends(cluster)["pod"])
    how = "drawn by chance" if cluster.arm == "cilium" else "KUBE-SVC-"
    assert frame["rests_on"].str.contains(how).all()


def test_every_recorded_arm_fits_its_own_state_and_the_test_could_have_found_a_tenth(cluster):
    frames = (load_balancing.answers(cluster), load_balancing.backends(cluster), chances(cluster))
    found = fit(*(frame.assign(arm=cluster.arm) for frame in frames))
    assert found["p"].gt(0.05).all()
    row = found[found["pod"] == ALL].iloc[0]
    assert (row["n"], row["needs"]) == (1000, 785)
    assert row["power_pct"] == pytest.approx(88.5, abs=0.1)
    assert row["finds_pct"] == pytest.approx(8.86, abs=0.01)


def test_unequal_chances_are_no_unevenness():
    answers, backends = frames(750, 250)
    uneven = given(("p", {"b0": 0.75, "b1": 0.25}))
    assert fit(answers, backends, uneven)["p"].min() == pytest.approx(1)
    assert evenness(answers, backends)["p"].max() < 1e-6
    assert shares(answers, backends, uneven)["expected_pct"].tolist() == [75, 25, 75, 25]


def test_all_frontends_together_are_expected_what_each_of_them_is():
    answers, backends = frames(100, 100, pods=("p", "q"))
    both = given(("p", {"b0": 0.2, "b1": 0.8}), ("q", {"b0": 0.8, "b1": 0.2}))
    found = fit(answers, backends, both).set_index("pod")
    assert found.loc["p", "p"] < 1e-6
    assert found.loc[ALL, "p"] == pytest.approx(1)


def test_a_backend_that_the_state_rules_out_refutes_it():
    answers, backends = frames(99, 1)
    found = fit(answers, backends, given(("p", {"b0": 1.0})))
    assert found["chi2"].tolist() == [np.inf, np.inf]
    assert found["p"].tolist() == [0, 0]
    assert found["power_pct"].isna().all()  # of one backend there is nothing to deviate from


def test_too_few_answers_have_no_p_and_say_how_many_are_wanting():
    row = fit(*frames(4, 3), given(("p", {"b0": 0.5, "b1": 0.5}))).iloc[0]
    assert pd.isna(row["p"])
    assert row["needs"] == 785
    assert row["power_pct"] < 10
    assert pd.isna(row["finds_pct"])  # no backend can have more than all


def test_the_power_is_what_simulation_shows():
    rng = np.random.default_rng(7)
    even = given(("p", {f"b{i}": 1 / 3 for i in range(3)}))
    answers, backends = frames(1, 1, 1)
    needs = int(fit(answers, backends, even)["needs"].iloc[0])
    up = np.array([1.1 / 3, 1.9 / 6, 1.9 / 6])
    found = {}
    for name, p in {"none": np.full(3, 1 / 3), "planted": up}.items():
        counts = rng.multinomial(needs, p, size=4000)
        statistic = ((counts - needs / 3) ** 2 / (needs / 3)).sum(axis=1)
        found[name] = (statistic > 5.991).mean()
    assert found["none"] == pytest.approx(0.05, abs=0.015)
    assert found["planted"] == pytest.approx(0.80, abs=0.03)


def test_arms_whose_state_does_not_say_have_no_rows():
    answers, backends = frames(5, 5)
    assert fit(answers, backends, given()).empty
    assert shares(answers, backends, given()).empty


def test_one_connection_meets_one_backend():
    several, _ = frames(10, 10)
    one, _ = frames(20)
    found = kept({"a connection each": several, "one connection": one})
    assert found[["way", "answers", "backends"]].to_numpy().tolist() == [
        ["a connection each", 20, 2],
        ["one connection", 20, 1],
    ]


def test_the_figure_shows_what_is_expected_of_each_backend():
    answers, backends = frames(75, 25)
    uneven = balance(shares(answers, backends, given(("p", {"b0": 0.75, "b1": 0.25}))))
    marks = [line.get_xdata()[0] for line in uneven.axes[0].lines if line.get_marker() == "|"]
    assert marks == [75, 25, 75, 25]
    even = balance(shares(answers, backends))
    assert not [line for line in even.axes[0].lines if line.get_marker() == "|"]
    assert [line.get_xdata()[0] for line in even.axes[0].lines if line.get_linestyle() == "--"] == [50]
