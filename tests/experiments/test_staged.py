"""An arm is in the step that a request names, whoever asks, and is put back whatever happens."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from labkit.collect.plan import QUICK, Plan
from labkit.errors import ApiError, ConnectionLost, MissingFeature, NotReady, OwnershipError, ParameterError
from labkit.exec.recording import Recorder, Recording
from labkit.exec.request import Apply, Delete, Exec, Read
from labkit.experiments.leftovers import leftovers, remove
from labkit.experiments.staged import Staged
from labkit.experiments.steps import step
from labkit.experiments.waits import Limits
from tests.experiments.fake_cluster import FakeCluster

LIMITS = Limits(
    rollout_s=0.3,
    endpoints_s=0.3,
    services_s=0.3,
    each_service_s=0,
    policies_s=0.3,
    effect_s=0.3,
    no_engine_s=0.1,
    gone_s=0.3,
)
#: Nothing is applied but the steps' own objects.
PLAN = replace(QUICK, rounds=0)
WORKLOAD = frozenset(step("baseline").objects)
POLICIES = {
    "NetworkPolicy/allow-dns-egress",
    "NetworkPolicy/allow-frontend-to-backend",
    "NetworkPolicy/allow-frontend-egress",
}


@pytest.fixture
def arm(tmp_path):
    """A staged arm on a cluster in memory; closed at the end."""
    made = []

    def make(cluster=None, **options):
        inner = cluster or FakeCluster()
        path = tmp_path / f"recording-{len(made)}"
        staged = Staged(Recorder(inner, path), inner, **{"plan": PLAN, "limits": LIMITS, **options})
        made.append(staged)
        staged.inner, staged.path = inner, path
        return staged

    yield make
    for staged in made:
        staged.inner.fail = None
        staged.close()


def ask(staged, name, *argv, sample=0, target="node/node-1"):
    return staged.run(Exec(step=name, target=target, argv=argv or ("ip", "route"), sample=sample))


def changes(path):
    """What was applied and deleted, by step, in order: as a recording holds it."""
    return [
        (r.kind, r.step, r.sample, set(r.objects))
        for r in Recording.open(path).requests()
        if r.kind in ("apply", "delete")
    ]


def test_the_workload_comes_before_the_first_answer(arm):
    staged = arm()
    ask(staged, "baseline")
    assert staged.inner.there() == WORKLOAD
    assert changes(staged.path) == [("apply", "setup", 0, WORKLOAD)]
    (move,) = staged.moves
    assert (move.step, move.applied, move.deleted) == ("setup", 8, 0)
    assert min(move.changing_s, move.realised_s) >= 0


def test_steps_come_and_go_by_their_difference(arm):
    staged = arm()
    for name in (
        "policy-none",
        "policy-deny-all",
        "policy-allow-frontend",
        "policy-removed",
        "capture",
        "policy-deny-all",
    ):
        ask(staged, name, sample=len(staged.moves))
        assert staged.inner.there() == frozenset(step(name).objects)
    deny = {"NetworkPolicy/deny-all"}
    assert changes(staged.path)[1:] == [
        ("apply", "policy-deny-all", 0, deny),
        ("apply", "policy-allow-frontend", 0, POLICIES),
        ("delete", "policy-allow-frontend", 0, deny | POLICIES),
        ("apply", "policy-deny-all", 1, deny),
    ]
    assert [m.step for m in staged.moves] == [
        "setup",
        "policy-deny-all",
        "policy-allow-frontend",
        "policy-removed",
        "policy-deny-all",
    ]


def test_what_was_answered_needs_no_step(arm):
    staged = arm()
    first = ask(staged, "services-3")
    ask(staged, "baseline")
    moves = len(staged.moves)
    assert ask(staged, "services-3") == first
    assert len(staged.moves) == moves
    assert "Service/scale-00000" not in staged.inner.there()


def test_more_services_are_applied_in_batches_and_only_those_that_lack(arm):
    staged = arm()
    ask(staged, "services-3")
    ask(staged, "services-1200")
    sent = [
        (r.objects[0], len(r.objects))
        for r in staged.inner.asked
        if isinstance(r, Apply) and r.step == "services-1200"
    ]
    assert sent == [("Service/scale-00003", 500), ("Service/scale-00503", 500), ("Service/scale-01003", 197)]
    assert all(
        len(json.loads(r.manifest)) == len(r.objects) for r in staged.inner.asked if isinstance(r, Apply)
    )


def test_nodes_are_waited_for_and_what_is_lacking_is_said(arm):
    cluster = FakeCluster()
    staged = arm(cluster)
    ask(staged, "baseline")
    old = cluster._rules()
    cluster.commands["iptables-save", "-t", "nat"] = lambda _: (old, 0)
    with pytest.raises(
        NotReady,
        match=r"nodes to be programmed for 10\.0\.0\.\d+: not every node has it \(by iptables-save\)",
    ):
        ask(staged, "services-3")
    asked = len(cluster.asked)
    with pytest.raises(NotReady):
        ask(staged, "services-3", sample=1)  # it is not waited for again
    assert len(cluster.asked) == asked
    assert ask(staged, "baseline", sample=2).exit_code == 0


def test_services_that_no_rules_show_are_waited_for_by_connecting(arm):
    staged = arm(FakeCluster(rules=False))
    ask(staged, "services-3")
    assert "the last Service on every node by a connection" in staged.moves[-1].awaited


@pytest.mark.parametrize(
    ("engine", "said"), [(True, "out of reach of a frontend"), (False, "not so within 0 s")]
)
def test_policies_are_waited_for_by_their_effect_which_may_not_come(arm, engine, said):
    staged = arm(FakeCluster(engine=engine))
    ask(staged, "policy-deny-all")
    assert staged.moves[-1].awaited.endswith(said)


@pytest.mark.parametrize("namespace", ["kube-system", "cilium"])
def test_cilium_says_when_every_endpoint_runs_the_policies(arm, namespace):
    cluster = FakeCluster(rules=False)
    staged = arm(cluster)
    agent = {"metadata": {"name": "anetd-1", "namespace": namespace, "labels": {}}}
    agent |= {
        "spec": {"nodeName": "node-1", "containers": [{"name": "cilium-agent"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    real = cluster._pods
    cluster._pods = lambda: [*real(), agent]
    behind = [3, 0]

    def policies(_):
        names = [f'"{n.partition("/")[2]}"' for n in cluster.there("NetworkPolicy")]
        return f"[{','.join(names)}]\nRevision: 7\n", 0

    def endpoints(_):
        revision = 7 if not behind[0] else 6
        behind[:] = [max(0, behind[0] - 1), behind[1] + 1]
        return json.dumps([{"status": {"policy": {"realized": {"policy-revision": revision}}}}]), 0

    cluster.commands |= {
        ("cilium-dbg", "policy", "get"): policies,
        ("cilium-dbg", "endpoint", "list", "-o", "json"): endpoints,
        ("cilium-dbg", "service", "list", "-o", "json"): lambda _: (
            json.dumps([o["spec"]["clusterIP"] for (k, _, _), o in cluster.objects.items() if k == "Service"]), 0,
        ),
    }  # fmt: skip
    ask(staged, "policy-deny-all")
    assert staged.moves[-1].awaited == "every endpoint of Cilium to run the policies"
    assert behind[1] >= 4  # it was asked until none was behind


@pytest.mark.parametrize(
    ("waiting", "said"),
    [
        ({"reason": "ImagePullBackOff", "message": "no such image"}, "ImagePullBackOff: no such image"),
        ({"reason": "InvalidImageName", "message": "x"}, "will not come up: InvalidImageName"),
        *[
            ({"reason": reason, "message": said}, "will not come up: its image cannot be pulled")
            for reason, said in (
                (
                    "ErrImagePull",
                    'rpc error: code = NotFound desc = failed to resolve reference "x:1": x:1: not found',
                ),
                (
                    "ImagePullBackOff",
                    'Back-off pulling image "x": ErrImagePull: pull access denied, repository does not exist',
                ),
                ("ErrImagePull", "failed to authorize: failed to fetch oauth token: 401 Unauthorized"),
            )
        ],
        (
            {"reason": "ErrImagePull", "message": "dial tcp: lookup registry.test: no such host"},
            "waited 0 s for the workload's pods to run",
        ),
    ],
)
def test_a_rollout_that_does_not_come_up_says_why(arm, waiting, said):
    staged = arm(FakeCluster(sick={"app-backend": waiting}))
    with pytest.raises(NotReady, match=said):
        ask(staged, "baseline")
    staged.close()
    assert staged.inner.there() == set()


def test_pods_that_are_all_on_one_node_are_refused(arm):
    cluster = FakeCluster()
    cluster._pods = lambda real=cluster._pods: [
        {**p, "spec": {**p["spec"], "nodeName": "node-1"}} for p in real()
    ]
    with pytest.raises(NotReady, match="pods of frontend are all on node-1; one pod a node is needed"):
        ask(arm(cluster), "baseline")


def test_a_namespace_of_someone_else_is_never_touched(arm):
    cluster = FakeCluster()
    cluster.put("Namespace", "cni-lab")
    staged = arm(cluster)
    with pytest.raises(OwnershipError, match="namespace cni-lab is there and not labkit's"):
        ask(staged, "baseline")
    staged.close()
    assert not [r for r in cluster.asked if isinstance(r, Apply | Delete)]
    assert cluster.there() == {"Namespace/cni-lab"}


def test_a_namespace_that_was_given_stays_and_so_does_what_is_not_labkits(arm):
    cluster = FakeCluster()
    cluster.put("Namespace", "cni-lab", **{"app.kubernetes.io/managed-by": "labkit"})
    cluster.put("Service", "theirs")
    cluster.objects["Service", "cni-lab", "theirs"]["spec"] = {
        "selector": {"a": "b"},
        "clusterIP": "10.9.9.9",
    }
    staged = arm(cluster)
    ask(staged, "policy-deny-all")
    assert "Namespace/cni-lab" not in changes(staged.path)[0][3]
    staged.close()
    assert cluster.there() == {"Namespace/cni-lab", "Service/theirs"}


def test_what_a_killed_run_left_is_cleared_before_the_next_measures(arm):
    cluster = FakeCluster()
    ask(arm(cluster), "policy-deny-all")
    ask(arm(cluster), "services-2")  # the first was never closed
    assert cluster.there() == frozenset(step("services-2").objects)


def test_closing_puts_everything_back_once(arm):
    staged = arm()
    ask(staged, "policy-allow-frontend")
    staged.close()
    assert staged.inner.there() == set()
    assert changes(staged.path)[-1] == ("delete", "policy-allow-frontend", 0, {"Namespace/cni-lab"})
    closed = staged.inner.closed
    staged.close()
    assert staged.inner.closed == closed > 0
    with pytest.raises(ConnectionLost, match="being closed"):
        ask(staged, "baseline", sample=9)


def test_an_apply_that_is_refused_half_way_is_put_back(arm):
    cluster = FakeCluster()
    staged = arm(cluster)
    ask(staged, "baseline")
    refused = ApiError("quota", Read(step="x", path="/"), status=403, reason="Forbidden")
    cluster.fail = lambda r: (
        refused if isinstance(r, Apply) and r.objects[0] == "Service/scale-00500" else None
    )
    with pytest.raises(ApiError, match="quota"):
        ask(staged, "services-1200")
    cluster.fail = None
    assert "Service/scale-00499" in cluster.there()
    ask(staged, "baseline", sample=1)  # whatever came of it is taken away
    assert cluster.there() == WORKLOAD
    staged.close()
    assert cluster.there() == set()


def test_an_arm_that_was_never_asked_is_never_changed(arm):
    staged = arm()
    staged.close()
    assert staged.inner.asked == []


def test_read_only_answers_what_is_there_and_names_what_is_not(arm):
    cluster = FakeCluster()
    staged = arm(cluster, read_only=True)
    assert json.loads(staged.run(Read(step="baseline", path="/api/v1/nodes")).stdout)["items"]
    with pytest.raises(
        MissingFeature, match=r"the workload is not there; needs a change of the cluster \(step baseline\)"
    ):
        ask(staged, "baseline")
    for name in ("policy-deny-all", "services-10", "cleanup"):
        with pytest.raises(MissingFeature, match=f"step {name}.*read-only"):
            ask(staged, name)
    staged.close()
    assert not [r for r in cluster.asked if isinstance(r, Apply | Delete)]


def test_read_only_takes_a_step_that_someone_brought_about(arm):
    cluster = FakeCluster()
    for one in step("policy-deny-all").objects.values():
        cluster._apply(json.loads(json.dumps(one)))
    staged = arm(cluster, read_only=True)
    assert ask(staged, "policy-deny-all").exit_code == 0
    with pytest.raises(MissingFeature, match=r"step baseline.*read-only"):
        ask(staged, "baseline")
    staged.close()
    assert cluster.there() == frozenset(step("policy-deny-all").objects)


def test_requests_of_one_step_run_at_once_and_a_change_waits_for_them(arm):
    cluster = FakeCluster()
    staged = arm(cluster)
    ask(staged, "baseline")
    cluster.lock = threading.Lock()
    running, meet = [], threading.Barrier(3, timeout=5)

    def slow(request):
        cluster.lock.release()  # the fake answers one at a time; these go on beside each other
        try:
            running.append(request.step)
            meet.wait()
            assert "NetworkPolicy/deny-all" not in cluster.there()
            return "", 0
        finally:
            cluster.lock.acquire()

    cluster.commands["sleep", "1"] = slow
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, staged, "baseline", "sleep", "1", sample=n) for n in range(2)]
        while len(running) < 2:
            pass
        change = pool.submit(ask, staged, "policy-deny-all")
        assert not change.done()
        meet.wait()
        assert [a.result().exit_code for a in answers] == [0, 0]
        assert change.result().exit_code == 0


def test_nothing_is_applied_by_the_way(arm):
    staged = arm()
    with pytest.raises(Exception, match="nothing else is applied"):
        staged.run(Apply(step="baseline", objects=("Service/x",), manifest="[]"))
    with pytest.raises(ParameterError, match="no step 'elsewhere'"):
        ask(staged, "elsewhere")


def test_the_plan_is_part_of_what_an_arm_says_of_itself(arm):
    assert Plan.from_about(arm(plan=QUICK).about) == QUICK
    assert Plan.from_about(arm(plan=None).about) == Plan()


def test_leftovers_are_found_by_label_and_removed_alone(arm):
    cluster = FakeCluster()
    cluster.put("Namespace", "default")
    cluster.put("Service", "theirs", "default")
    ask(arm(cluster), "policy-deny-all")
    found = leftovers(cluster)
    assert [str(one) for one in found] == ["Namespace/cni-lab"]
    assert remove(cluster, found) == ["Namespace/cni-lab"]
    assert cluster.there() == {"Namespace/default", "Service/theirs"}
    assert leftovers(cluster) == []
    assert remove(cluster, found) == []  # gone meanwhile is no error


def test_leftovers_in_a_namespace_that_was_given_are_single_objects(arm):
    cluster = FakeCluster()
    cluster.put("Namespace", "cni-lab", **{"app.kubernetes.io/managed-by": "labkit"})
    ask(arm(cluster), "policy-deny-all")
    found = leftovers(cluster)
    assert "NetworkPolicy/deny-all in cni-lab" in map(str, found)
    assert not [one for one in found if one.kind == "Namespace"]
    cluster.objects["Service", "cni-lab", "perf-server"]["metadata"]["labels"] = {}
    with pytest.raises(OwnershipError, match=r"Service/perf-server in cni-lab: there, and not labkit's"):
        remove(cluster, found)
    remove(cluster, leftovers(cluster))
    assert cluster.there() == {"Namespace/cni-lab", "Service/perf-server"}


def test_one_more_is_timed_once_a_step_and_said_in_the_header(arm):
    staged = arm(plan=replace(QUICK, rounds=2))
    ask(staged, "services-3")
    ask(staged, "policies-4")
    ask(staged, "baseline")
    ask(staged, "services-3", sample=1)  # back again: it was timed
    told = Recording.open(staged.path).about["programming"]
    assert [(t["step"], t["kind"], t["change"], t["round"]) for t in told] == [
        ("services-3", "Service", "applied", 0), ("services-3", "Service", "deleted", 0),
        ("services-3", "Service", "applied", 1), ("services-3", "Service", "deleted", 1),
        ("policies-4", "NetworkPolicy", "deleted", 0), ("policies-4", "NetworkPolicy", "applied", 0),
        ("policies-4", "NetworkPolicy", "deleted", 1), ("policies-4", "NetworkPolicy", "applied", 1),
    ]  # fmt: skip
    assert all(0 <= t["at_least_s"] < t["at_most_s"] for t in told)
    assert staged.about["programming"] == told
    assert staged.inner.there() == frozenset(step("services-3").objects)


def test_a_policy_that_nothing_enforces_is_not_tried_again(arm):
    staged = arm(FakeCluster(engine=False), plan=replace(QUICK, rounds=3))
    ask(staged, "policies-4")
    shut, opened = Recording.open(staged.path).about["programming"]
    assert (shut["at_most_s"], opened["change"]) == (None, "applied")
    assert shut["at_least_s"] >= LIMITS.no_engine_s
    assert staged.inner.there() == frozenset(step("policies-4").objects)
