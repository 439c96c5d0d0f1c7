import json

import pytest

from labkit.errors import ParseError
from labkit.parse import network_policy as parse
from tests.conftest import RECORDINGS, arm, recorded

GET = "GET /apis/networking.k8s.io/v1/networkpolicies"


def listed(*specs):
    """A list as the API server sends it."""
    items = [{"metadata": {"name": f"p{n}", "namespace": "ns"}, "spec": spec} for n, spec in enumerate(specs)]
    return json.dumps({"items": items}).encode()


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_list_is_read(name):
    recording = arm(name).executor.recording
    sizes = {
        r.step: (len(parse.policies(recording.find(r).stdout)), len(parse.rules(recording.find(r).stdout)))
        for r in recording.requests()
        if r.words.startswith(GET)
    }
    assert sizes == {
        "baseline": (0, 0),
        "policy-deny-all": (1, 2),
        "policy-allow-frontend": (4, 6),
        "cleanup": (0, 0),
    }


def test_the_policies_of_the_lab():
    (reply,) = recorded("cilium", GET, step="policy-allow-frontend")
    policies = parse.policies(reply.stdout).set_index("policy")
    assert policies.loc["deny-all", "policy_types"] == "Ingress,Egress"
    assert (policies.loc["deny-all", "pod_selector"], policies.loc["deny-all", "egress_rules"]) == ("*", 0)
    assert policies.isna().loc["allow-frontend-to-backend", "egress_rules"]
    rules = parse.rules(reply.stdout).set_index("policy")
    allow = rules.loc["allow-frontend-to-backend"]
    assert allow["direction"] == "ingress"
    assert (allow["pod_selector"], allow["peer_pods"], allow["protocol"], allow["port"]) == (
        "app=backend",
        "app=frontend",
        "TCP",
        "80",
    )
    dns = rules.loc["allow-dns-egress"]
    assert dns["protocol"].tolist() == ["TCP", "UDP"]
    assert set(dns["peer_namespaces"]) == {"*"}


def test_a_direction_without_rules_still_has_a_row():
    rules = parse.rules(listed({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))
    assert rules["direction"].tolist() == ["egress", "ingress"]
    assert rules["rule"].isna().all()


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({"podSelector": {}}, "Ingress"),
        ({"podSelector": {}, "egress": []}, "Ingress"),
        ({"podSelector": {}, "egress": [{}]}, "Ingress,Egress"),
        ({"podSelector": {}, "policyTypes": ["Egress"]}, "Egress"),
    ],
)
def test_types_are_defaulted_as_the_api_server_does(spec, types):
    assert parse.policies(listed(spec))["policy_types"].tolist() == [types]


def test_rules_of_a_direction_that_is_not_a_type_have_no_effect():
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}]}
    assert set(parse.rules(listed(spec))["direction"]) == {"egress"}


def test_every_peer_with_every_port():
    spec = {
        "podSelector": {},
        "ingress": [
            {
                "from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                "ports": [{"port": 80}, {"protocol": "UDP", "port": "dns"}, {"port": 8000, "endPort": 8080}],
            }
        ],
    }
    rules = parse.rules(listed(spec))
    assert len(rules) == 6
    assert rules["except_cidrs"].dropna().unique().tolist() == ["10.1.0.0/16"]
    assert rules.loc[rules["port"] == "8000", "end_port"].tolist() == [8080, 8080]


def test_selectors_are_written_as_kubectl_writes_them():
    selector = {
        "matchLabels": {"b": "2", "a": "1"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["x", "y"]},
            {"key": "env", "operator": "NotIn", "values": ["dev"]},
            {"key": "new", "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    written = parse.policies(listed({"podSelector": selector}))["pod_selector"].item()
    assert written == "a=1,b=2,tier in (x,y),env notin (dev),new,!old"


def test_namespaces_keep_their_labels():
    (reply,) = recorded("cilium", "GET /api/v1/namespaces", subject="API")[:1]
    frame = parse.namespaces(reply.stdout).set_index("namespace")
    assert frame.loc["cni-lab", "labels"] == (
        "app.kubernetes.io/managed-by=labkit,kubernetes.io/metadata.name=cni-lab"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"No resources found",
        b'{"kind": "Status"}',
        b'{"items": [{"metadata": {}}]}',
        listed({}),
        listed({"podSelector": {}, "tiers": []}),
        listed({"podSelector": {}, "policyTypes": ["Both"]}),
        listed({"podSelector": {}, "ingress": [{"form": []}]}),
        listed({"podSelector": {}, "ingress": [{"from": [{}]}]}),
        listed({"podSelector": {}, "ingress": [{"from": [{"serviceSelector": {}}]}]}),
        listed(
            {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}, "podSelector": {}}]}]}
        ),
        listed({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {}}]}]}),
        listed({"podSelector": {}, "ingress": [{"ports": [{"portt": 80}]}]}),
        listed({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}),
    ],
)
def test_what_is_no_network_policy_is_refused(data):
    with pytest.raises(ParseError, match="the API server"):
        parse.rules(data)
