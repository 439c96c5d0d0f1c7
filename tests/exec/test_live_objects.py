"""What the live executor changes in a cluster: only labkit's own, on clusters it may change."""

import json
import threading
import time

import pytest

from labkit.errors import ApiError, MissingFeature, OwnershipError, RequestError
from labkit.exec import Apply, Delete
from tests.kube.cluster import OURS


def thing(kind, name, version="v1", namespace="cni-lab", **more):
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": {**meta, **more}}


def change(how, *things):
    names = tuple(f"{one['kind']}/{one['metadata']['name']}" for one in things)
    return how(step="s", objects=names, manifest=json.dumps(things))


DEPLOYMENT = thing("Deployment", "app", "apps/v1")
POLICY = thing("NetworkPolicy", "deny-all", "networking.k8s.io/v1")


def test_objects_are_applied_by_the_server_and_told_as_kubectl_tells_it(kube, live):
    space = thing("Namespace", "new", namespace="", labels=OURS)
    reply = live().run(change(Apply, DEPLOYMENT, thing("Service", "web", namespace="new"), space, POLICY))
    assert reply.stdout.decode().splitlines() == [
        "deployment.apps/app serverside-applied",
        "service/web serverside-applied",
        "namespace/new serverside-applied",
        "networkpolicy.networking.k8s.io/deny-all serverside-applied",
    ]
    patches = [path for method, path in kube.seen if method == "PATCH"]
    assert patches[0] == "/api/v1/namespaces/new?fieldManager=labkit&force=true"
    assert kube.store.get("Service", "new", "web")


def test_deleting_waits_until_all_is_gone(kube, live):
    kube.store.lingers_s = 0.4
    arm = live()
    arm.run(change(Apply, DEPLOYMENT, POLICY))
    reply = arm.run(change(Delete, POLICY, DEPLOYMENT, thing("Service", "never-was")))
    assert reply.stdout.decode().splitlines() == [
        'networkpolicy.networking.k8s.io "deny-all" deleted',
        'deployment.apps "app" deleted',
    ]
    assert (reply.exit_code, reply.duration_s > 0.3) == (0, True)
    assert kube.store.get("Deployment", "cni-lab", "app") is None


def test_what_has_taken_the_place_of_what_was_meant_stays(kube, live):
    kube.store.apply(thing("Service", "web"))
    meant = {**thing("Service", "web"), "metadata": kube.store.get("Service", "cni-lab", "web")["metadata"]}
    kube.store.delete("Service", "cni-lab", "web")
    kube.store.apply(thing("Service", "web"))
    with pytest.raises(OwnershipError, match="Service/web is another now"):
        live().run(change(Delete, meant))
    assert kube.store.get("Service", "cni-lab", "web")


def test_a_namespace_that_is_being_deleted_is_waited_for(kube, live):
    message = "The system is ensuring all content is removed from this namespace"
    kube.faults.add("DELETE /api/v1/namespaces/cni-lab$", nth=1, status=409, message=message)
    threading.Timer(0.5, kube.store.delete, ["Namespace", "", "cni-lab"]).start()
    reply = live().run(change(Delete, thing("Namespace", "cni-lab", namespace="")))
    assert (reply.exit_code, reply.duration_s > 0.3) == (0, True)


def test_what_does_not_go_is_named(kube, live):
    kube.store.lingers_s = 30
    arm = live(delete_s=0.5)
    arm.run(change(Apply, DEPLOYMENT))
    reply = arm.run(change(Delete, DEPLOYMENT))
    assert (reply.exit_code, b"Deployment/app" in reply.stderr) == (None, True)


def test_thousands_of_services_come_and_go(kube, live):
    many = [thing("Service", f"scale-{i:05d}") for i in range(2000)]
    arm = live()
    lines = arm.run(change(Apply, *many)).stdout.decode().splitlines()
    assert lines == [f"service/scale-{i:05d} serverside-applied" for i in range(2000)]
    assert len(kube.store.list("Service")[0]) == 2000
    arm.run(change(Delete, *many))
    assert kube.store.list("Service")[0] == []


@pytest.mark.parametrize(
    "things",
    [
        [thing("ConfigMap", "x", namespace="kube-system")],
        [thing("ConfigMap", "x", namespace="default")],
        [thing("ConfigMap", "x", namespace="not-there")],
        [thing("ConfigMap", "x", namespace="")],
        [thing("Namespace", "kube-system", namespace="", labels=OURS)],
        [thing("Namespace", "unlabelled", namespace="")],
        [thing("ClusterRole", "all", "rbac.authorization.k8s.io/v1", namespace="")],
    ],
)
@pytest.mark.parametrize("how", [Apply, Delete])
def test_nothing_outside_labkits_namespaces_is_touched(kube, live, how, things):
    before = kube.store.version
    arm = live(created=True)
    if things[0]["metadata"]["name"] == "unlabelled" and how is Delete:
        kube.store.apply(things[0])
        before = kube.store.version
    with pytest.raises(OwnershipError):
        arm.run(change(how, thing("ConfigMap", "mine"), *things))
    assert kube.store.version == before


@pytest.mark.parametrize("how", [Apply, Delete])
def test_a_cluster_that_labkit_did_not_create_is_not_changed_unasked(kube, live, how):
    with pytest.raises(OwnershipError, match="--allow-context fake"):
        live(allow_context="another").run(change(how, POLICY))
    with pytest.raises(MissingFeature, match="read-only"):
        live(read_only=True).run(change(how, POLICY))
    assert {method for method, _ in kube.seen} == {"GET"}


def test_a_kind_that_is_not_served_is_a_missing_feature(live):
    with pytest.raises(MissingFeature, match=r"does not serve CiliumNetworkPolicy of cilium.io/v2"):
        live().run(change(Apply, thing("CiliumNetworkPolicy", "x", "cilium.io/v2")))


def test_a_request_from_a_recording_carries_nothing_to_send(live):
    with pytest.raises(RequestError, match="carries 0"):
        live().run(Delete(step="s", objects=("Service/x",)))


def test_the_default_service_account_of_a_new_namespace_is_waited_for(kube, live):
    message = 'pods "x" is forbidden: error looking up service account cni-lab/default: serviceaccount "default" not found'
    kube.faults.add("PATCH .*/pods/x", status=403, message=message)
    pod = thing("Pod", "x")
    assert live().run(change(Apply, pod)).exit_code == 0
    kube.faults.add("PATCH .*/pods/y", status=403)
    with pytest.raises(ApiError, match="labkit doctor"):
        live().run(change(Apply, thing("Pod", "y")))


def test_a_change_is_waited_for_by_watching(kube, live):
    arm, pods = live(), "/api/v1/namespaces/cni-lab/pods"
    since = str(kube.store.version)
    begun = time.monotonic()
    threading.Timer(0.3, kube.store.apply, [thing("Pod", "new")]).start()
    arm.await_change(pods, since, 10)
    assert 0.2 < time.monotonic() - begun < 3
    arm.await_change(pods, since, 10)  # it has changed already
    kube.store.compact()
    arm.await_change(pods, since, 10)  # too old: it may have changed
    assert time.monotonic() - begun < 3


def test_what_cannot_be_watched_is_waited_for_all_the_same(kube, live):
    arm, pods = live(), "/api/v1/namespaces/cni-lab/pods"
    begun = time.monotonic()
    arm.await_change(pods, str(kube.store.version), 1)  # nothing happens
    kube.faults.add("GET .*/pods.*watch=true", nth=1, status=403)
    arm.await_change(pods, str(kube.store.version), 0.5)
    assert 1.4 < time.monotonic() - begun < 4
    kube.faults.add("GET .*/pods.*watch=true", nth=1, drop=True)
    arm.await_change(pods, str(kube.store.version), 10)
    assert time.monotonic() - begun < 5
