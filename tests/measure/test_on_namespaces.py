"""Turns on real namespaces: one wiring against itself shows no difference, and VXLAN shows what it costs."""

import pytest

from labkit.analysis import turns
from labkit.cluster import Cluster
from labkit.collect.plan import Plan
from labkit.exec.netns import Netns
from labkit.exec.recording import Recorder, Recording
from labkit.exec.replay import Replay
from labkit.experiments.staged import Staged
from labkit.measure import results
from labkit.measure.design import Design
from labkit.measure.turns import in_turns
from labkit.schema import concat
from tests.netns.conftest import require

DESIGN = Design(
    scenarios=("crr/other-node/pod-ip/64/0", "crr/other-node/host/64/0", "http/other-node/cluster-ip/0/0"),
    rounds=8, most_rounds=8, requests=400,
)  # fmt: skip
ARMS = {"routed": "routed", "again": "routed", "vxlan": "vxlan"}


def staged(topology, path):
    inner = Netns(topology)
    about = {
        "plan": Plan(waits=True, turns=DESIGN.to_json()).to_json(),
        "recorded_at": "2026-11-27T00:00:00Z",
    }
    return Staged(Recorder(inner, path, about=about), inner)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What was measured, its trials, and the folder of the recordings."""
    require("routed")
    folder = tmp_path_factory.mktemp("turns")
    opened = {arm: staged(topology, folder / arm) for arm, topology in ARMS.items()}
    try:
        clusters = {arm: Cluster(arm, f"netns:{ARMS[arm]}", one) for arm, one in opened.items()}
        measured = in_turns(clusters)
        trials = concat(results.trials(c).assign(arm=arm) for arm, c in clusters.items())
    finally:
        for one in opened.values():
            one.close()
    return measured, trials, folder


def test_nothing_fails_and_all_rounds_are_there(seen):
    measured, trials, _ = seen
    assert measured["rounds"].tolist() == [8, 8, 8]
    assert measured["failed"].tolist() == [0, 0, 0]
    assert trials["error"].isna().all()
    assert (trials["overhead_us"] < trials["latency_us"]).all()


def test_one_wiring_does_not_differ_from_itself(seen):
    """Pods of two labs of one kind; a margin that a machine with other work keeps too."""
    table = turns.contrasts(seen[1][seen[1]["arm"] != "vxlan"], margin=0.1)
    assert len(table) == len(DESIGN.scenarios)
    assert not table["verdict"].isin(["better", "worse"]).any(), table.to_string()


def test_encapsulation_costs_time_between_pods_and_none_between_nodes(seen):
    table = turns.contrasts(seen[1][seen[1]["arm"] != "again"]).set_index("by")
    assert table.loc["pod-ip", "verdict"] == "worse", table.to_string()
    assert table.loc["pod-ip", "ratio"] > 1.05
    assert table.loc["host", "verdict"] != "worse", table.to_string()


def test_its_recordings_say_the_same(seen):
    measured, trials, folder = seen
    replayed = {arm: Cluster(arm, f"replay:{arm}", Replay(Recording.open(folder / arm))) for arm in ARMS}
    assert in_turns(replayed).equals(measured)
    again = concat(results.trials(c).assign(arm=arm) for arm, c in replayed.items())
    assert again.equals(trials)
