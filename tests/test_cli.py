"""The command line: what it prints, what it leaves, and with which code it ends."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.source import connect

BIN = Path(sys.executable).parent / "labkit"
SMALL = "08_cleanup"  # the notebook that takes least


def labkit(*arguments, cwd=None):
    """Run the command as a user does, in a process of its own."""
    environ = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(
        [str(BIN), *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=environ, check=False
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One notebook, on an arm that is not the default."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    done = labkit("run", SMALL, "--arm", "routed=replay:overlay-routed", "--out", folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_json_is_one_document_and_nothing_else(run):
    folder, done = run
    told = json.loads(done.stdout)
    assert told["status"] == "complete"
    assert told["arms"]["routed"]["origin"] == "live"
    assert "Not AKS" in told["arms"]["routed"]["note"]
    assert Path(told["report"]) == folder / "report" / "index.html"


def test_a_run_leaves_its_notebook_tables_findings_and_report(run):
    folder, _ = run
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"run.json", "findings.json", "notebooks/08_cleanup.ipynb", "report/index.html"} <= left
    assert {"tables/08_made.parquet", "tables/08_made.csv"} <= left
    findings = json.loads((folder / "findings.json").read_text())
    assert {finding["arm"] for finding in findings} == {"routed"}


def test_strict_makes_a_refuted_claim_a_failure(tmp_path):
    done = labkit(
        "run",
        SMALL,
        "--arm",
        "routed=replay:overlay-routed",
        "--out",
        tmp_path / "r",
        "--strict",
        "--no-report",
    )
    assert done.returncode == 1
    assert "refuted" in done.stdout
    assert not (tmp_path / "r" / "report").exists()


def test_a_report_is_rendered_again(run):
    folder, _ = run
    shutil.rmtree(folder / "report")
    done = labkit("report", folder)
    assert done.returncode == 0
    assert (folder / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "99"], "is no notebook; there are: 01_setup"),
        (["run", SMALL, "--arm", "x"], "--arm NAME=SOURCE|write --arm NAME=VALUE"),
        (["run", SMALL, "--arm", "x=replay:nowhere"], "no recording 'nowhere'; there are:"),
        (["run", SMALL, "--arm", "x=ssh:host"], "unknown source 'ssh:host'"),
        (["run", SMALL, "--arm", "x=netns:star"], "no topology 'star'"),
        (["run", SMALL, "--arm", "x=replay:cilium", "--plan", "long"], "no plan 'long'"),
        (["run", SMALL, "--arm", "x=netns:vxlan", "--jobs", "2"], "--jobs is for replays"),
        (["run", SMALL, "--arm", "x=netns:vxlan", "--images", "nowhere"], "cannot read the images of"),
        (["doctor", "--arm", "x=replay:cilium", "--images", "nowhere"], "cannot read the images of"),
        (["run", SMALL, "--arm", "x=live:one", "--arm", "y=live:one"], "two arms on live:one"),
        (["run", "--resume", "nowhere"], "is no run"),
        (["run", SMALL, "--resume", "nowhere"], "as it was"),
        (["down", "everything"], "down 'everything'"),
        (["down", "--arm", "x=replay:cilium"], "only clusters"),
        (["run", SMALL, "--arm", "x=replay:cilium", "--arm", "x=replay:cilium"], "given twice"),
        (["run", SMALL, "--set", "nope=1"], "parameter 'nope'"),
        (["recordings", "describe", "nowhere"], "no recording 'nowhere'"),
        (["run", "--nope"], "No such option"),
    ],
)
def test_misuse_ends_with_2_and_one_message(arguments, says, tmp_path):
    done = labkit(*arguments, cwd=tmp_path if "describe" in arguments else None)
    assert done.returncode == 2
    assert any(part in done.stderr for part in says.split("|")), done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    done = labkit("report", tmp_path)
    assert done.returncode in (1, 2)
    assert str(tmp_path) in done.stderr


def test_a_run_never_writes_over_a_run(run):
    folder, _ = run
    done = labkit("run", SMALL, "--out", folder)
    assert done.returncode != 0
    assert str(folder) in done.stderr


def test_recordings_are_listed_verified_and_described():
    listed = json.loads(labkit("recordings", "list", "--json").stdout)
    assert {"cilium", "overlay-routed", "overlay-vxlan"} <= {row["name"] for row in listed}
    verified = labkit("recordings", "verify")
    assert verified.returncode == 0
    assert verified.stdout.count("whole") >= 3
    assert "services-1000" in labkit("recordings", "describe", "cilium").stdout


def test_an_altered_recording_does_not_verify(tmp_path):
    path = connect("replay:overlay-routed").executor.recording.path
    copy = tmp_path / "data" / "recordings" / "mine"
    shutil.copytree(path, copy)
    next(copy.glob("blobs/*")).write_bytes(b"altered")
    done = labkit("recordings", "verify", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "altered" in done.stdout + done.stderr


def test_help_needs_nothing_heavy():
    done = labkit("--help")
    assert done.returncode == 0
    assert all(
        command in done.stdout for command in ("run", "report", "recordings", "refresh", "up", "down", "reap")
    )
