"""The rules that are generated of recorded Services against those that the real kube-proxy wrote for them."""

import re
import time

import pytest

from labkit.netns import kube_proxy_rules as rules
from labkit.netns.topology import Node, Topology
from labkit.parse.kubernetes import items
from tests.conftest import arm
from tests.netns.rulesets import assert_alike, generated, parsed

#: Wiring and pod range of the recorded arms.
ARMS = {"overlay-vxlan": ("vxlan", "10.244.0.0/16"), "overlay-routed": ("routed", "10.246.0.0/16")}


def like(name):
    """The topology of a recorded arm, as far as rules need it."""
    wiring, pods = ARMS[name]
    return Topology("recorded", "", wiring, "iptables", pod_cidr=pods)


def node_of(name, node, number):
    return Node(node, "", f"{ARMS[name][1].removesuffix('.0.0/16')}.{number}.0/24")


def recorded(name, step):
    """Services, slices, and `iptables-save -c` of each node in a step."""
    at = arm(name).at(step)
    saved = {
        node: at.run(f"node/{node}", ["iptables-save", "-c"]).text
        for node in (item["metadata"]["name"] for item in items(arm(name).read("/api/v1/nodes").stdout))
    }
    services, slices = (
        items(at.read(path).stdout)
        for path in ("/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices")
    )
    return services, slices, saved


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("step", ["baseline", "services-100"])
def test_the_rules_are_those_of_the_real_kube_proxy(name, step):
    services, slices, saved = recorded(name, step)
    assert len(saved) == 2
    for number, (node, text) in enumerate(sorted(saved.items())):
        made = generated(like(name), node_of(name, node, number), services, slices)
        assert_alike(made, parsed(text))


def late(services, slices):
    """Slices that came between the reading of them and of the rules: like those of the other Services."""
    there = {piece["metadata"]["labels"]["kubernetes.io/service-name"] for piece in slices}
    like = next(p for p in slices if p["metadata"]["name"].startswith("scale-"))
    for name in (service["metadata"]["name"] for service in services):
        if name.startswith("scale-") and name not in there:
            labels = {"kubernetes.io/service-name": name}
            yield {**like, "metadata": {**like["metadata"], "labels": labels}}


@pytest.mark.parametrize("name", ARMS)
def test_a_large_cluster_loses_the_comments_of_what_is_written_new(name):
    """kube-proxy left alone the chains it had written when there were fewer endpoints: they keep theirs."""
    services, slices, saved = recorded(name, "services-1000")
    assert sum(len(p["endpoints"]) * len(p["ports"]) for p in slices) > rules.LARGE_CLUSTER
    slices = [*slices, *late(services, slices)]
    node, text = min(saved.items())
    kept = set(re.findall(r'-A KUBE-SEP-\S+ .*--comment "([^"]+)"', text))
    made = generated(
        like(name), node_of(name, node, 0), services, slices, comments=lambda port: port.name in kept
    )
    assert_alike(made, parsed(text))


def port(*endpoints, **fields):
    known = {
        "name": "shop/web", "protocol": "tcp", "cluster_ip": "10.0.1.2", "port": 80, "node_port": None,
        "affinity_s": None, "internal_local": False, "external_local": False, "endpoints": endpoints,
    }  # fmt: skip
    return rules.ServicePort(**{**known, **fields})


def test_a_service_without_endpoints_is_refused():
    made = rules.of_port(port(node_port=30080), "a", "10.244.0.0/16")
    assert not made.chains
    assert {(table, chain) for table, chain, _ in made.shared} == {
        ("filter", "KUBE-SERVICES"),
        ("filter", "KUBE-EXTERNAL-SERVICES"),
    }
    assert all(rule.endswith("-j REJECT --reject-with icmp-port-unreachable") for *_, rule in made.shared)
    assert '"shop/web has no endpoints"' in made.shared[0][2]


def test_a_node_port_goes_through_the_external_chain():
    made = rules.of_port(port(("10.244.0.2:80", "a"), node_port=30080), "a", "10.244.0.0/16")
    external = next(chain for chain in made.chains if chain.startswith("KUBE-EXT-"))
    assert [rule for _, chain, rule in made.shared if chain == "KUBE-NODEPORTS"] == [
        f'-p tcp -m comment --comment "shop/web" -m tcp --dport 30080 -j {external}'
    ]
    assert made.chains[external][0].endswith("-j KUBE-MARK-MASQ")
    assert made.chains[external][1] == f"-j {external.replace('EXT', 'SVC')}"


def test_a_local_policy_keeps_to_the_node():
    """internalTrafficPolicy Local: only the endpoints of the node, and a drop where it has none."""
    local = port(("10.244.0.2:80", "a"), ("10.244.1.2:80", "b"), internal_local=True)
    here = rules.of_port(local, "a", "10.244.0.0/16")
    assert sorted(chain[:8] for chain in here.chains) == ["KUBE-SEP", "KUBE-SVL"]
    assert "10.244.1.2" not in str(here.chains)
    ((table, chain, rule),) = rules.of_port(local, "c", "10.244.0.0/16").shared
    assert (table, chain) == ("filter", "KUBE-SERVICES")
    assert "has no local endpoints" in rule
    assert rule.endswith("-j DROP")


def test_thirds_are_written_as_the_kernel_keeps_them():
    three = port(*((f"10.244.0.{n}:80", "a") for n in (2, 3, 4)))
    made = rules.of_port(three, "a", "10.244.0.0/16")
    chances = re.findall(r"--probability (\S+)", str(made.chains))
    assert chances == ["0.33333333349", "0.50000000000"]


def test_ten_thousand_services_take_no_longer_than_a_second_or_two():
    started = time.process_time()
    ports = [
        port(("10.244.0.2:80", "a"), ("10.244.1.2:80", "b"), name=f"cni-lab/scale-{n:05}",
             cluster_ip=f"10.0.{n // 250}.{n % 250}")
        for n in range(10_000)
    ]  # fmt: skip
    made = rules.tables(rules.of_port(p, "a", "10.244.0.0/16", comments=False) for p in ports)
    assert len(made["nat"]["KUBE-SERVICES"]) == 10_001
    assert len(made["nat"]) == 30_000 + 5
    assert time.process_time() - started < 6  # 1 s where this was written; a busy machine gets some room
