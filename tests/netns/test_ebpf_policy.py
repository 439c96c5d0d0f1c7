"""Policies as entries of maps: the same verdicts as the policy model's, wherever that has one."""

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from pathlib import Path

import pytest

from labkit.analysis.policy_model import Flow, Peer, decide, records
from labkit.netns.ebpf import layout
from labkit.netns.ebpf.policy import Policies, pods, prefixes, verdicts
from labkit.parse import network_policy

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
OUTSIDE = ("8.8.8.8", "172.17.2.9", "172.17.1.9")
PROBES = [("TCP", 80), ("TCP", 53), ("TCP", 5201), ("TCP", 6379), ("UDP", 53), ("UDP", 5201), ("ICMP", None)]
NUMBERS = {**layout.PROTOCOLS, "ICMP": 1}


def looked_up(found, ip, kind, peer_ip, protocol, port):
    """What the programs do with the entries."""
    if (ip, kind) not in found:
        return True
    networks = [network for network in found[ip, kind] if IPv4Address(peer_ip) in network]
    if not networks:
        return False
    openings = found[ip, kind][max(networks, key=lambda network: network.prefixlen)]
    return any(
        number is None or (number == NUMBERS[protocol] and (port or 0) >> (16 - bits) == at >> (16 - bits))
        for number, at, bits in openings
    )


class Compiled:
    """The verdicts of every node's maps together: each pod is asked on its own."""

    def __init__(self, policies, objects, namespaces):
        self.found, every = {}, pods(objects)
        for node in {pod.node for pod in every}:
            self.found |= verdicts(policies, every, namespaces, node, "192.0.2.1")

    def allows(self, source, destination, protocol, port):
        ends = ((source.ip, "Egress", destination.ip), (destination.ip, "Ingress", source.ip))
        return all(looked_up(self.found, *end, protocol, port) for end in ends)


def recorded(arm, step, path):
    """Items of the first answer to a read."""
    for line in (RECORDINGS / arm / "replies.jsonl").read_text().splitlines():
        reply = json.loads(line)
        if reply["step"] == step and reply["request"].get("path") == path:
            text = reply.get("stdout") or (RECORDINGS / arm / reply["stdout_blob"]).read_text()
            return json.loads(text)["items"]
    raise LookupError(path)


def compare(policies, objects, namespaces):
    """How often the model allows, blocks and cannot say; the others agree."""
    labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in namespaces}
    peers = [Peer(p.ip, p.namespace, dict(p.labels), labels.get(p.namespace, {})) for p in pods(objects)]
    peers += [Peer(ip) for ip in OUTSIDE]
    rules = records(network_policy.rules(json.dumps({"kind": "List", "items": policies}).encode()))
    counts, compiled = {True: 0, False: 0, None: 0}, Compiled(policies, objects, namespaces)
    for source, destination in product(peers, peers):
        if source.ip == destination.ip:
            continue
        for protocol, port in PROBES:
            expected = decide(rules, Flow(source, destination, protocol, port)).allowed
            counts[expected] += 1
            if expected is not None:
                got = compiled.allows(source, destination, protocol, port)
                assert got == expected, (source, destination, protocol, port)
    return counts


@pytest.mark.parametrize("step", ["policy-deny-all", "policy-allow-frontend"])
@pytest.mark.parametrize("arm", ["overlay-routed", "cilium"])
def test_recorded_policies_mean_what_the_model_says(arm, step):
    policies = recorded(arm, step, "/apis/networking.k8s.io/v1/networkpolicies")
    objects, namespaces = (recorded(arm, "baseline", f"/api/v1/{kind}") for kind in ("pods", "namespaces"))
    counts = compare(policies, objects, namespaces)
    assert counts[True] > 50
    assert counts[False] > 50


def pod(name, namespace, ip, **labels):
    port = {"name": "web", "containerPort": 8080}
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": f"node-{len(name) % 2}", "containers": [{"ports": [port]}]},
        "status": {"podIP": ip, "phase": "Running"},
    }


PODS = [
    pod("db", "default", "10.0.0.1", role="db", app="db"),
    pod("frontend", "default", "10.0.0.2", role="frontend"),
    pod("client", "default", "10.0.0.3", role="client"),
    pod("elsewhere", "other", "10.0.0.4", role="frontend"),
]
NAMESPACES = [{"metadata": {"name": "default"}}, {"metadata": {"name": "other", "labels": {"project": "p"}}}]
DB = {"matchLabels": {"role": "db"}}
BLOCK = {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}}
IN = {
    "deny": {},
    "allow-all": {"ingress": [{}]},
    "from-frontend": {"ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "frontend"}}}]}]},
    "from-project": {"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"project": "p"}}}]}]},
    "both-selectors": {"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"role": "frontend"}}}]}]},
    "expressions": {"ingress": [{"from": [{"podSelector": {"matchExpressions": [
        {"key": "role", "operator": "NotIn", "values": ["client"]}, {"key": "app", "operator": "DoesNotExist"}]}}]}]},
    "block": {"ingress": [{"from": [BLOCK], "ports": [{"protocol": "TCP", "port": 6379}]}]},
    "excepted-elsewhere": {"ingress": [{"from": [BLOCK], "ports": [{"port": 6379}]},
                                       {"from": [{"ipBlock": {"cidr": "172.17.1.0/24"}}], "ports": [{"port": 53}]}]},
    "range": {"ingress": [{"ports": [{"port": 53, "endPort": 81}, {"protocol": "UDP"}]}]},
}  # fmt: skip


@pytest.mark.parametrize("name", IN)
def test_rules_mean_what_the_model_says(name):
    for selector, extra in product(
        (DB, {}),
        ([], [{"policyTypes": ["Egress"], "podSelector": {}, "egress": [{"to": [{"podSelector": DB}]}]}]),
    ):
        specs = [{"podSelector": selector, "policyTypes": ["Ingress"], **IN[name]}, *extra]
        policies = [
            {"metadata": {"namespace": "default", "name": f"p{i}"}, "spec": spec}
            for i, spec in enumerate(specs)
        ]
        assert compare(policies, PODS, NAMESPACES)[True]


def test_named_ports_are_those_of_the_pod_that_is_asked():
    spec = {
        "podSelector": DB,
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": "web"}, {"port": "none"}]}],
    }
    policies = [{"metadata": {"namespace": "default", "name": "p"}, "spec": spec}]
    found = verdicts(policies, pods(PODS), NAMESPACES, "node-0", "192.0.2.1")
    assert [looked_up(found, "10.0.0.1", "Ingress", "9.9.9.9", "TCP", port) for port in (8080, 8081)] == [
        True,
        False,
    ]
    spec = {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": DB}], "ports": [{"port": "web"}]}],
    }
    policies = [{"metadata": {"namespace": "default", "name": "p"}, "spec": spec}]
    found = verdicts(policies, pods(PODS), NAMESPACES, "node-0", "192.0.2.1")
    asked = [("10.0.0.1", 8080), ("10.0.0.2", 8080), ("10.0.0.1", 80)]
    assert [looked_up(found, "10.0.0.3", "Egress", ip, "TCP", port) for ip, port in asked] == [
        True,
        False,
        False,
    ]


def test_the_own_node_may_always():
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found = verdicts(
        [{"metadata": {"namespace": "default", "name": "p"}, "spec": spec}],
        pods(PODS),
        [],
        "node-0",
        "192.0.2.1",
    )
    assert looked_up(found, "10.0.0.1", "Ingress", "192.0.2.1", "ICMP", None)
    assert not looked_up(found, "10.0.0.1", "Ingress", "192.0.2.2", "ICMP", None)


@pytest.mark.parametrize(("first", "last"), [(80, 80), (0, 65535), (53, 81), (1, 65535), (30000, 32767)])
def test_prefixes_cover_a_range_and_nothing_else(first, last):
    found = prefixes(first, last)
    covered = [port for at, bits in found for port in range(at, at + (1 << (16 - bits)))]
    assert covered == list(range(first, last + 1))
    assert all(at % (1 << (16 - bits)) == 0 for at, bits in found)


def test_host_network_pods_and_ended_ones_are_no_peers():
    host = {**PODS[0], "spec": {**PODS[0]["spec"], "hostNetwork": True}}
    ended = {**PODS[1], "status": {**PODS[1]["status"], "phase": "Succeeded"}}
    assert [p.name for p in pods([host, ended, PODS[2]])] == ["client"]


def test_equal_sets_of_ports_have_one_number_that_stays():
    mine = Policies()
    network, ports = IPv4Network("10.0.0.9"), frozenset({(6, 80, 16)})
    found = {("10.0.0.1", "Ingress"): {network: ports}, ("10.0.0.2", "Egress"): {network: ports}}
    first = mine.entries(found)
    assert {name: len(entries) for name, entries in first.items()} == {
        "policy_ports": 1,
        "policy_peers": 2,
        "isolated": 2,
    }
    assert mine.entries(found) == first
    other = {("10.0.0.1", "Ingress"): {network: frozenset({(6, 81, 16)})}}
    assert not mine.entries(other)["policy_ports"].keys() & first["policy_ports"].keys()


def test_a_pod_is_known_by_its_identity_not_its_labels():
    one = pods(PODS)[0]
    assert {one: 1}[replace(one, labels={"changed": "yes"})] == 1
