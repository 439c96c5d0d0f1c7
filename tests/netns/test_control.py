"""The control plane as a whole, on machines without a kernel: what is there after boot, and what it says."""

import json

import pytest

from labkit.errors import ParameterError, ProvisionError
from labkit.netns.control import ControlPlane
from labkit.netns.kubelet import STAND_IN
from labkit.netns.resolver import FILE, hosts
from labkit.parse import kubernetes, objects
from tests.netns.fake_machines import FakeMachines
from tests.netns.test_controllers import LIMIT_S, NoDataplane, containers, deployment
from tests.netns.test_store import named, service


@pytest.fixture(params=["vxlan", "routed"])
def machines(request):
    return FakeMachines(request.param)


@pytest.fixture
def control(machines):
    made = ControlPlane(machines)
    made.boot()
    yield made
    made.close()


def read(control, path):
    status, body = control.read(path)
    assert status == 200
    return body


def test_a_cluster_is_there_after_boot(control):
    nodes = kubernetes.nodes(read(control, "/api/v1/nodes"))
    assert list(nodes["node_ip"]) == ["10.224.0.4", "10.224.0.5"]
    assert nodes["ready"].all()
    assert nodes["boot_id"].nunique() == 1, "nodes that share a kernel say so"
    pods = kubernetes.pods(read(control, "/api/v1/pods"))
    assert pods["ready"].all()
    assert pods.groupby("app")["node"].nunique().to_dict() == {"kube-dns": 2, "kube-proxy": 2}
    services = kubernetes.services(read(control, "/api/v1/services"))
    assert set(services["cluster_ip"]) == {"10.0.0.10"}
    assert "kubernetes" not in set(services["service"]), "no API server listens for pods"
    endpoints = kubernetes.endpoints(read(control, "/apis/discovery.k8s.io/v1/endpointslices"))
    assert set(zip(endpoints["port_name"], endpoints["protocol"], strict=True)) == {
        ("dns", "UDP"),
        ("dns-tcp", "TCP"),
    }
    config = kubernetes.config_map(read(control, "/api/v1/namespaces/kube-system/configmaps"), "kube-proxy")
    assert "mode: iptables" in config["config.conf"]
    assert set(objects.objects(read(control, "/api/v1/namespaces"), "Namespace")["name"]) == {
        "default", "kube-node-lease", "kube-public", "kube-system",
    }  # fmt: skip


def test_what_has_no_process_says_so(control, machines):
    stand_ins = control.store.list("Pod", label_selector="k8s-app=kube-proxy")
    assert all("no process runs" in pod["metadata"]["annotations"][STAND_IN] for pod in stand_ins)
    assert {name.split("-")[0] for _, name in machines.started} == {"coredns"}


def test_every_node_has_rules_after_boot(control, machines):  # noqa: ARG001
    plugin = {"vxlan": "FLANNEL-POSTRTG", "routed": "IP-MASQ-AGENT"}[machines.topology.wiring]
    for node in machines.topology.nodes:
        text = "".join(i.decode() for t, a, i in machines.ran if t == f"node/{node.name}" and i)
        assert "-d 10.0.0.10/32 -p udp" in text
        assert f":{plugin} - [0:0]" in text
        jumps = [line for line in text.splitlines() if line.startswith(("-I POSTROUTING", "-A POSTROUTING"))]
        assert jumps[-1].startswith("-A POSTROUTING")
        assert jumps[-1].endswith(plugin), "the plugin's rules stand behind kube-proxy's"


def test_a_lab_without_kube_proxy_has_none_of_it():
    machines = FakeMachines("ebpf")
    control = ControlPlane(machines, NoDataplane())
    control.boot()
    (programs,) = control.store.list("DaemonSet")
    assert programs["metadata"]["name"] == "labkit-ebpf"
    assert "eBPF programs and maps" in programs["metadata"]["annotations"][STAND_IN]
    assert control.store.list("ConfigMap") == []
    assert control._dataplane.last["Service"]
    control.close()


def test_objects_are_applied_and_deleted_as_kubectl_says(control):
    made = control.apply([named("Namespace", "shop"), {"kind": "List", "items": [deployment(), service()]}])
    assert [item["metadata"]["name"] for item in made] == ["shop", "web", "web"]
    control.settle(LIMIT_S)
    policy = named("NetworkPolicy", "deny-all", spec={"podSelector": {}})
    control.apply([policy])
    assert len(json.loads(read(control, "/apis/networking.k8s.io/v1/networkpolicies"))["items"]) == 1
    assert control.delete([policy, policy]) == ['networkpolicy.networking.k8s.io "deny-all"'] * 2
    assert control.delete([policy]) == []
    assert control.delete([deployment(), service()]) == ['deployment.apps "web"', 'service "web"']
    control.settle(LIMIT_S)
    assert control.store.list("Pod", "shop") == control.store.list("EndpointSlice", "shop") == []


def test_an_unknown_kind_stops_all_of_it(control):
    with pytest.raises(ParameterError, match=r"knows no Gateway .*; it knows Namespace \(v1\), Node"):
        control.apply([named("Namespace", "shop"), {"apiVersion": "x/v1", "kind": "Gateway", "metadata": {}}])
    assert control.store.get("Namespace", "", "shop") is None


def test_names_are_written_for_the_pods_that_answer(control, machines):
    headless = service("db", clusterIP="None", selector={"app": "web"})
    control.apply([named("Namespace", "shop"), deployment(), service(), headless])
    control.settle(LIMIT_S)
    ip = control.store.get("Service", "shop", "web")["spec"]["clusterIP"]
    pods = sorted(pod["status"]["podIP"] for pod in control.store.list("Pod", "shop"))
    wanted = [
        *(f"{at} db.shop.svc.cluster.local" for at in pods),
        f"{ip} web.shop.svc.cluster.local",
        "10.0.0.10 kube-dns.kube-system.svc.cluster.local",
    ]
    assert len(machines.written) == 2
    for (target, path), text in machines.written.items():
        assert target.startswith("pod/kube-system/coredns-")
        assert target.endswith("/coredns")
        assert path == FILE
        assert sorted(text.decode().splitlines()) == sorted(wanted)
    assert hosts([], []) == b""


def test_a_dataplane_that_fails_is_told_and_tried_again(machines):
    class Once(NoDataplane):
        calls = 0

        def sync(self, objects):  # noqa: ARG002
            self.calls += 1
            if self.calls == 2:
                raise ProvisionError("no room in the map")

    control = ControlPlane(machines, Once())
    control.boot()
    while not any(follower.failure for follower in control._followers):
        control.apply([named("Namespace", "shop"), deployment(replicas=1)])
        control.delete([named("Namespace", "shop")])
    with pytest.raises(ProvisionError, match="dataplane: no room in the map"):
        control.settle(0)
    control.settle(LIMIT_S)
    control.close()


def test_a_boot_that_cannot_be_says_why():
    class Deaf(FakeMachines):
        def listening(self, namespace, name):  # noqa: ARG002
            return set()

    control = ControlPlane(Deaf(), NoDataplane())
    with pytest.raises(ProvisionError, match=r"kube-system/coredns-.*: container coredns is not ready"):
        control.boot(limit_s=0.3)
    control.close()


def test_a_pod_may_be_made_again_under_its_name(control):
    pod = named("Pod", "one", spec=containers())
    control.apply([named("Namespace", "shop"), pod])
    control.settle(LIMIT_S)
    for _ in range(5):
        control.delete([pod])
        control.apply([pod])
        control.settle(LIMIT_S)
    assert len(control.store.list("Pod", "shop")) == 1
