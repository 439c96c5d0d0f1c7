"""Commands in a container: what they print, what they read, and how their time limit ends them."""

import subprocess
import time

import pytest

from labkit.exec.output import Stored
from labkit.netns.containers import ENVIRONMENT, Container, run
from tests.netns.conftest import require


@pytest.fixture
def container(tmp_path):
    """As good as one for whoever enters it: a process, in the namespaces of this test."""
    require("routed")
    with subprocess.Popen(["sleep", "60"]) as process:
        yield Container(process, process.pid, tmp_path / "log", ENVIRONMENT, own_pids=False)
        process.kill()


def test_what_a_command_reads_and_prints(container):
    done = run(container, ["sh", "-c", "cat; echo wrong >&2; exit 3"], stdin=b"\xff\x00", limit_s=5)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"\xff\x00", b"wrong\n")
    assert run(container, ["cat"], stdin=b"", limit_s=5).exit_code == 0, "nobody waits for input"
    assert run(container, ["env"], stdin=b"", limit_s=5).stdout.decode().splitlines() == [
        f"{name}={value}" for name, value in ENVIRONMENT.items()
    ]


def test_a_time_limit_ends_all_of_a_command_and_keeps_what_it_said(container):
    done = run(container, ["sh", "-c", "echo $$; sleep 54321 & sleep 54321"], stdin=b"", limit_s=0.5)
    assert done.exit_code is None
    shell = done.stdout.decode().strip()
    states = subprocess.run(["ps", "-o", "stat=", "-s", shell], capture_output=True, text=True, check=False)
    assert shell.isdigit()
    assert not [state for state in states.stdout.split() if not state.startswith("Z")]


def test_what_leaves_the_session_of_a_command_cannot_hold_it_up(container):
    began = time.monotonic()
    done = run(container, ["sh", "-c", "echo said; setsid sleep 5 & sleep 60"], stdin=b"", limit_s=0.5)
    assert (done.exit_code, done.stdout) == (None, b"said\n")
    assert time.monotonic() - began < 4


def test_long_output_is_a_file_and_so_is_what_a_limit_left_of_it(container):
    printed = ["sh", "-c", "head -c 5000000 /dev/zero; sleep $0"]
    whole = run(container, [*printed, "0"], stdin=b"", limit_s=5)
    cut = run(container, [*printed, "60"], stdin=b"", limit_s=0.5)
    assert (whole.exit_code, cut.exit_code) == (0, None)
    assert isinstance(whole.output, Stored)
    assert whole.output == cut.output
    assert whole.stdout == bytes(5_000_000)


def test_a_limit_holds_too_for_what_was_left_behind_with_stdout_alone(container):
    began = time.monotonic()
    done = run(container, ["sh", "-c", "echo said; sleep 60 2>/dev/null &"], stdin=b"", limit_s=0.5)
    assert (done.exit_code, done.stdout) == (None, b"said\n")
    assert time.monotonic() - began < 4
