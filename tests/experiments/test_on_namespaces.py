"""Every collector and every step on a lab of network namespaces: real programs, real packets, and back again."""

from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from labkit.cluster import Cluster
from labkit.collect import (
    captures,
    cleanup,
    fetches,
    kubernetes,
    load_balancing,
    logs,
    node,
    parity,
    performance,
    pod,
    policies,
    scaling,
    services,
)  # fmt: skip
from labkit.collect.gather import Collector
from labkit.collect.plan import Plan
from labkit.collect.steps import over
from labkit.exec.netns import Netns
from labkit.exec.recording import Recorder, Recording
from labkit.exec.replay import Replay
from labkit.experiments.staged import Staged
from tests.netns.conftest import require

PLAN = Plan(
    repetitions=1, run_s=1, warm_up_s=0, modes=("tcp", "udp"), pings=20, fetches=3, answers=20, timings=5,
    services=(3, 30), listen_s=8, waits=True,
)  # fmt: skip

#: What notebooks and claims ask of any arm; asked here in an order that none of them has.
COLLECTORS = {
    "scaling.holdings": scaling.holdings,
    "load_balancing.servers": load_balancing.servers,
    "performance.pings": performance.pings,
    "policies.rules": policies.rules,
    "the backends' log": over(["load-balancing"], logs.backend_log),
    "captures.packets": captures.packets,
    "services over steps": over(["baseline", "services-*", "load-balancing"], services.rules),
    "policies.probes": policies.probes,
    "scaling.connections": scaling.connections,
    "scaling.slices": scaling.slices,
    "policies.in_force": policies.in_force,
    "captures.taps": captures.taps,
    "captures.asked": captures.asked,
    "fetches.fetches": fetches.fetches,
    "load_balancing.answers": load_balancing.answers,
    "load_balancing.timings": load_balancing.timings,
    "performance.trials": performance.trials,
    "performance.runs": performance.runs,
    "performance.cpu_times": performance.cpu_times,
    "parity.facts": parity.facts,
    "cleanup.everything": cleanup.everything,
    **{f"{m.__name__}.{n}": c for m in (kubernetes, node, pod) for n in m.__all__ if isinstance(c := getattr(m, n), Collector)},
}  # fmt: skip


class Seen:
    """What a lab answered, how it was moved, and what it left."""

    def __init__(self, path: Path) -> None:
        inner = Netns("routed")
        self.pid, self.path = inner.pid, path
        staged = Staged(
            Recorder(inner, path, about={"plan": PLAN.to_json(), "recorded_at": "2026-11-24T00:00:00Z"}),
            inner,
        )
        try:
            arm = Cluster("routed", "netns:routed", staged)
            self.frames = {name: collect(arm) for name, collect in COLLECTORS.items()}
            self.left = cleanup.everything(arm.at("cleanup"))
            self.moves = staged.moves
        finally:
            staged.close()

    def replay(self) -> Cluster:
        return Cluster("routed", f"replay:{self.path}", Replay(Recording.open(self.path)))


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Seen:
    require("routed")
    return Seen(tmp_path_factory.mktemp("live") / "recording")


@pytest.mark.parametrize("name", COLLECTORS)
def test_frames_are_as_declared_and_replay_to_the_same(seen, name):
    frame, schema = seen.frames[name], COLLECTORS[name].schema
    assert {n: str(t) for n, t in frame.dtypes.items()} == {c.name: c.dtype for c in schema.columns}
    assert_frame_equal(COLLECTORS[name](seen.replay()), frame)


def test_an_arm_is_moved_once_for_all_who_ask(seen):
    assert [move.step for move in seen.moves] == [
        "setup", "services-3", "services-30", "performance", "policy-deny-all", "policy-allow-frontend", "policy-removed",
    ]  # fmt: skip
    assert [(move.deleted, move.applied) for move in seen.moves] == [
        (0, 8),
        (0, 3),
        (0, 27),
        (30, 0),
        (0, 1),
        (0, 3),
        (4, 0),
    ]
    assert all(move.realised_s < 30 for move in seen.moves)


def test_the_plan_is_run_in_order_whoever_asks_first(seen):
    trials = seen.frames["performance.trials"]
    assert trials["started_at"].is_monotonic_increasing
    assert (trials["exit_code"] == 0).sum() >= len(
        trials
    ) - 1  # UDP by Service may part from its control connection
    assert seen.frames["performance.runs"]["received_bps"].max() > 1e8


def test_the_rules_count_the_runs_by_service_and_nothing_else(seen):
    used = seen.frames["load_balancing.servers"].groupby("protocol")["connections"].sum()
    assert used["TCP"] == 3  # control and data of one run, control of the other
    assert used["UDP"] in (0, 1)  # 0 where it failed before it sent


def test_rules_grow_by_eight_for_each_service(seen):
    held = seen.frames["scaling.holdings"]
    rules = held[held["holds"] == "iptables rules"].groupby("services")["entries"].max()
    few, some, many = sorted(rules.index)
    assert (some - few, many - few) == (3, 30)
    assert rules[many] - rules[some] == 27 * 8
    assert seen.frames["scaling.connections"]["exit_code"].eq(0).all()


def test_traffic_is_made_before_it_is_counted(seen):
    answers, log = seen.frames["load_balancing.answers"], seen.frames["the backends' log"]
    assert len(answers) == 2 * PLAN.answers
    assert answers["backend"].nunique() == 2
    rules = seen.frames["services over steps"]
    in_step = rules[
        (rules["step"] == "load-balancing") & rules["comment"].str.contains("backend-service", na=False)
    ]
    asked = 2 * (PLAN.answers + PLAN.timings)
    assert in_step[in_step["target"] == "DNAT"]["packets"].sum() >= asked
    assert len(log) >= asked


def test_taps_hold_what_was_asked_meanwhile(seen):
    taps, asked = seen.frames["captures.taps"], seen.frames["captures.asked"]
    assert taps.groupby("tap").size().to_dict() == {"node": 2, "pod": 2}
    assert (taps["packets"] > 0).all()
    assert not taps["cut"].any()
    assert (asked["answered"] == asked["sent"]).all()
    echoes = seen.frames["captures.packets"].query("tap == 'pod' and icmp_type.notna()")
    assert len(echoes) == 2 * asked.loc[asked["kind"] == "ping", "sent"].sum()


def test_policies_are_in_force_in_their_steps_and_enforced_by_nobody(seen):
    names = seen.frames["policies.in_force"].set_index("step")
    assert names["policies"].to_dict() == {
        "policy-none": 0, "policy-deny-all": 1, "policy-allow-frontend": 4, "policy-removed": 0,
    }  # fmt: skip
    assert (names["read_in"] == names.index).all()
    assert set(seen.frames["policies.probes"]["outcome"]) == {"allowed"}


def test_deleted_services_are_read_when_their_deletion_returns(seen):
    assert set(seen.left["name"]) <= set(seen.frames["cleanup.everything"]["name"])


def test_nothing_is_left(seen):
    assert not Path(f"/proc/{seen.pid}").exists()
    assert Recording.open(seen.path).verify() == []
