"""The arm of a lab: it starts, says what it is, and leaves nothing, however it or its owner ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from labkit.errors import ApiError, ConnectionLost, SourceError
from labkit.exec import lab_folder
from labkit.exec.lab_folder import Process
from labkit.exec.netns import Netns
from labkit.exec.request import Exec, Read
from tests.netns.conftest import arms, require  # noqa: F401  (a fixture)

#: An owner of a lab: says who and where it is, and goes on as it is told.
OWNER = """
import sys, time
from labkit.exec.netns import Netns
lab = Netns("routed")
print(lab.pid, lab.folder, flush=True)
sys.stdin.readline()
{then}
"""
#: What a lab must not change on the machine it runs on.
HOST = (
    ("ip", "-o", "link"), ("ip", "-o", "address"), ("ip", "route", "show", "table", "all"), ("ip", "rule"),
    ("ip", "netns"), ("iptables-save",), ("nft", "list", "ruleset"), ("sysctl", "-a", "-r", r"^net\.(ipv4|ipv6|bridge)\."),
    ("cat", "/proc/self/mounts"), ("cat", "/etc/resolv.conf"), ("hostname",), ("ls", "/sys/fs/bpf"),
)  # fmt: skip


def tree(pid):
    """A process and all that came of it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Process.of(pid), *(found for child in children for found in tree(int(child)))]


def gone(processes, *paths, limit_s=10.0):
    """Whether all of these are gone before long."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if not any(p.lives() for p in processes) and not any(path.exists() for path in paths):
            return True
        time.sleep(0.01)
    return False


def owned(then, environ=None):
    """A process that owns a lab, the lab's processes, its folder."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(then=then)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        env=environ,
    )  # fmt: skip
    pid, folder = owner.stdout.readline().split()
    processes = tree(int(pid))
    print(file=owner.stdin, flush=True)
    return owner, processes, Path(folder)


def seen_from_the_host():
    return {argv: subprocess.run(argv, capture_output=True, text=True, check=False).stdout for argv in HOST}


@pytest.mark.parametrize(("then", "act"), [
    ("lab.close()", None),
    ("1 / 0", None),
    ("time.sleep(60)", signal.SIGINT),
    ("time.sleep(60)", signal.SIGKILL),
], ids=["close", "exception", "ctrl-c", "killed"])  # fmt: skip
def test_nothing_is_left_however_the_owner_ends(then, act):
    require("routed")
    before = seen_from_the_host()
    owner, processes, folder = owned(then)
    with owner:
        if act:
            os.killpg(owner.pid, act)
        owner.wait(20)
    assert len(processes) > 5
    assert gone(processes, folder)
    assert seen_from_the_host() == before


def test_a_lab_whose_owner_is_killed_while_it_starts_ends_at_once(tmp_path):
    require("routed")
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(then="")],
        env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with owner:
        while not (started := list(tmp_path.glob("*/lab.json"))):
            assert owner.poll() is None
            time.sleep(0.01)
        processes = tree(json.loads(started[0].read_text())["lab"]["pid"])
        owner.kill()
        assert owner.stdout.read() == b"", "the lab was ready already"
    assert gone(processes, started[0].parent, limit_s=3)


@pytest.mark.parametrize("which", [0, 2], ids=["its-root", "what-serves"])
def test_nothing_is_left_of_a_lab_that_is_killed(which):
    require("routed")
    lab = Netns("routed")
    processes = tree(lab.pid)
    os.kill(processes[which].pid, signal.SIGKILL)
    assert gone(processes)
    asked = Exec(step="s", target="node/node-1", argv=("true",))
    with pytest.raises(ConnectionLost, match=r"the lab of namespaces ended .* start the run again"):
        lab.run(asked)
    lab.close()
    assert not lab.folder.exists()


def test_what_a_killed_pair_leaves_is_swept():
    require("routed")
    owner, processes, folder = owned("time.sleep(60)")
    with owner:
        os.kill(owner.pid, signal.SIGSTOP)  # so that it cannot clean up
        os.kill(processes[0].pid, signal.SIGKILL)
        assert gone(processes)
        assert folder not in lab_folder.sweep(), "its owner lives"
        owner.kill()
    assert folder in lab_folder.sweep()
    assert not folder.exists()


def test_a_lab_whose_owner_is_gone_is_ended_by_the_next():
    """It cannot be by itself, since the owner's pipe closes; so the owner is one that never was."""
    require("routed")
    lab = Netns("routed")
    processes = tree(lab.pid)
    lab_folder.Lab(lab.folder, "routed", Process.of(lab.pid), Process(os.getpid(), 1)).write()
    assert lab.folder in lab_folder.sweep()
    assert gone(processes, lab.folder)
    lab.close()


def test_whoever_has_other_processes_leaves_a_lab_alone(tmp_path):
    """As a container does that shares the temporary folder: the owner's number means nothing there."""
    require("routed")
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    owner, processes, folder = owned("time.sleep(60)", environ)
    with owner:
        sweeps = "from labkit.exec import lab_folder; print(lab_folder.sweep(), lab_folder.running())"
        command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", sweeps]
        swept = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        assert swept.stdout == "[] []\n"
        assert (folder / "socket").exists()
        assert all(process.lives() for process in processes)
        owner.kill()
    assert gone(processes, folder)


def test_a_lab_says_what_it_is(arms):  # noqa: F811
    executor = arms("routed").executor
    about = executor.about
    assert (about["name"], about["origin"], about["namespace"]) == ("routed", "netns", "cni-lab")
    assert os.uname().release in about["note"]
    assert "no Kubernetes" in about["note"]
    (listed,) = [lab for lab in lab_folder.running() if lab.folder == executor.folder]
    assert (listed.topology, listed.lab.pid, listed.owner.pid) == ("routed", executor.pid, os.getpid())
    assert executor.folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ApiError) as refused:
        executor.run(Read(step="s", path="/api/v1/namespaces/none/pods/none"))
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")


def test_a_topology_that_there_is_not():
    with pytest.raises(SourceError, match=r"no topology 'star'.* vxlan, routed, ebpf"):
        Netns("star")


@pytest.mark.parametrize(("less", "lacks"), [
    (("setpriv", "--bounding-set=-all", "--inh-caps=-all"), "the right to make namespaces"),
    (("unshare", "--user", "--map-root-user"), "the kernel feature device files"),
    (("sh", "-c", 'exec env PATH=/nowhere "$@"', "sh"), ""),
], ids=["no-capabilities", "root-of-a-user-namespace", "no-PATH"])  # fmt: skip
def test_without_the_rights_it_says_what_is_missing(less, lacks, tmp_path):
    require("routed")
    starts = "from labkit.exec.netns import Netns; Netns('routed').close()"
    told = subprocess.run(
        [*less, sys.executable, "-c", starts],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if lacks:
        assert "SourceError: netns:routed needs what this machine does not have" in told.stderr
        assert lacks in told.stderr
    assert (told.returncode == 0) == (not lacks)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_with_too_long_a_name_is_named(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(SourceError, match="set TMPDIR to a shorter one"):
        lab_folder.make()
    assert list(long.iterdir()) == []
