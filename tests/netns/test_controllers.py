"""What comes of objects, on machines without a kernel: pods and where they go, endpoints, counts, ends."""

import itertools

import pytest

from labkit.errors import ProvisionError
from labkit.experiments import manifests
from labkit.netns import endpoints
from labkit.netns.control import ControlPlane
from labkit.netns.scheduler import place
from tests.netns.fake_machines import FakeMachines
from tests.netns.test_store import named, service

LIMIT_S = 20


class NoDataplane:
    """What is programmed is another test's matter."""

    def sync(self, objects):
        self.last = objects


@pytest.fixture
def machines():
    return FakeMachines()


@pytest.fixture
def control(machines):
    made = ControlPlane(machines, NoDataplane())
    made.boot()
    made.apply([named("Namespace", "shop")])
    yield made
    made.close()


def containers(image="httpd", **more):
    return {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 80}], **more}]}


def deployment(name="web", image="httpd", replicas=2, **spec):
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": containers(image)}
    return named(
        "Deployment", name,
        spec={"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec},
    )  # fmt: skip


def pods(control, namespace="shop"):
    return control.store.list("Pod", namespace)


def at(control, namespace="shop"):
    return {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in pods(control, namespace)}


def addresses(control, name="web"):
    """Address of each endpoint, and whether it is ready."""
    found = control.store.list("EndpointSlice", "shop", f"kubernetes.io/service-name={name}")
    return {e["addresses"][0]: e["conditions"]["ready"] for piece in found for e in piece["endpoints"] or ()}


def test_the_workload_is_on_two_nodes_and_where_it_asks_to_be(control, machines):
    objects = manifests.workload("cni-lab", manifests.images())
    control.apply(objects)
    control.settle(LIMIT_S)
    found = at(control, "cni-lab")
    by_app = {}
    for name, node in found.items():
        by_app.setdefault(name.rsplit("-", 2)[0] if name != "perf-test-client" else name, set()).add(node)
    both = {"node-1", "node-2"}
    assert len(found) == 9
    assert by_app["app-frontend"] == by_app["app-backend"] == by_app["perf-server"] == both
    assert len(by_app["perf-test-client"]) == 1
    again = ControlPlane(FakeMachines(), NoDataplane())
    again.boot()
    again.apply(objects)
    again.settle(LIMIT_S)
    assert at(again, "cni-lab") == found, "the same pods are on the same nodes each time"
    again.close()
    assert control.delete(objects[:1]) == ['namespace "cni-lab"']
    control.settle(LIMIT_S)
    assert set(found) <= {name for _, name in machines.stopped}
    assert control.store.get("Namespace", "", "cni-lab") is None
    assert not control.store.list("Service", "cni-lab") + control.store.list("ReplicaSet", "cni-lab")


def test_a_deployment_owns_pods_through_a_replica_set(control):
    control.apply([deployment(), service()])
    control.settle(LIMIT_S)
    (replicas,) = control.store.list("ReplicaSet", "shop")
    assert replicas["metadata"]["ownerReferences"][0]["name"] == "web"
    code = replicas["metadata"]["labels"]["pod-template-hash"]
    for pod in pods(control):
        assert pod["metadata"]["ownerReferences"][0]["uid"] == replicas["metadata"]["uid"]
        assert pod["metadata"]["name"].startswith(f"web-{code}-")
        status = pod["status"]
        assert (status["phase"], status["containerStatuses"][0]["ready"]) == ("Running", True)
        assert status["hostIP"] == {"node-1": "10.224.0.4", "node-2": "10.224.0.5"}[pod["spec"]["nodeName"]]
    status = control.store.get("Deployment", "shop", "web")["status"]
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 2)
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Available": "True",
        "Progressing": "True",
    }
    assert set(addresses(control)) == {pod["status"]["podIP"] for pod in pods(control)}
    said = {(e["involvedObject"]["kind"], e["reason"]) for e in control.store.list("Event", "shop")}
    assert said == {
        ("Deployment", "ScalingReplicaSet"), ("ReplicaSet", "SuccessfulCreate"), ("Pod", "Scheduled"),
        ("Pod", "Started"),
    }  # fmt: skip


@pytest.mark.parametrize("strategy", ["Recreate", "RollingUpdate"])
def test_another_template_makes_other_pods(control, strategy):
    control.apply([deployment(strategy={"type": strategy}), service()])
    control.settle(LIMIT_S)
    before = {pod["metadata"]["uid"] for pod in pods(control)}
    control.apply([deployment(image="nginx", strategy={"type": strategy})])
    control.settle(LIMIT_S)
    after = pods(control)
    assert len(after) == 2
    assert not before & {pod["metadata"]["uid"] for pod in after}
    assert {pod["spec"]["containers"][0]["image"] for pod in after} == {"nginx"}
    assert addresses(control) == {pod["status"]["podIP"]: True for pod in after}
    made = control.store.get("Deployment", "shop", "web")
    assert made["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_scaling_and_a_pod_that_goes(control):
    control.apply([deployment(replicas=5)])
    control.settle(LIMIT_S)
    assert sorted(at(control).values()).count("node-1") in (2, 3)
    gone = pods(control)[0]["metadata"]["name"]
    control.delete([named("Pod", gone)])
    control.settle(LIMIT_S)
    assert len(pods(control)) == 5, "its owner makes another"
    control.apply([deployment(replicas=1)])
    control.settle(LIMIT_S)
    assert len(pods(control)) == 1
    control.delete([deployment()])
    control.settle(LIMIT_S)
    assert pods(control) == control.store.list("ReplicaSet", "shop") == []


def test_a_daemon_set_has_a_pod_on_every_node_that_it_is_for(control):
    template = {"metadata": {"labels": {"name": "agent"}}, "spec": {**containers(), "hostNetwork": True}}
    daemons = named(
        "DaemonSet", "agent", spec={"selector": {"matchLabels": {"name": "agent"}}, "template": template}
    )
    control.apply([daemons])
    control.settle(LIMIT_S)
    assert sorted(at(control).values()) == ["node-1", "node-2"]
    assert {pod["status"]["podIP"] for pod in pods(control)} == {"10.224.0.4", "10.224.0.5"}
    status = control.store.get("DaemonSet", "shop", "agent")["status"]
    assert (status["desiredNumberScheduled"], status["numberReady"]) == (2, 2)
    template["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "node-2"}
    control.apply([daemons])
    control.settle(LIMIT_S)
    assert list(at(control).values()) == ["node-2"]
    assert control.store.get("DaemonSet", "shop", "agent")["status"]["desiredNumberScheduled"] == 1


def test_a_pod_waits_for_the_one_that_it_has_to_be_beside(control):
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    control.apply([named("Pod", "client", spec={**containers(), "affinity": affinity})])
    with pytest.raises(ProvisionError, match="shop/client: no node is as it requires"):
        control.settle(0.3)
    (pod,) = pods(control)
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["conditions"][0]["reason"] == "Unschedulable"
    control.apply([named("Pod", "web", spec={**containers(), "nodeName": "node-2"})])
    control.apply([deployment(replicas=1)])
    control.settle(LIMIT_S)
    found = at(control)
    assert found.pop("client") == next(node for name, node in found.items() if name != "web")


def test_a_container_is_ready_when_it_listens(control):
    control.apply([deployment(image="deaf"), service()])
    with pytest.raises(ProvisionError, match="container main is not ready"):
        control.settle(0.3)
    assert set(addresses(control).values()) == {False}
    status = pods(control)[0]["status"]
    assert (status["phase"], status["containerStatuses"][0]["ready"]) == ("Running", False)
    assert control.store.get("Deployment", "shop", "web")["status"]["unavailableReplicas"] == 2


def test_a_pod_that_cannot_be_started_says_why(control):
    control.apply([named("Pod", "one", spec=containers("broken"))])
    with pytest.raises(ProvisionError, match="stands in for the image broken"):
        control.settle(0.3)
    waiting = pods(control)[0]["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerError"
    control.delete([named("Pod", "one")])
    control.settle(LIMIT_S)


def test_a_container_that_ends_is_no_endpoint_any_more(control, machines):
    control.apply([deployment(replicas=1), service()])
    control.settle(LIMIT_S)
    since = control.store.version
    machines.exits["main"] = 3
    assert control.store.watch(since, LIMIT_S), "someone looks after containers"
    with pytest.raises(ProvisionError, match="container main exited with 3"):
        control.settle(0.3)
    assert set(addresses(control).values()) == {False}
    state = pods(control)[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (3, "Error")


def test_endpoints_are_a_hundred_a_slice_and_follow_named_ports():
    owner = {**service(ports=[{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}])}
    owner["metadata"]["uid"] = "u"

    def pod(number, port):
        ports = [{"name": "web", "containerPort": port, "protocol": "TCP"}]
        status = {"podIP": f"10.244.0.{number}", "phase": "Running"}
        meta = {"name": f"p{number}", "namespace": "shop", "uid": str(number), "labels": {"app": "web"}}
        spec = {"nodeName": "node-1", "containers": [{"name": "c", "ports": ports}]}
        return {"metadata": meta, "spec": spec, "status": status}

    found = list(endpoints.slices(owner, [pod(n, 8080) for n in range(1, 151)] + [pod(200, 9090)], {}))
    assert [len(piece["endpoints"]) for piece in found] == [100, 50, 1]
    assert [piece["ports"][0]["port"] for piece in found] == [8080, 8080, 9090]
    assert len({piece["metadata"]["name"] for piece in found}) == 3
    (empty,) = endpoints.slices(owner, [], {})
    assert (empty["endpoints"], empty["ports"]) == (None, None)


def test_where_pods_go():
    """A spread that must hold, anti-affinity that must, and one that only weighs."""
    nodes = [{"metadata": {"name": n, "labels": {"kubernetes.io/hostname": n}}} for n in ("a", "b", "c")]
    numbers = itertools.count()

    def pod(node=None, app="web", **spec):
        number = str(next(numbers))
        bound = {"nodeName": node} if node else {}
        meta = {"name": number, "uid": number, "namespace": "shop", "labels": {"app": app}}
        return {"metadata": meta, "spec": {**spec, **bound}}

    selector = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    must = [{**selector, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
    there = [pod("a"), pod("b"), pod("c", "other"), pod("c", "other"), pod("c", "other")]
    assert place(pod(topologySpreadConstraints=must), nodes, there) == "c"
    assert place(pod(), nodes, there) == "a"
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [selector]}}
    assert place(pod(affinity=apart), nodes, there) == "c"
    assert place(pod(affinity=apart), nodes, [*there, pod("c")]) is None
    weight = [{"weight": 100, "podAffinityTerm": selector}]
    prefer = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weight}}
    assert place(pod(affinity=prefer), nodes, [*there, pod("c"), pod("a")]) == "b"
    assert place(pod(nodeSelector={"kubernetes.io/hostname": "b"}), nodes, there) == "b"
