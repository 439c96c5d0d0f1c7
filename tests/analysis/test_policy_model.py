"""The model against what the API's documentation says, case by case.

https://kubernetes.io/docs/concepts/services-networking/network-policies/ and the API reference of
NetworkPolicySpec. The policies are written as the API server sends them and read by the parser.
"""

import json

import pytest

from labkit.analysis.policy_model import Flow, Peer, decide, labels_of, records, selects
from labkit.parse import network_policy

LABELS = {"default": {"kubernetes.io/metadata.name": "default"}, "other": {"project": "myproject"}}


def pod(ip, namespace="default", **labels):
    return Peer(ip, namespace, labels, LABELS[namespace])


DB = pod("10.0.0.1", role="db", app="db")
FRONTEND = pod("10.0.0.2", role="frontend")
CLIENT = pod("10.0.0.3", role="client")
ELSEWHERE = pod("10.0.0.4", "other", role="frontend")
OUTSIDE = Peer("172.17.2.9")
EXCEPTED = Peer("172.17.1.9")
HOST = Peer("10.9.0.1", "default", {}, LABELS["default"], host_network=True)
NODE_DNS = Peer("169.254.10.10")

INGRESS, EGRESS = ["Ingress"], ["Egress"]
DENY_IN = {"podSelector": {}, "policyTypes": INGRESS}
DENY_OUT = {"podSelector": {}, "policyTypes": EGRESS}
DENY_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
ALLOW_IN = {"podSelector": {}, "policyTypes": INGRESS, "ingress": [{}]}
ALLOW_OUT = {"podSelector": {}, "policyTypes": EGRESS, "egress": [{}]}
#: The example of the documentation, "The NetworkPolicy resource".
EXAMPLE = {
    "podSelector": {"matchLabels": {"role": "db"}},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {
            "from": [
                {"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                {"namespaceSelector": {"matchLabels": {"project": "myproject"}}},
                {"podSelector": {"matchLabels": {"role": "frontend"}}},
            ],
            "ports": [{"protocol": "TCP", "port": 6379}],
        }
    ],
    "egress": [{"to": [{"ipBlock": {"cidr": "10.9.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 5978}]}],
}


def ingress(peer=None, *ports, selector=None):
    rule = {**({"from": peer} if peer is not None else {}), **({"ports": list(ports)} if ports else {})}
    return {"podSelector": selector or {}, "policyTypes": INGRESS, "ingress": [rule]}


def pods(**labels):
    return {"podSelector": {"matchLabels": labels}}


def asked(policies, source, destination, protocol="TCP", port=6379):
    items = [
        {"metadata": {"name": f"p{n}", "namespace": "default"}, "spec": s} for n, s in enumerate(policies)
    ]
    rules = network_policy.rules(json.dumps({"items": items}).encode())
    return decide(records(rules), Flow(source, destination, protocol, port))


NAMESPACE = [{"namespaceSelector": {"matchLabels": {"project": "myproject"}}}]
BOTH = [{**NAMESPACE[0], **pods(role="client")}]
EITHER = [NAMESPACE[0], pods(role="client")]
CASES = {
    "no policy: everything passes": ([], CLIENT, DB, True),
    "default deny ingress: nothing gets in": ([DENY_IN], CLIENT, DB, False),
    "default deny ingress says nothing of egress": ([DENY_IN], DB, ELSEWHERE, True),
    "default deny egress: nothing gets out": ([DENY_OUT], CLIENT, ELSEWHERE, False),
    "default deny egress says nothing of ingress": ([DENY_OUT], ELSEWHERE, DB, True),
    "default deny all": ([DENY_ALL], CLIENT, DB, False),
    "a policy is of its namespace only": ([DENY_ALL], ELSEWHERE, pod("10.0.0.9", "other"), True),
    "allow all ingress: one empty rule": ([ALLOW_IN], ELSEWHERE, DB, True),
    "allow all egress": ([ALLOW_OUT], CLIENT, ELSEWHERE, True),
    "policies add up": ([DENY_IN, ALLOW_IN], CLIENT, DB, True),
    "both ends must allow": ([DENY_ALL, ALLOW_IN], CLIENT, DB, False),
    "both ends allow": ([DENY_ALL, ALLOW_IN, ALLOW_OUT], CLIENT, DB, True),
    "example: pods of the namespace with the label": ([EXAMPLE], FRONTEND, DB, True),
    "example: pods of the namespace without it": ([EXAMPLE], CLIENT, DB, False),
    "example: any pod of a namespace with the label": ([EXAMPLE], ELSEWHERE, DB, True),
    "example: an address in the block": ([EXAMPLE], OUTSIDE, DB, True),
    "example: an address that is excepted": ([EXAMPLE], EXCEPTED, DB, False),
    "example: only pods that it selects are isolated": ([EXAMPLE], CLIENT, FRONTEND, True),
    "an empty `from` is everybody": ([ingress([])], OUTSIDE, DB, True),
    "an empty podSelector is the namespace": ([ingress([{"podSelector": {}}])], CLIENT, DB, True),
    "an empty podSelector is not other namespaces": ([ingress([{"podSelector": {}}])], ELSEWHERE, DB, False),
    "an empty podSelector is not the world": ([ingress([{"podSelector": {}}])], OUTSIDE, DB, False),
    "an empty namespaceSelector is all": ([ingress([{"namespaceSelector": {}}])], ELSEWHERE, DB, True),
    "namespace and pod selector in one peer: and": ([ingress(BOTH)], ELSEWHERE, DB, False),
    "in two peers: or": ([ingress(EITHER)], ELSEWHERE, DB, True),
    "in two peers: or, the other one": ([ingress(EITHER)], CLIENT, DB, True),
    "the port": ([ingress([], {"port": 6379})], CLIENT, DB, True),
    "another port": ([ingress([], {"port": 80})], CLIENT, DB, False),
    "the port of another protocol": ([ingress([], {"protocol": "UDP", "port": 6379})], CLIENT, DB, False),
    "a protocol without a port is all of them": ([ingress([], {"protocol": "TCP"})], CLIENT, DB, True),
    "one of several ports": ([ingress([], {"port": 80}, {"port": 6379})], CLIENT, DB, True),
    "within a range": ([ingress([], {"port": 6000, "endPort": 6379})], CLIENT, DB, True),
    "beyond a range": ([ingress([], {"port": 6000, "endPort": 6378})], CLIENT, DB, False),
    "a named port is not modelled": ([ingress([], {"port": "redis"})], CLIENT, DB, None),
    "a named port beside one that fits": ([ingress([], {"port": "redis"}, {"port": 6379})], CLIENT, DB, True),
    "a named port for a peer that does not match": (
        [ingress([pods(role="frontend")], {"port": "redis"})], CLIENT, DB, False,
    ),
    "an ipBlock that covers a pod: engines differ": ([ingress([{"ipBlock": {"cidr": "10.0.0.0/8"}}])], CLIENT, DB, None),
    "an ipBlock that does not": ([ingress([{"ipBlock": {"cidr": "192.0.2.0/24"}}])], CLIENT, DB, False),
    "a host-network pod is its node": ([ingress([pods(role="frontend")])], HOST, DB, None),
    "a host-network pod without policies": ([], HOST, DB, True),
    "a host-network pod as destination": ([DENY_IN], CLIENT, HOST, None),
    "but not where egress already denies": ([DENY_ALL], CLIENT, HOST, False),
    "the node-local name server": ([DENY_OUT, {**DENY_OUT, "egress": [{"to": [pods(a="b")]}]}], CLIENT, NODE_DNS, None),
    "a pod reaches itself": ([DENY_ALL], DB, DB, True),
    "matchExpressions": (
        [ingress(None, selector={"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["db"]}]}), DENY_OUT],
        OUTSIDE, DB, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_the_documentation_says(case):
    policies, source, destination, allowed = CASES[case]
    assert asked(policies, source, destination).allowed is allowed


@pytest.mark.parametrize(
    ("policies", "allowed", "by_the_api"),
    [([], True, True), ([DENY_IN], False, False), ([ALLOW_IN], True, False), ([ingress([], {"port": 80})], False, False)],
)  # fmt: skip
def test_icmp_is_as_cilium_reads_it_and_says_so(policies, allowed, by_the_api):
    decision = asked(policies, CLIENT, DB, "ICMP", None)
    assert (decision.allowed, decision.by_the_api) == (allowed, by_the_api)


def test_a_decision_says_who_and_where():
    decision = asked([DENY_ALL, ALLOW_OUT], CLIENT, DB)
    assert decision.allowed is False
    assert decision.by == ("default/p0",)
    assert decision.blocked_at == ("ingress",)
    assert decision.because == "no rule of default/p0 allows ingress"
    assert asked([DENY_ALL], CLIENT, DB).blocked_at == ("egress", "ingress")
    assert asked([ALLOW_IN, ALLOW_OUT], CLIENT, DB).because == (
        "default/p1 allows egress; default/p0 allows ingress"
    )


@pytest.mark.parametrize(
    ("selector", "labels", "wanted"),
    [
        ("*", "", True),
        ("app=a", "app=a,x=y", True),
        ("app=a", "", False),
        ("app=a,tier in (x,y)", "app=a,tier=y", True),
        ("tier in (x,y)", "tier=z", False),
        ("tier notin (x)", "tier=y", True),
        ("tier notin (x)", "", True),
        ("tier notin (x)", "tier=x", False),
        ("tier", "tier=", True),
        ("tier", "", False),
        ("!tier", "", True),
        ("!tier", "tier=x", False),
        ("a.b/c-d=e_f", "a.b/c-d=e_f", True),
        ("tier=", "tier=", True),
    ],
)
def test_selectors(selector, labels, wanted):
    assert selects(selector, labels_of(labels)) is wanted


@pytest.mark.parametrize("selector", ["app in x", "a b", "(", "app=(x)"])
def test_what_is_no_selector_is_refused(selector):
    with pytest.raises(ValueError, match="no label selector"):
        selects(selector, {"app": "x"})
