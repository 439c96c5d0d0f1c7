"""Targets on clusters that are set up otherwise than those that were recorded."""

import json
from dataclasses import replace

import pytest

from labkit.cluster import Cluster
from labkit.collect import kubernetes
from tests.conftest import arm


class Otherwise:
    """The recording, with other nodes and pods."""

    def __init__(self, name, change):
        self.inner = arm(name).executor
        self.about, self.change = self.inner.about, change

    def run(self, request):
        reply = self.inner.run(request)
        listed = json.loads(reply.stdout)
        return replace(reply, output=json.dumps({**listed, "items": self.change(listed["items"])}).encode())


@pytest.mark.parametrize("namespace", ["kube-system", "cilium"])
def test_an_agent_is_a_container_wherever_it_is(namespace):
    def change(items):
        for item in items:
            if item["metadata"]["name"].startswith("cilium-"):
                item["metadata"] |= {"namespace": namespace, "labels": {"k8s-app": "anetd"}}
        return items

    found = kubernetes.agent_targets(Cluster("x", "replay", Otherwise("cilium", change)))
    assert {target.split("/")[1] for target in found} == {namespace}
    assert {target.split("/")[3] for target in found} == {"cilium-agent"}
    assert set(found.values()) == {"cilium-node-0", "cilium-node-1"}


def test_a_node_without_an_analyzer_is_no_target_where_others_have_one():
    def change(items):
        if items[0].get("status", {}).get("nodeInfo"):
            windows = {**items[0], "metadata": {**items[0]["metadata"], "name": "aks-win.example.com"}}
            items = [*items, windows]
        return items

    cluster = Cluster("x", "replay", Otherwise("cilium", change))
    assert len(kubernetes.nodes(cluster)) == 3
    assert set(kubernetes.node_targets(cluster).values()) == {"cilium-node-0", "cilium-node-1"}
