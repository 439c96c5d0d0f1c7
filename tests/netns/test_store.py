"""The store: what applying does, what watchers see, and what reads answer."""

import json
import threading

import pytest

from labkit.errors import ParameterError
from labkit.netns import api
from labkit.netns.admission import Admission
from labkit.netns.kinds import KINDS
from labkit.netns.selectors import by_fields, by_labels
from labkit.netns.store import Expired, Store
from labkit.netns.topology import TOPOLOGIES
from labkit.parse import kubernetes, network_policy, objects
from tests.conftest import arm
from tests.conftest import recorded as replies


def named(kind, name, namespace="shop", **fields):
    meta = {"name": name, **({"namespace": namespace} if KINDS[kind].namespaced else {})}
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": meta, **fields}


def service(name="web", **spec):
    return named("Service", name, spec={"selector": {"app": "web"}, "ports": [{"port": 80}], **spec})


@pytest.fixture
def store():
    made = Store(Admission(TOPOLOGIES["routed"]))
    made.apply(named("Namespace", "shop"))
    return made


def body(store, path):
    status, text = api.read(store, path)
    assert status == 200, text
    return text


def test_an_apply_that_changes_nothing_is_no_change(store):
    first = store.apply(service())
    assert store.apply(service()) is first
    other = store.apply(service(sessionAffinity="ClientIP"))
    assert int(other["metadata"]["resourceVersion"]) == int(first["metadata"]["resourceVersion"]) + 1
    assert other["metadata"]["uid"] == first["metadata"]["uid"]
    assert other["spec"]["clusterIP"] == first["spec"]["clusterIP"]
    assert other["spec"]["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert first["spec"]["sessionAffinity"] == "None", "an object that was handed out does not change"


def test_the_status_stays_and_a_spec_that_changes_is_counted(store):
    policy = named("NetworkPolicy", "deny", spec={"podSelector": {}, "policyTypes": ["Ingress"]})
    made = store.apply(policy)
    assert made["metadata"]["generation"] == 1
    store.set_status(made, {"seen": True})
    again = store.apply({**policy, "spec": {**policy["spec"], "policyTypes": ["Egress"]}})
    assert (again["metadata"]["generation"], again["status"]) == (2, {"seen": True})


def test_the_same_services_get_the_same_addresses_each_time(store):
    made = [store.apply(service(f"web-{n}", type="NodePort"))["spec"] for n in range(300)]
    assert (
        len({spec["clusterIP"] for spec in made})
        == len({spec["ports"][0]["nodePort"] for spec in made})
        == 300
    )
    again = Store(Admission(TOPOLOGIES["routed"]))
    again.apply(named("Namespace", "shop"))
    assert [again.apply(service(f"web-{n}", type="NodePort"))["spec"] for n in range(300)] == made
    with pytest.raises(ParameterError, match="belongs to Service shop/web-7"):
        store.apply(service("other", clusterIP=made[7]["clusterIP"]))
    store.delete("Service", "shop", "web-7")
    assert store.apply(service("other", clusterIP=made[7]["clusterIP"]))


def test_what_cannot_be_is_refused(store):
    with pytest.raises(ParameterError, match=r"knows no Ingress of networking.k8s.io/v1; it knows Namespace"):
        store.apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "x"}})
    with pytest.raises(ParameterError, match='namespaces "nowhere" not found'):
        store.apply(named("ConfigMap", "x", "nowhere"))
    with pytest.raises(ParameterError, match="not in the Service range"):
        store.apply(service(clusterIP="192.0.2.1"))
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"app": "b"}}, "template": template}
    with pytest.raises(ParameterError, match="does not select its own pods"):
        store.apply(named("Deployment", "x", spec=spec))


def test_a_watch_goes_on_from_where_it_was(store):
    start = store.version
    store.apply(service())
    store.apply(service(sessionAffinity="ClientIP"))
    store.delete("Service", "shop", "web")
    changes = store.watch(start, 1)
    assert [change.type for change in changes] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(change.item["metadata"]["resourceVersion"]) for change in changes]
    assert versions == [change.version for change in changes] == [start + 1, start + 2, start + 3]
    assert [c.type for c in store.watch(start + 2, 1)] == ["DELETED"]
    assert store.watch(store.version, 0.01) == []
    threading.Timer(0.05, store.apply, [service("later")]).start()
    assert [c.item["metadata"]["name"] for c in store.watch(store.version, 5)] == ["later"]


def test_a_watch_from_too_long_ago_says_so():
    store = Store(remembered=100)
    store.apply(named("Namespace", "shop"))
    for number in range(100):
        store.set_status(store.get("Namespace", "", "shop"), {"number": number})
    with pytest.raises(Expired):
        store.watch(0, 0)
    assert len(store.watch(store.version - 7, 0)) == 7


def test_a_pod_is_deleted_in_two_steps(store):
    spec = {"containers": [{"name": "c", "image": "i"}]}
    made = store.apply(named("Pod", "one", spec=spec))
    ending = store.delete("Pod", "shop", "one")
    assert ending["metadata"]["deletionTimestamp"]
    assert store.delete("Pod", "shop", "one") is ending
    store.delete("Pod", "shop", "one", at_once=True)
    assert store.get("Pod", "shop", "one") is None
    assert store.set_status(made, {"phase": "Running"}) is None
    store.apply(named("Pod", "two", spec=spec))
    with pytest.raises(ParameterError, match="cannot be changed"):
        store.apply(named("Pod", "two", spec={**spec, "hostNetwork": True}))


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("app=web", {"app": "web"}, True),
        ("app==web,tier!=back", {"app": "web", "tier": "back"}, False),
        ("tier in (a, b),!old", {"tier": "b"}, True),
        ("tier notin (a,b)", {"tier": "a"}, False),
        ("app", {}, False),
        ("!app", {}, True),
        ("", {"any": "thing"}, True),
    ],
)
def test_label_selectors(text, labels, selected):
    assert by_labels(text)(labels) is selected


def test_what_is_no_selector_is_refused(store):
    assert by_fields("metadata.name=a,spec.nodeName!=b")({"metadata": {"name": "a"}, "spec": {}})
    with pytest.raises(ParameterError, match="not a label selector"):
        by_labels("a in b")
    status, text = api.read(store, "/api/v1/pods?labelSelector=a+in+b")
    assert (status, json.loads(text)["reason"]) == (400, "BadRequest")


def test_lists_are_shaped_as_recorded_ones(store):
    """Every member of a recorded object that does not come from another owner or another program is there."""
    port = {"protocol": "TCP", "port": 80, "targetPort": 80}
    store.apply(service("backend-service", ports=[port]))
    (mine,) = json.loads(body(store, "/api/v1/services"))["items"]
    recorded = json.loads(replies("overlay-vxlan", "GET /api/v1/services")[0].stdout)
    theirs = next(i for i in recorded["items"] if i["metadata"]["name"] == "backend-service")
    assert mine.keys() == theirs.keys()
    assert mine["spec"].keys() == theirs["spec"].keys()
    assert mine["spec"]["ports"] == theirs["spec"]["ports"]
    assert theirs["metadata"].keys() - mine["metadata"].keys() == {"labels", "managedFields"}
    mine_list = json.loads(body(store, "/api/v1/namespaces"))
    assert {k: type(v) for k, v in mine_list.items()} == {k: type(v) for k, v in recorded.items()}
    assert mine_list["kind"] == "NamespaceList"
    theirs = json.loads(replies("overlay-vxlan", "GET /api/v1/namespaces")[0].stdout)["items"]
    assert mine_list["items"][0]["spec"] == theirs[0]["spec"]
    assert mine_list["items"][0]["status"] == theirs[0]["status"]


def test_reads_of_what_is_and_what_is_not(store):
    store.apply(service())
    store.apply(
        {**service("db"), "metadata": {"name": "db", "namespace": "shop", "labels": {"tier": "back"}}}
    )
    one = json.loads(body(store, "/api/v1/namespaces/shop/services/web"))
    assert (one["kind"], one["apiVersion"], one["metadata"]["name"]) == ("Service", "v1", "web")

    def names(path):
        return [item["metadata"]["name"] for item in json.loads(body(store, path))["items"]]

    assert names("/api/v1/services") == names("/api/v1/namespaces/shop/services") == ["db", "web"]
    assert names("/api/v1/namespaces/other/services") == []
    assert names("/api/v1/services?labelSelector=tier%3Dback") == ["db"]
    assert names("/api/v1/services?fieldSelector=metadata.name=web&limit=500") == ["web"]
    status, text = api.read(store, "/api/v1/namespaces/shop/services/none")
    told = json.loads(text)
    assert (status, told["kind"], told["reason"], told["code"]) == (404, "Status", "NotFound", 404)
    assert told["message"] == 'services "none" not found'
    assert told["details"] == {"name": "none", "kind": "services"}
    for path in ("/apis/batch/v1/jobs", "/api/v1/secrets", "/", "/api/v1/namespaces/shop/nodes"):
        assert api.read(store, path)[0] == 404, path


def test_what_the_api_says_of_itself(store):
    assert kubernetes.version(body(store, "/version")) == "v1.36.0+labkit-netns"
    assert b'"cilium.io"' not in body(store, "/apis")
    groups = json.loads(body(store, "/apis"))["groups"]
    recorded = json.loads(arm("overlay-vxlan").read("/apis").stdout)["groups"]
    assert all(group in recorded for group in groups)
    assert json.loads(body(store, "/api"))["versions"] == ["v1"]
    plurals = [r["name"] for r in json.loads(body(store, "/apis/apps/v1"))["resources"]]
    assert plurals == ["deployments", "replicasets", "daemonsets"]


def test_policies_read_as_on_a_cluster(store):
    recorded = json.loads(
        replies("overlay-vxlan", "GET /apis/networking", step="policy-allow-frontend")[0].stdout
    )
    store.apply(named("Namespace", "cni-lab"))
    for item in recorded["items"]:
        spec = json.loads(json.dumps(item["spec"]).replace('"protocol": "TCP", ', ""))
        store.apply(named("NetworkPolicy", item["metadata"]["name"], "cni-lab", spec=spec))
    mine = body(store, "/apis/networking.k8s.io/v1/networkpolicies")
    theirs = json.dumps(recorded).encode()
    assert network_policy.rules(mine).equals(network_policy.rules(theirs))
    assert network_policy.policies(mine).equals(network_policy.policies(theirs))
    assert len(objects.objects(mine, "NetworkPolicy")) == 4
