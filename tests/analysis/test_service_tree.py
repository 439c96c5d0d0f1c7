import time
from pathlib import Path

import pandas as pd
import pytest

from labkit.analysis.service_tree import of_service, tree, with_pods
from labkit.collect import kubernetes, services
from labkit.parse import iptables

CASES = Path(__file__).parents[1] / "cases" / "iptables"


@pytest.fixture(scope="module")
def three():
    """A Service with three endpoints, a load balancer and a node port, as iptables-save printed it."""
    return tree(iptables.rules((CASES / "1.8.9-nft.txt").read_bytes()))


def test_chances_are_multiplied_down_the_chain(three):
    assert three["endpoint_ip"].tolist() == ["10.244.2.5", "10.244.2.6", "10.244.2.7"]
    assert three["probability"].tolist() == pytest.approx([1 / 3] * 3, abs=1e-9)
    assert three["packets"].tolist() == [1, 2, 0]
    assert three["endpoint"].tolist() == [1, 2, 3]


def test_only_cluster_addresses_are_services(three):
    assert set(three["cluster_ip"]) == {"10.0.11.45"}
    assert set(three["service"]) == {"default/nginx"}
    assert three[["position", "service_packets"]].drop_duplicates().to_numpy().tolist() == [[1, 3]]


def test_without_arm_and_node_there_are_no_such_columns(three):
    assert not {"arm", "node"} & set(three.columns)


@pytest.mark.parametrize("step", ["baseline", "load-balancing", "services-1000"])
@pytest.mark.parametrize("name", ["vxlan", "routed"])
def test_chances_of_every_service_are_one_together(name, step, request):
    found = tree(services.rules(request.getfixturevalue(name).at(step)))
    sums = found.groupby(["node", "cluster_ip", "protocol", "port"])["probability"].sum()
    assert sums.tolist() == pytest.approx([1] * len(sums))
    assert found["endpoint_ip"].notna().all()
    assert len(sums) == (2012 if step == "services-1000" else 12)


def test_the_tree_is_what_the_api_says(vxlan):
    found = tree(services.rules(vxlan))
    wanted = kubernetes.endpoints(vxlan)
    ports = found["service"].str.partition(":")[2]
    mine = set(
        zip(
            found["service"].str.partition(":")[0],
            ports,
            found["endpoint_ip"],
            found["endpoint_port"],
            strict=True,
        )
    )
    theirs = set(
        zip(
            wanted["namespace"] + "/" + wanted["service"],
            wanted["port_name"].fillna(""),
            wanted["address"],
            wanted["port"],
            strict=True,
        )
    )
    assert mine <= theirs
    assert {service for service, *_ in mine} == {"cni-lab/backend-service", "cni-lab/perf-server",
                                                 "kube-system/kube-dns", "default/kubernetes"}  # fmt: skip


def test_counters_after_708_connections_from_each_node(vxlan):
    found = of_service(tree(services.rules(vxlan.at("load-balancing"))), "backend-service")
    assert found.groupby("node")["packets"].sum().tolist() == [708, 708]
    assert found["packets"].tolist() == [346, 362, 359, 349]
    assert found["service_packets"].tolist() == [708] * 4


def test_remembered_clients_do_not_change_the_chances(vxlan):
    found = of_service(tree(services.rules(vxlan)), "cni-lab/perf-server")
    assert found["affinity"].all()
    assert found["probability"].tolist() == [0.5] * 8
    assert set(found["service"]) == {"cni-lab/perf-server:tcp", "cni-lab/perf-server:udp"}


def test_a_thousand_services_take_no_time_and_no_comments(vxlan):
    rules = services.rules(vxlan.at("services-1000"))
    start = time.perf_counter()
    found = tree(rules)
    assert time.perf_counter() - start < 1
    assert of_service(found, "scale-00999")["endpoint_ip"].nunique() == 2
    assert found["position"].max() > 1000


def test_pods_behind_endpoints(vxlan):
    found = with_pods(tree(services.rules(vxlan)), kubernetes.pods(vxlan))
    backend = of_service(found, "backend-service")
    assert set(backend["pod_node"]) == {"vxlan-node-0", "vxlan-node-1"}
    assert backend["pod"].str.startswith("app-backend-").all()
    assert of_service(found, "kubernetes")["pod"].isna().all()  # the API server is no pod of its own


def test_no_kube_proxy_is_an_empty_tree(cilium):
    found = tree(services.rules(cilium))
    assert found.empty
    assert of_service(with_pods(found, kubernetes.pods(cilium)), "backend-service").empty
    assert str(found["probability"].dtype) == "float64"
    assert list(tree(services.rules.schema.empty()).columns) == list(found.columns)


def test_arms_keep_their_order(vxlan, routed):
    frames = [services.rules(cluster).assign(arm=cluster.arm) for cluster in (vxlan, routed)]
    assert list(dict.fromkeys(tree(pd.concat(frames, ignore_index=True))["arm"])) == [
        "overlay-vxlan",
        "overlay-routed",
    ]
