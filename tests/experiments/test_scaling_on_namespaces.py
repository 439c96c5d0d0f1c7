"""More Services and policies on labs of network namespaces: what fits, what they cost, how soon they work."""

from dataclasses import replace

import pytest
from pandas.testing import assert_frame_equal

from labkit.analysis.load_balancing import ALL, fit, kept
from labkit.analysis.slopes import entries_each
from labkit.claims import balancing as balancing_claims
from labkit.claims import scaling as scaling_claims
from labkit.cluster import Cluster
from labkit.collect import footprint, limits, load_balancing, policy_scaling, programming, scaling
from labkit.collect.plan import QUICK
from labkit.errors import MissingFeature
from labkit.exec.netns import Netns
from labkit.exec.recording import Recorder, Recording
from labkit.exec.replay import Replay
from labkit.experiments.staged import Staged
from labkit.explain.balancing import chances
from labkit.findings import judge
from tests.netns.conftest import require

PLAN = replace(
    QUICK, services=(3, 30, 70_000), policies=(1, 12), rounds=2, repetitions=2, fetches=5, answers=150,
    timings=5, modes=("tcp",), pings=5,
)  # fmt: skip
COLLECTORS = {
    "scaling": scaling.holdings,
    "connections": scaling.connections,
    "policies": policy_scaling.holdings,
    "policy connections": policy_scaling.connections,
    "programming": programming.programming,
    "answers": load_balancing.answers,
    "backends": load_balancing.backends,
    "kept": load_balancing.kept,
    "sticky": load_balancing.sticky,
    "chances": chances,
}


class Seen:
    """What a lab answered, and what it refused."""

    def __init__(self, topology, path):
        inner = Netns(topology)
        self.path, self.topology = path, topology
        # 70,000 Services are no problem of the rules of iptables, but it would take a while
        plan = PLAN if topology == "ebpf" else replace(PLAN, services=PLAN.services[:2])
        about = {"plan": plan.to_json(), "recorded_at": "2026-11-24T00:00:00Z"}
        staged = Staged(Recorder(inner, path, about=about), inner)
        try:
            arm = Cluster(topology, f"netns:{topology}", staged)
            self.frames = {name: collect(arm) for name, collect in COLLECTORS.items()}
            self.refused = said(arm, "services-70000") if topology == "ebpf" else ""
            self.limits = limits.limits(arm) if topology == "ebpf" else None
            self.fill = footprint.lab_maps(arm) if topology == "ebpf" else None
            self.applied = max((move.applied for move in staged.moves), default=0)
            self.left = arm.read("/apis/networking.k8s.io/v1/networkpolicies", sample=9).stdout
        finally:
            staged.close()

    def replay(self):
        return Cluster(self.topology, f"replay:{self.path}", Replay(Recording.open(self.path)))

    def __getitem__(self, name):
        return self.frames[name]

    def of(self, *names):
        return [self.frames[name].assign(arm=self.topology) for name in names]


def said(arm, step):
    with pytest.raises(MissingFeature) as refused:
        arm.at(step).read("/api/v1/services")
    return refused.value.reason


@pytest.fixture(scope="module", params=["routed", "ebpf"])
def seen(request, tmp_path_factory):
    require(request.param)
    return Seen(request.param, tmp_path_factory.mktemp(request.param) / "recording")


def test_frames_are_as_declared_and_replay_to_the_same(seen):
    for name, collect in COLLECTORS.items():
        frame, schema = seen[name], collect.schema
        assert {n: str(t) for n, t in frame.dtypes.items()} == {c.name: c.dtype for c in schema.columns}, name
        assert not frame.duplicated(list(schema.key)).any(), name
        assert_frame_equal(collect(seen.replay()), frame)


def test_what_does_not_fit_is_refused_before_anything_is_created(seen):
    if seen.topology == "routed":
        with pytest.raises(MissingFeature, match="rules of iptables have no limit of their own"):
            limits.limits(seen.replay())
        return
    assert seen.limits.groupby("services")["fits"].all().to_dict() == {3: True, 30: True, 70_000: False}
    assert "70000 Services more need 70000 entries in services on node-1" in seen.refused
    assert "at most 65531 fit. Nothing was created" in seen.refused
    assert seen.applied == 27
    assert sorted(set(seen["scaling"]["services"])) == [3, 6, 33]  # the others are measured all the same


def test_each_service_and_policy_is_held(seen):
    each = entries_each(*seen.of("scaling")).set_index("holds")["each"]
    policies = entries_each(*seen.of("policies"), size="policies").set_index("holds")["each"]
    if seen.topology == "routed":
        assert each.to_dict() == {"iptables rules": 8, "KUBE-SVC chains": 1}
        assert policies.to_dict() == {"iptables rules": 0}
        return
    assert each["eBPF services map"] == 1
    assert each["eBPF backends map"] == 2
    assert policies["eBPF policy ports"] == pytest.approx(13 / 12)  # its own port each, and what is replied


def test_the_fill_of_a_labs_maps(seen):
    if seen.topology == "routed":
        with pytest.raises(MissingFeature):
            footprint.lab_maps(seen.replay())
        return
    held = seen.fill.groupby("map")["entries"].max()
    assert (held["services"], held["backends"], held["policy_ports"]) == (
        5,
        10,
        0,
    )  # nothing but the workload is there
    assert held["connections"] > 100
    assert seen.fill["used_pct"].between(0, 100).all()


def test_connections_are_made_with_policies_and_without(seen):
    frame = seen["policy connections"]
    assert sorted(set(frame["policies"])) == [0, 1, 12]
    assert set(frame["path"]) == {"same-node", "other-node"}
    assert frame["exit_code"].eq(0).all()
    assert frame.groupby(["policies", "path", "pod", "repetition"]).size().eq(PLAN.fetches).all()


def test_one_more_service_works_soon_and_is_gone_soon(seen):
    frame = seen["programming"]
    services = frame[frame["kind"] == "Service"]
    assert services.groupby(["size", "change"]).size().to_dict() == {
        (size, change): PLAN.rounds for size in (3, 30) for change in ("applied", "deleted")
    }
    assert (services["at_least_s"] < services["at_most_s"]).all()
    assert services["at_most_s"].max() < 5
    assert services["effective_s"].between(services["at_least_s"], services["at_most_s"]).all()


def test_one_more_policy_works_soon_where_something_enforces_it(seen):
    frame = seen["programming"]
    policies = frame[frame["kind"] == "NetworkPolicy"]
    assert set(policies["size"]) == {11}  # the only one cannot be told from none
    if seen.topology == "routed":
        assert policies["change"].tolist() == ["applied", "deleted"]  # not tried again
        shut = policies[policies["change"] == "deleted"].iloc[0]
        assert shut["at_least_s"] >= 2
        assert shut[["at_most_s", "effective_s"]].isna().all()
        return
    assert len(policies) == 2 * PLAN.rounds
    assert policies["at_most_s"].max() < 5


def test_connections_fit_the_chances_of_the_maps_and_rules(seen):
    assert seen["chances"]["probability"].tolist() == [0.5] * 4
    row = fit(*seen.of("answers", "backends", "chances")).set_index("pod").loc[ALL]
    assert row["n"] == 2 * PLAN.answers
    assert row["p"] > 0.001
    assert row["power_pct"] == pytest.approx(41, abs=1)  # 300 connections would mostly miss a tenth


def test_keep_alive_and_affinity_meet_one_backend(seen):
    ways = dict(zip(("each", "kept", "sticky"), seen.of("answers", "kept", "sticky"), strict=True))
    found = kept(ways).groupby("way")["backends"].agg(list).to_dict()
    assert found == {"each": [2, 2], "kept": [1, 1], "sticky": [1, 1]}


def test_claims_are_decided_with_their_evidence(seen):
    claims = (
        scaling_claims.change_effective_in_a_second,
        scaling_claims.policies_slow_connections,
        balancing_claims.spread_as_programmed,
    )
    found = {finding.claim: finding for finding in judge([seen.replay()], claims).findings}
    soon = found["change-effective-in-a-second"]
    assert soon.verdict in ("supported", "inconclusive")  # a busy machine may take longer once
    assert soon.reason.startswith("beside 30 Services it took between")
    assert "µs for 1,000 more (95 % interval" in found["policies-slow-connections"].reason
    spread = found["spread-as-programmed"]
    assert spread.verdict == "inconclusive"
    assert spread.reason.endswith("it takes 785 to find it 80 times")
    assert all(finding.evidence for finding in found.values())


def test_nothing_is_left(seen):
    assert b'"scale-' not in seen.left
