import pandas as pd
import pytest

from labkit.analysis.load_balancing import ALL, evenness, shares
from labkit.collect import load_balancing


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
