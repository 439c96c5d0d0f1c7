from itertools import pairwise

import pytest

from labkit.chain import plan_named
from labkit.cluster import Cluster
from labkit.errors import MissingFeature, ParameterError
from labkit.exec.recording import Recorder, Recording
from labkit.exec.replay import Replay
from labkit.measure import results
from labkit.measure.design import CORE, FULL, Design, Scenario
from labkit.measure.turns import in_turns, replies
from tests.measure.made_up import SMALL, MadeUp, arms

HEAD = 2 + len(SMALL.scenarios)


def trials(cluster):
    return results.trials(cluster)


def test_every_scenario_is_asked_on_every_arm_within_its_turn_and_in_a_drawn_order():
    clusters = arms(one=MadeUp(), two=MadeUp(latency_us=50))
    measured = in_turns(clusters)
    assert measured["rounds"].tolist() == [3, 3]
    assert measured["trials"].tolist() == [2 * 4 * len(SMALL.scenarios)] * 2  # twice a round, and the warm-up
    order = sorted(
        (t.turn.n, arm, t.turn.scenario) for arm, cluster in clusters.items() for t in replies(cluster)
    )
    groups = [order[k : k + 4] for k in range(0, len(order), 4)]  # two arms, two replicas
    assert all(len({scenario for *_, scenario in group}) == 1 for group in groups)
    assert len({tuple(arm for _, arm, _ in group) for group in groups}) > 2
    starts = {arm: [t.reply.started_at for t in replies(cluster)] for arm, cluster in clusters.items()}
    assert all(a < b for times in starts.values() for a, b in pairwise(times))


def test_no_two_questions_are_the_same():
    """A recording has one reply for a question: two trials with one identity would be one."""
    clusters = arms(one=MadeUp(), two=MadeUp())
    in_turns(clusters)
    for cluster in clusters.values():
        keys = [request.key for _, request in cluster.executor.asked]
        assert len(keys) == len(set(keys)) > HEAD


def test_it_ends_when_medians_are_known_and_goes_on_while_they_are_not():
    steady, shaky = in_turns(arms(one=MadeUp())), in_turns(arms(one=MadeUp(noise=0.3)))
    assert (steady["rounds"].item(), steady["precise"].item()) == (3, len(SMALL.scenarios))
    assert "precise to 3 %" in steady["ended"].item()
    assert shaky["rounds"].item() == SMALL.most_rounds
    assert "not precise" in shaky["ended"].item()


def test_a_load_is_a_share_of_what_the_arm_itself_did():
    clusters = arms(slow=MadeUp(latency_us=1000), quick=MadeUp(latency_us=100))
    in_turns(clusters)
    rates = {arm: trials(cluster)["rate"].dropna().unique().tolist() for arm, cluster in clusters.items()}
    assert rates["slow"] == pytest.approx([600], rel=0.02)
    assert rates["quick"] == pytest.approx([6000], rel=0.02)


def test_what_was_measured_before_the_end_is_kept_and_told():
    clusters = arms(one=MadeUp(lost_after=40), two=MadeUp())
    measured = in_turns(clusters).set_index("arm")
    assert "not answered, so what was measured is a part" in measured.loc["two", "ended"]
    assert 0 < measured.loc["two", "trials"] < 8 * len(SMALL.scenarios)
    assert len(trials(clusters["one"])) == measured.loc["one", "trials"]


def test_a_pod_on_the_wrong_node_is_no_result():
    clusters = arms(one=MadeUp(far_node="node-a"), two=MadeUp())
    measured = in_turns(clusters).set_index("arm")
    assert "pair a is misplaced" in measured.loc["one", "ended"]
    assert measured.loc["two", "rounds"] == 3
    with pytest.raises(MissingFeature, match="misplaced"):
        trials(clusters["one"])


def test_a_node_without_an_address_is_a_reason_and_no_crash():
    measured = in_turns(arms(one=MadeUp(address_type="Hostname"), two=MadeUp())).set_index("arm")
    assert measured.loc["one", "ended"] == "node node-a has no InternalIP to be reached at"
    assert measured.loc["two", "rounds"] == 3


def test_arms_without_a_design_or_with_another_are_left_out():
    other = Design(scenarios=SMALL.scenarios[:1], rounds=1, most_rounds=1)
    measured = in_turns(arms(one=MadeUp(), none=MadeUp(design=None), other=MadeUp(design=other))).set_index(
        "arm"
    )
    assert measured.loc["one", "rounds"] == 3
    assert measured.loc["none", "ended"].startswith("recorded without measuring in turns")
    assert measured.loc["other", "ended"] == "measured in another way than one"


def test_a_live_arm_is_never_measured_by_itself():
    (cluster,) = arms(one=MadeUp()).values()
    with pytest.raises(MissingFeature, match="in_turns measures arms together"):
        trials(cluster)


def test_whoever_watches_is_told():
    clusters = arms(one=MadeUp())
    in_turns(clusters)
    assert clusters["one"].executor.told == [f"measuring in turns: 0 of {2 * 7 * len(SMALL.scenarios)}"]


def test_a_recording_of_it_replays_to_the_same_and_asks_nothing(tmp_path):
    made = MadeUp(noise=0.05)
    with_recorder = Cluster(
        "one", "live:one", Recorder(made, tmp_path / "one", about={"recorded_at": "now", "note": ""})
    )
    live = in_turns({"one": with_recorder})
    with_recorder.close()
    replayed = Cluster("one", "replay:one", Replay(Recording.open(tmp_path / "one")))
    asked = len(made.asked)
    again = trials(replayed)
    assert again.equals(trials(with_recorder))
    assert in_turns({"one": replayed}).equals(live)
    assert len(made.asked) == asked
    times = results.cpu_times(replayed)
    assert set(times["mode"]) == {"rr pod-ip", "crr cluster-ip", "rr host", "stream pod-ip"}
    kept = results.samples(replayed, pattern="rr", place="other-node", by="pod-ip")
    assert len(kept) == SMALL.requests * 2 * live["rounds"].item()
    assert not kept["round"].lt(0).any()


def test_what_was_interrupted_goes_on_where_it_was(tmp_path):
    about = {"recorded_at": "now", "note": ""}
    first = Recorder(MadeUp(lost_after=60), tmp_path / "one", about=about)
    in_turns({"one": Cluster("one", "live:one", first)})
    first.close()
    kept = len(Recording.open(tmp_path / "one"))
    made = MadeUp()
    again = Recorder.open(made, tmp_path / "one")
    done = in_turns({"one": Cluster("one", "live:one", again)})
    again.close()
    assert done["rounds"].item() == SMALL.rounds
    assert len(made.asked) + kept == len(Recording.open(tmp_path / "one"))


def test_a_recording_that_ends_in_the_middle_gives_its_part(tmp_path):
    recorder = Recorder(MadeUp(), tmp_path / "one", about={"recorded_at": "now", "note": ""})
    in_turns({"one": Cluster("one", "live:one", recorder)})
    recorder.close()
    file = tmp_path / "one" / "replies.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: len(lines) // 2]))
    told = in_turns({"one": Cluster("one", "replay:one", Replay(Recording.open(tmp_path / "one")))})
    assert told["ended"].item().startswith("the recording ends here")
    assert 0 < told["trials"].item() < 8 * len(SMALL.scenarios)


@pytest.mark.parametrize("design", [CORE, FULL, SMALL])
def test_designs_survive_a_header_and_have_their_baselines(design):
    assert Design.from_json(design.to_json()) == design
    scenarios = [Scenario.named(name) for name in design.scenarios]
    assert len(set(scenarios)) == len(scenarios)
    hosts = {(s.pattern, s.place) for s in scenarios if s.by == "host"}
    streams = {(s.pattern, s.place) for s in scenarios if s.pattern.startswith("stream")}
    assert design is SMALL or streams <= hosts


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"scenarios": ("rr/next-door/pod-ip/64/0",)}, "no scenario"),
        ({"scenarios": ()}, "measures scenarios"),
        ({"rounds": 9}, "measures scenarios"),
        ({"requests": 0}, "has requests"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong, told):
    parts = {"scenarios": SMALL.scenarios, "rounds": 3, "most_rounds": 6, **wrong}
    with pytest.raises(ParameterError, match=told):
        Design(**parts)


def test_a_plan_says_in_words_how_often_arms_have_their_turns():
    turns = Design.from_json(plan_named("quick:turns-rounds=8:pings=5").turns)
    assert (turns.rounds, turns.most_rounds, turns.scenarios) == (8, 8, CORE.scenarios)
    assert plan_named("quick:turns-rounds=8:pings=5").pings == 5
    assert Design.from_json(plan_named("full:turns-pairs=1").turns).most_rounds == FULL.most_rounds
    with pytest.raises(ParameterError, match="not whole numbers"):
        plan_named("full:turns-rounds=many")
    with pytest.raises(ParameterError, match="no part 'turns-fun'"):
        plan_named("full:turns-fun=1")


def test_a_header_of_a_later_labkit_is_refused():
    with pytest.raises(ParameterError, match="unknown part orbit; update labkit"):
        Design.from_json({**SMALL.to_json(), "orbit": 1})
