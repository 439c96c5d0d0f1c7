"""What is said of arms whose speeds are known, because a test made them up."""

import pandas as pd
import pytest

from labkit.analysis import cpu, turns
from labkit.claims import performance
from labkit.claims.turns import CLAIMS
from labkit.findings import judge
from labkit.measure import results
from labkit.measure.turns import in_turns
from labkit.schema import concat
from tests.measure.made_up import MadeUp, arms


def measured(**made):
    clusters = arms(**made)
    in_turns(clusters)
    return clusters, concat(results.trials(c).assign(arm=name) for name, c in clusters.items())


@pytest.fixture(scope="module")
def different():
    """One arm answers in 80 % of the time of the other, and is alike in its streams."""
    return measured(first=MadeUp(noise=0.02, seed=1), quick=MadeUp(latency_us=80, noise=0.02, seed=2))


def test_a_difference_and_none_are_told_apart(different):
    table = turns.contrasts(different[1]).set_index(["pattern", "by", "load"])
    assert table.loc[("rr", "pod-ip", 0), "verdict"] == "better"
    assert table.loc[("rr", "pod-ip", 0), "ratio"] == pytest.approx(0.8, rel=0.05)
    assert table.loc[("stream", "pod-ip", 0), "verdict"] == "no difference"
    assert table.loc[("stream", "pod-ip", 0), "measure"] == "received_bps"
    assert table["n"].eq(table["n_reference"]).all()


def test_scenarios_and_verdicts_are_words(different):
    table = turns.contrasts(different[1])
    assert "RR, other node, pod IP, 64 B, at 60 % load" in set(table["scenario"])
    assert "RR, node to node, 64 B" in set(table["scenario"])
    few = different[1][different[1]["round"] < 2]
    shaky = turns.contrasts(few[few["replica"] == 0])
    assert shaky["says"].str.fullmatch(r"unknown: about \d+ more").all()


def test_a_noise_floor_bounds_what_may_be_said():
    _, trials = measured(first=MadeUp(seed=1), second=MadeUp(latency_us=110, seed=2))
    worse = turns.contrasts(trials).set_index(["pattern", "by", "load"]).loc[("rr", "pod-ip", 0)]
    assert worse["verdict"] == "worse"
    shifted = trials.assign(
        latency_us=trials["latency_us"].where(trials["replica"] == 0, trials["latency_us"] * 1.3)
    )
    within = turns.contrasts(shifted).set_index(["pattern", "by", "load"]).loc[("rr", "pod-ip", 0)]
    assert within["floor"] == pytest.approx(0.3, abs=0.01)
    assert within["says"] in ("no difference beyond ±30 %", "unknown: no number settles it") or within[
        "says"
    ].startswith("unknown")


def test_arms_that_had_their_turns_at_other_times_are_not_compared(different):
    """As a run leaves it that was interrupted, and gone on with when some arms had been measured."""
    _, trials = different
    hour = pd.Timedelta(hours=1)
    late = trials["arm"].eq("quick") & trials["round"].ge(1)
    apart = trials.assign(started_at=trials["started_at"].where(~late, trials["started_at"] + hour))
    assert set(turns.together(apart)["round"]) == {-1, 0}
    assert turns.contrasts(apart)["verdict"].eq("unknown").all()
    assert turns.contrasts(apart)["n"].eq(2).all()
    lone = trials[(trials["arm"] == "first") | (trials["round"] < 1)]
    assert set(turns.together(lone)["round"]) == {-1, 0}


def test_pods_are_held_against_their_nodes(different):
    table = turns.of_host(different[1])
    assert set(table["reference"]) == {"host"}
    assert set(table["verdict"]) == {"no difference"}  # a made-up arm is as quick everywhere


def test_medians_say_how_precise_they_are_and_what_failed(different):
    table = turns.medians(different[1])
    assert len(table) == 2 * 5
    assert table["reached"].all()
    assert (table["failed"] == 0).all()
    assert table.loc[table["measure"] == "latency_us", "p99_us"].notna().all()


def test_a_glance_has_a_row_a_scenario_and_a_column_an_arm(different):
    trials = different[1]
    wide = turns.at_a_glance(turns.medians(trials), turns.floors(trials))
    assert list(wide) == ["scenario", "first", "quick"]
    assert len(wide) == 5
    assert wide.set_index("scenario").loc["TCP stream, other node, pod IP", "first"].endswith("itself ±0 %")
    gone = trials[(trials["arm"] == "first") | (trials["pattern"] != "stream")]
    assert "no result" in turns.at_a_glance(turns.medians(gone), turns.floors(gone))["quick"].tolist()


def test_cost_is_cpu_time_for_what_was_moved(different):
    clusters, trials = different
    times = concat(results.cpu_times(c).assign(arm=name) for name, c in clusters.items())
    costs = turns.cost(cpu.busy(times), trials)
    assert set(costs["measure"]) == {"cores_per_gbps", "cpu_s_per_10k"}
    assert (costs["value"] > 0).all()
    assert set(turns.cost_contrasts(costs)["reference"]) == {"first"}


def test_the_first_arm_is_the_reference_whatever_it_is_called():
    """Of cost too, and in claims: arms are not sorted by their names."""
    clusters, trials = measured(
        zebra=MadeUp(noise=0.02, seed=1), ant=MadeUp(latency_us=80, noise=0.02, seed=2)
    )
    times = concat(results.cpu_times(c).assign(arm=name) for name, c in clusters.items())
    assert set(turns.contrasts(trials)["reference"]) == {"zebra"}
    costs = turns.cost(cpu.busy(times), trials)
    assert set(turns.cost_contrasts(costs)["reference"]) == {"zebra"}
    dearer = costs.assign(value=costs["value"].where(costs["arm"] == "zebra", costs["value"] * 2))
    assert (turns.cost_contrasts(dearer)["ratio"] > 1.5).all()
    found = {f.claim: f for f in judge(clusters.values(), CLAIMS).findings}
    assert found["less-cpu"].about == "ant vs zebra"
    assert found["lower-latency"].numbers["ratio"] == pytest.approx(0.8, rel=0.05)


def streams(**rates):
    rows = [
        ("a", "a", pattern, "other-node", by, False, 1e9 * rate * (1 + 0.001 * k))
        for (pattern, by), rate in zip(
            [("stream", "pod-ip"), ("stream", "host"), ("stream-4", "pod-ip"), ("stream-4", "host")],
            rates["at"],
            strict=True,
        )
        for k in range(3)
    ]
    return pd.DataFrame(rows, columns=["arm", "pair", "pattern", "place", "by", "warm_up", "received_bps"])


def test_a_flat_top_is_a_cap_and_a_slope_is_none():
    assert turns.caps(streams(at=(9.9, 9.95, 9.94, 9.96)))["capped"].tolist() == [True]
    assert turns.caps(streams(at=(6, 9, 8, 12)))["capped"].tolist() == [False]
    pods_only = streams(at=(9.9, 5, 9.94, 5))
    assert turns.caps(pods_only)["capped"].tolist() == [False]


def test_claims_rest_on_turns_where_arms_had_them(different):
    clusters, _ = different
    found = {f.claim: f for f in judge(clusters.values(), CLAIMS).findings}
    assert found["lower-latency"].verdict == "supported"
    assert found["lower-latency"].about == "quick vs first"
    assert "n = 6 and 6, measured in turns" in found["lower-latency"].reason
    assert found["faster-throughput"].verdict == "refuted"
    assert found["faster-throughput"].numbers["contrast"] == "no difference"
    assert found["pods-as-fast-as-nodes"].verdict == "supported"
    assert all(f.evidence for f in found.values())


def test_claims_about_cilium_ask_the_turns_first(different):
    clusters, _ = different
    found = performance._in_turns(clusters["quick"], clusters["first"], performance.turns.LATENCY)
    assert found.verdict == "supported"
    unmeasured = arms(one=MadeUp(design=None), two=MadeUp(design=None))
    assert performance._in_turns(unmeasured["one"], unmeasured["two"], performance.turns.LATENCY) is None
