"""From nothing to a named recording, as a person does it: real namespaces, real packets, the command line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.exec import lab_folder
from labkit.exec.recording import Recording
from labkit.notebooks import Run
from tests.kube.cluster import kubeconfig
from tests.kube.lab import Lab
from tests.kube.server import FakeKube
from tests.netns.conftest import require
from tests.test_cli import BIN, labkit

SCRIPT = """
from labkit import Lab
from labkit.collect import kubernetes
lab = Lab({"routed": "netns:routed"})
print(len(lab.each(kubernetes.workloads)), lab.arms["routed"].executor.path, flush=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on both wirings, to its end."""
    require("vxlan")
    out = tmp_path_factory.mktemp("round") / "run"
    arms = ("--arm", "vxlan=netns:vxlan", "--arm", "routed=netns:routed")
    done = labkit("run", "01", "02", "08", *arms, "--plan", "quick", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done


def test_a_run_on_namespaces_is_complete_and_says_where_it_was_measured(run):
    out, done = run
    made = Run.open(out)
    assert made.status == "complete"
    assert {arm["origin"] for arm in made.about["arms"].values()} == {"netns"}
    assert "recording of vxlan" in done.stdout
    assert "vxlan: step capture" in done.stderr
    for page in (out / "report").rglob("*.html"):
        assert page.read_text().count("in network namespaces, not on a cluster") >= 2, page
    verdicts = {(f.claim, f.arm): f.verdict for f in made.findings()}
    assert verdicts["vxlan-between-nodes", "vxlan"] == "supported"
    assert verdicts["vxlan-between-nodes", "routed"] == "refuted"


def test_its_recordings_replay_to_the_same_findings_and_are_promoted(run, tmp_path):
    out, _ = run
    folder = tmp_path / "data" / "recordings"
    done = labkit("record", "mine", out, "--folder", folder, "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode, told["problems"], told["differences"]) == (0, [], [])
    assert told["compared"] == len(Run.open(out).findings())
    again = labkit("run", "02", "--arm", "vxlan=replay:mine-vxlan", "--out", tmp_path / "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    before = {f.claim: f for f in Run.open(out).findings() if f.arm == "vxlan"}
    for finding in Run.open(tmp_path / "again").findings():
        assert (finding.verdict, finding.reason) == (
            before[finding.claim].verdict,
            before[finding.claim].reason,
        )
    assert labkit("recordings", "verify", "mine-vxlan", cwd=tmp_path).returncode == 0


@pytest.mark.usefixtures("run")
def test_a_run_leaves_no_lab():
    assert [lab for lab in lab_folder.running() if lab.owner.pid == os.getpid()] == []
    assert "nothing was left" in labkit("down", "netns").stdout


def test_whoever_forgets_to_close_leaves_nothing(tmp_path):
    require("routed")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    pods, path = done.stdout.split()
    assert int(pods) > 5
    assert Path(path).is_relative_to(tmp_path)
    recording = Recording.open(Path(path))
    assert recording.verify() == []
    assert not [r for r in recording.requests() if r.kind == "delete" and not r.objects]
    assert any(r.kind == "delete" and "Namespace/cni-lab" in r.objects for r in recording.requests())


def test_a_killed_run_is_gone_on_with(tmp_path):
    """The kernel takes the lab away; the next lab has the same pods, so what is recorded still holds."""
    require("routed")
    out = tmp_path / "run"
    command = [
        str(BIN),
        "run",
        "01",
        "02",
        "--arm",
        "routed=netns:routed",
        "--plan",
        "quick",
        "--out",
        str(out),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (out / "tables").is_dir():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
    left = Run.open(out)
    assert left.status == "running"
    before = (left.recording("routed") / "replies.jsonl").read_text().rpartition("\n")[0]
    done = labkit("run", "--resume", out)
    assert done.returncode == 0, done.stderr
    assert Run.open(out).status == "complete"
    recording = Recording.open(left.recording("routed"))
    assert recording.verify() == []
    assert (recording.path / "replies.jsonl").read_text().startswith(before)


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
