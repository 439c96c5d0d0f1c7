from dataclasses import replace
from datetime import timedelta

import pytest

from labkit.collect import performance
from labkit.collect.plan import IPERF_MODES, Plan, fetch, placement, plan
from labkit.errors import MissingFeature, ReplayMiss
from tests.conftest import RECORDINGS, arm
from tests.measured import read

COLLECTORS = (
    performance.trials, performance.runs, performance.intervals, performance.pings, performance.echoes,
    performance.fetches,
)  # fmt: skip


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("collector", COLLECTORS)
def test_frames_are_as_declared(name, collector):
    assert_as_declared(read(name, collector), collector)


def assert_as_declared(frame, collector):
    assert list(frame.columns) == collector.schema.names
    assert [str(dtype) for dtype in frame.dtypes] == [column.dtype for column in collector.schema.columns]
    assert not frame.duplicated(list(collector.schema.key)).any()
    assert frame.sort_values(list(collector.schema.key), kind="stable").index.equals(frame.index)


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_plan_is_what_was_recorded_in_its_order(name):
    recording = arm(name).executor.recording
    asked = [r for r in recording.requests() if r.step == "performance" and r.kind == "exec"]
    planned = plan(arm(name))
    assert [(r.target, r.argv, r.sample) for r in asked] == [(t.target, t.argv, t.sample) for t in planned]
    assert read(name, performance.trials)["started_at"].is_monotonic_increasing


def test_paths_follow_from_where_pods_run(cilium):
    where = placement(cilium)
    assert where.client == "pod/cni-lab/perf-test-client/client"
    assert (where.client_node, where.other_node, where.other_node_ip) == (
        "cilium-node-1",
        "cilium-node-0",
        "10.241.0.4",
    )
    assert where.servers == {
        "same-node": "10.245.1.54",
        "other-node": "10.245.0.149",
        "service": "10.0.199.160",
    }
    assert where.backends == {
        "same-node": "10.245.1.206",
        "other-node": "10.245.0.165",
        "service": "10.0.234.81",
    }


def test_fetches_name_their_output_each_time():
    assert fetch("10.0.0.1", 2) == (
        "curl", "-sS", "--connect-timeout", "3", "-H", "Connection: close", "-w", "%{json}\\n",
        "-o", "/dev/null", "http://10.0.0.1/", "-o", "/dev/null", "http://10.0.0.1/",
    )  # fmt: skip
    assert "Connection: close" not in fetch("10.0.0.1", 2, keep_alive=True)


@pytest.mark.parametrize("name", RECORDINGS)
def test_runs_are_on_their_path(name):
    where, runs = placement(arm(name)), read(name, performance.runs)
    assert len(runs) == 72
    assert (runs["host"] == runs["path"].map(where.servers)).all()
    assert set(runs["mode"]) == set(IPERF_MODES)
    assert runs.groupby(["path", "mode"]).size().eq(6).all()


def test_what_failed_is_a_row_without_numbers():
    runs = read("overlay-vxlan", performance.runs)
    failed = runs[runs["error"].notna()]
    assert len(failed) == 6
    assert set(zip(failed["path"], failed["mode"], strict=True)) == {("service", "udp")}
    assert failed[["received_bps", "loss_pct", "moved_bytes"]].isna().all(axis=None)


@pytest.mark.parametrize("name", RECORDINGS)
def test_numbers_of_samples(name):
    assert len(read(name, performance.echoes)) == 6 * 3 * 300
    assert len(read(name, performance.fetches)) == 6 * 3 * 2 * 100
    times = performance.cpu_times(arm(name), 1)
    assert len(times) == 12 * 2 * 2 * 3  # runs, before and after, nodes, CPUs and all
    assert_as_declared(times, performance.cpu_times)
    assert read(name, performance.fetches)["exit_code"].eq(0).all()


def test_part_of_the_plan_can_be_asked_for():
    whole = read("cilium", performance.runs)
    part = performance.runs(arm("cilium"), 2, path="service", mode="udp")
    wanted = whole[(whole["path"] == "service") & (whole["mode"] == "udp") & (whole["repetition"] < 2)]
    assert part["reply"].tolist() == wanted["reply"].tolist()
    assert performance.runs(arm("cilium"), 2, path="nowhere").empty


def test_readings_stand_around_their_run():
    times = performance.cpu_times(arm("cilium"), 1, path="same-node", mode="tcp")
    run = performance.runs(arm("cilium"), 1, path="same-node", mode="tcp")["reply"].item()
    before = set(times.loc[times["when"] == "before", "reply"])
    after = set(times.loc[times["when"] == "after", "reply"])
    assert (sorted(before), run, sorted(after)) == (["r00490", "r00491"], "r00492", ["r00493", "r00494"])
    assert times["boot_id"].nunique() == 1  # two nodes, one kernel


def test_more_repetitions_than_planned_are_those_that_were_planned(cilium):
    assert len(performance.pings(cilium, 7)) == len(performance.pings(cilium)) == 6 * 3


def planned(cluster, **plan):
    """The same arm, whose header names a plan."""
    return type(cluster)("x", cluster.source, Planned(cluster.executor, Plan(**plan)))


def test_what_the_header_plans_and_was_not_recorded_is_a_miss(cilium):
    with pytest.raises(ReplayMiss, match="sample 6"):
        performance.pings(planned(cilium, repetitions=7, modes=("udp",)))


def test_asking_for_a_part_runs_the_whole_plan_in_its_order(vxlan):
    arm = planned(vxlan)
    arm.executor.instead = {
        ("iptables-save", "-c"): vxlan
    }  # a recording has none around the plan, a live arm has
    performance.pings(arm, path="other-node")
    asked = [(r.target, r.argv, r.sample) for r in arm.executor.asked if r.step == "performance"]
    trials = [(t.target, t.argv, t.sample) for t in plan(arm)]
    client = f"node/{placement(arm).client_node}"
    assert asked == [(client, ("iptables-save", "-c"), 0), *trials, (client, ("iptables-save", "-c"), 1)]


def test_readings_of_another_run_cost_no_cpu(vxlan):
    whole = performance.cpu_times(vxlan)
    late = performance.replies(vxlan)[2][1].request
    arm = planned(vxlan)
    arm.executor.shift = {late.key: timedelta(minutes=5)}  # the run was killed there, and went on later
    left = performance.cpu_times(arm)
    gone = whole.merge(left, how="left", on=["reply", "node", "cpu"], indicator=True).query(
        "_merge == 'left_only'"
    )
    assert set(zip(gone["repetition_x"], gone["path_x"], gone["mode_x"], strict=True)) == {
        (0, "same-node", "tcp")
    }


class Planned:
    """The same answers under a plan, and what was asked."""

    def __init__(self, inner, plan):
        self.inner, self.asked, self.instead, self.shift = inner, [], {}, {}
        self.about = {**inner.about, "plan": plan.to_json()}

    def run(self, request):
        self.asked.append(request)
        if request.step == "performance" and request.argv in self.instead:
            return self.inner.run(replace(request, step="baseline", sample=0))
        reply = self.inner.run(request)
        return replace(reply, started_at=reply.started_at + self.shift.get(request.key, timedelta()))


def test_a_client_that_is_not_there_is_a_missing_feature(cilium):
    with pytest.raises(MissingFeature, match="perf-client"):
        placement(type(cilium)("x", cilium.source, Elsewhere(cilium.executor)))


class Elsewhere:
    """The same answers, said to be of another namespace."""

    def __init__(self, inner):
        self.inner = inner
        self.about = {**inner.about, "namespace": "elsewhere"}

    def run(self, request):
        return self.inner.run(request)
