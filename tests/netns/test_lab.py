"""What the process of a lab answers to changes, in kubectl's words."""

import json

import pytest

from labkit.errors import ParameterError
from labkit.exec.request import Apply
from tests.netns.conftest import named

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "spare", "namespace": "test"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": "test"},
    "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
}


def test_changes_are_told_as_kubectl_does(arms):
    arm = arms("routed")
    assert arm.apply(SERVICE, POLICY).text.splitlines() == [
        "service/spare serverside-applied",
        "networkpolicy.networking.k8s.io/deny serverside-applied",
    ]
    assert arm.delete(SERVICE, POLICY).text.splitlines() == [
        'service "spare" deleted',
        'networkpolicy.networking.k8s.io "deny" deleted',
    ]
    assert arm.delete(SERVICE).text == ""


def test_an_object_that_a_lab_does_not_know(arms):
    objects = ({"apiVersion": "x.io/v1", "kind": "Wish", "metadata": {"name": "a", "namespace": "test"}},)
    with pytest.raises(ParameterError, match="Wish"):
        arms("routed").executor.run(Apply(step="s", objects=named(objects), manifest=json.dumps(objects)))


def test_a_service_leads_to_its_pod_and_its_policy_stops_nobody(arm):
    """No engine enforces policies here: whoever relies on one must find out."""
    arm.apply(SERVICE, POLICY)
    ip = arm.when(lambda: arm.read("/api/v1/namespaces/test/services/spare"), bool)["spec"]["clusterIP"]
    fetch = ("curl", "-sS", "--max-time", "2", "http://spare/", f"http://{ip}/")
    answer = arm.when(lambda: arm.run("near", *fetch, check=False), lambda reply: reply.exit_code == 0)
    assert answer.text == "web node-2\nweb node-2\n"
    arm.delete(SERVICE, POLICY)
