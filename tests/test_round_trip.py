"""From nothing to a named recording, as a person does it: real namespaces, real packets, the command line."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.exec.recording import Recording
from labkit.notebooks import Run
from tests.netns.conftest import require
from tests.test_cli import BIN, labkit

SCRIPT = """
from labkit import Lab
from labkit.collect import kubernetes
lab = Lab({"routed": "netns:routed"})
print(len(lab.each(kubernetes.workloads)), lab.arms["routed"].executor.path, flush=True)
"""


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    """Where the labs of this module have their folders, and nobody else's."""
    folder = tmp_path_factory.mktemp("labs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, labs):
    """A run on both wirings, to its end, which leaves no lab."""
    require("vxlan")
    out = tmp_path_factory.mktemp("round") / "run"
    arms = ("--arm", "vxlan=netns:vxlan", "--arm", "routed=netns:routed")
    done = labkit("run", "02_overlay", "08", *arms, "--plan", "quick", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(labs.glob("labkit-netns-*")) == []
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
    again = labkit("run", "08", "--arm", "vxlan=replay:mine-vxlan", "--out", tmp_path / "again", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    before = {f.claim: f for f in Run.open(out).findings() if f.arm == "vxlan"}
    for finding in Run.open(tmp_path / "again").findings():
        first = before[finding.claim]
        assert (finding.verdict, finding.evidence) == (first.verdict, first.evidence)
    assert labkit("recordings", "verify", "mine-vxlan", cwd=tmp_path).returncode == 0


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


def test_a_killed_run_is_gone_on_with(tmp_path, labs):
    """The kernel takes the lab away; the next lab has the same pods, so what is recorded still holds."""
    require("routed")
    out = tmp_path / "run"
    command = [
        str(BIN),
        "run",
        "01",
        "08",
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
    assert "removed" in labkit("down", "netns").stdout or not list(labs.glob("labkit-netns-*"))
    before = (left.recording("routed") / "replies.jsonl").read_text().rpartition("\n")[0]
    done = labkit("run", "--resume", out)
    assert done.returncode == 0, done.stderr
    assert Run.open(out).status == "complete"
    recording = Recording.open(left.recording("routed"))
    assert recording.verify() == []
    assert (recording.path / "replies.jsonl").read_text().startswith(before)
