"""The probe runs for real, on loopback, and its own words are read."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import labkit
from labkit.errors import ParseError
from labkit.parse.probe import PROBED, SAMPLES, probed, samples

PROBE = Path(labkit.__file__).parent / "probe.py"


def run(*words):
    done = subprocess.run(
        [sys.executable, "-I", PROBE, *map(str, words)], capture_output=True, check=True, timeout=30
    )
    return done.stdout


@pytest.fixture(scope="module")
def port():
    """A server on a free port of loopback, which it says on stdout."""
    code = f"import runpy; s = runpy.run_path({str(PROBE)!r})['Answering'](0); print(s.port, flush=True); s.forever()"
    server = subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True)
    yield int(server.stdout.readline())
    server.kill()
    server.communicate()


@pytest.mark.parametrize("pattern", ["rr", "crr", "udp"])
def test_every_request_has_a_sample(pattern, port):
    data = run(pattern, "127.0.0.1", port, 200, "--size", 1000)
    rows, told = samples(data), probed(data).iloc[0]
    assert list(rows) == SAMPLES.names
    assert list(told.index) == PROBED.names
    assert len(rows) == 200
    assert rows["latency_us"].between(1, 3e6).all()
    assert rows["connect_us"].notna().all() == (pattern == "crr")
    assert (told["pattern"], told["size_bytes"], told["requests"], told["failed"]) == (pattern, 1000, 200, 0)
    assert 0 < told["overhead_us"] < rows["latency_us"].median()


def test_a_rate_is_kept(port):
    began = time.monotonic()
    told = probed(run("rr", "127.0.0.1", port, 100, "--rate", 200)).iloc[0]
    assert time.monotonic() - began > 0.45
    assert told["rate"] == 200
    assert told["per_s"] == pytest.approx(200, rel=0.1)


def test_a_stall_counts_for_all_that_had_to_wait():
    """A server that sleeps once: at a fixed rate every request that was due meanwhile is late, not only one."""
    slow = (
        "import socket, time\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); print(s.getsockname()[1], flush=True)\n"
        "c, _ = s.accept()\n"
        "for n in range(100):\n"
        "    data = c.recv(64)\n"
        "    if n == 20: time.sleep(0.3)\n"
        "    c.sendall(data)\n"
    )
    server = subprocess.Popen([sys.executable, "-I", "-c", slow], stdout=subprocess.PIPE, text=True)
    data = run("rr", "127.0.0.1", int(server.stdout.readline()), 100, "--rate", 100)
    server.wait(10)
    server.stdout.close()
    waited = (samples(data)["latency_us"] > 50_000).sum()
    assert 20 <= waited <= 40  # 0.3 s at 100 a second


def test_failures_are_told_and_are_no_times():
    data = run("rr", "127.0.0.1", 1, 3)
    assert samples(data)["latency_us"].isna().all()
    told = probed(data).iloc[0]
    assert told["failed"] == 3
    assert "refused" in told["error"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"Traceback", b'{"count": 2, "latency_ns": [1]}'])
def test_what_it_never_wrote_is_refused(data):
    with pytest.raises(ParseError, match="labkit's probe"):
        samples(data)


def test_part_of_an_answer_is_refused(port):
    whole = run("rr", "127.0.0.1", port, 5)
    with pytest.raises(ParseError):
        probed(whole[:-20])
