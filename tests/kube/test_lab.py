"""Official client, executor, real commands and real packets: a live arm on a lab behind the fake API server."""

from __future__ import annotations

import pytest

from labkit.cluster import Cluster
from labkit.collect import kubernetes, node
from labkit.collect.plan import QUICK
from labkit.exec.live import Live
from labkit.exec.recording import Recorder, Recording
from labkit.exec.replay import Replay
from labkit.experiments.manifests import images
from labkit.experiments.staged import Staged
from tests.kube.cluster import kubeconfig
from tests.kube.lab import Lab
from tests.kube.server import FakeKube
from tests.netns.conftest import require


@pytest.fixture
def lab():
    require("vxlan")
    made = Lab("vxlan")
    yield made
    made.close()


def test_an_arm_is_set_up_asked_recorded_and_put_back(lab, tmp_path):
    server = FakeKube(lab)
    live = Live("fake", kubeconfig=kubeconfig(tmp_path, server), allow_context="fake", limit_s=30.0)
    pulled = {name: f"registry.test:5000/mirror/{name.rpartition('/')[2]}:1" for name in images()}
    staged = Staged(Recorder(live, tmp_path / "recording"), live, plan=QUICK, references=pulled)
    arm = Cluster("overlay", "live:fake", staged)
    try:
        routes = node.routes(arm)
        assert set(routes["node"]) == {"node-1", "node-2"}
        ours = kubernetes.containers(arm).query("namespace == 'cni-lab'")
        assert set(ours["image"]) == set(pulled.values())
        assert any("watch=true" in path and "/pods" in path for _, path in server.seen)
        backend = kubernetes.pods(arm).set_index("app").loc["backend"].iloc[0]
        pinged = arm.run(
            next(iter(kubernetes.pod_targets(arm, "frontend", "toolbox"))),
            ("ping", "-c", "2", "-i", "0.2", backend["pod_ip"]),
        )
        assert b"2 received" in pinged.stdout
        denied = arm.at("policy-deny-all")
        assert b"NetworkPolicy" in denied.read("/apis/networking.k8s.io/v1/networkpolicies").stdout
    finally:
        staged.close()
        server.stop()
    assert lab.store.get("Namespace", "", "cni-lab") is None
    again = Cluster("overlay", "replay", Replay(Recording.open(tmp_path / "recording")))
    assert node.routes(again).equals(routes)
