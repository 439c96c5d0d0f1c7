"""A run on a cluster, as a person does it: the command line, the real protocol, and a lab behind it that is changed."""

import json

import pytest

from labkit.notebooks import Run
from tests.kube.cluster import kubeconfig
from tests.kube.lab import Lab
from tests.kube.server import FakeKube
from tests.netns.conftest import require
from tests.test_cli import labkit


@pytest.fixture
def server():
    """A lab behind an API server that speaks the real protocol."""
    require("vxlan")
    lab = Lab("vxlan")
    server = FakeKube(lab)
    yield server
    server.stop()
    lab.close()


def test_a_cluster_is_only_changed_where_it_may_be_and_then_put_back(server, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, server))
    arm = ("--arm", "overlay=live:fake", "--plan", "quick")
    refused = labkit("run", "01", *arm, "--out", tmp_path / "refused")
    assert refused.returncode == 1
    assert "--allow-context fake" in refused.stderr
    assert not (tmp_path / "refused").exists()
    looked = labkit("run", "01", *arm, "--read-only", "--out", tmp_path / "looked")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    out = tmp_path / "run"
    done = labkit("run", "01", "08", *arm, "--allow-context", "fake", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    made = Run.open(out)
    assert made.about["arms"]["overlay"]["origin"] == "live"
    assert {finding.source for finding in made.findings()} == {"live:fake"}
    told = json.loads(labkit("record", "x", out, "--folder", tmp_path / "recordings", "--json").stdout)
    assert (told["problems"], told["differences"]) == ([], [])
    left = labkit("down", "--arm", "overlay=live:fake", "--yes")
    assert "nothing was left" in left.stdout
