"""What `make bench` says of live arms: a fake API server in its own process, 20 ms away.

What the nodes answer was recorded on a real one, so that the server costs little beside the client, which is
what is measured. Both share this machine's CPUs, as no real cluster would.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.cluster import Cluster
from labkit.exec.live import Live
from labkit.exec.recording import Recording
from tests.kube.backend import STDOUT
from tests.kube.cluster import kubeconfig, populate
from tests.kube.server import FakeKube
from tests.kube.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "data" / "recordings" / "overlay-vxlan"
LATENCY_S = 0.02
#: What a node is asked for its state (labkit.collect.node).
COMMANDS = tuple(
    tuple(words.split())
    for words in (
        "ip -j -d -s link show", "ip -j addr show", "ip -j route show table all", "ip -j rule show",
        "ip -j neigh show", "bridge -j fdb show", "brctl show", "iptables-save -c", "nft -j list ruleset",
        "conntrack -L -o extended", "conntrack -S", "ethtool -k eth0", "ethtool -i eth0",
    )
)  # fmt: skip
STREAM_MB = 256
CHUNK = os.urandom(32 * 1024)


class Recorded:
    """Answers as a recorded node did; `stream` sends so many megabytes, in the pieces of a kubelet."""

    def __init__(self, nodes: int):
        self.store = Store()
        populate(self.store, nodes)
        recording = Recording.open(RECORDED)
        first = next(
            r.target for r in recording.requests() if r.kind == "exec" and r.target.startswith("node/")
        )
        asked = {r.argv: r for r in recording.requests() if r.kind == "exec" and r.target == first}
        self.answers = {argv: recording.find(asked[argv]) for argv in COMMANDS}

    def run(self, _target: str, argv: Sequence[str], send) -> int:
        argv = tuple(argv[4:] if argv[:2] == ["timeout", "-k"] else argv)
        if argv[0] == "stream":
            for _ in range(int(argv[1]) * 32):
                send(STDOUT, CHUNK)
            return 0
        reply = self.answers[argv]
        if reply.stdout:
            send(STDOUT, reply.stdout)
        return reply.exit_code

    def read(self, _path):
        return None

    def logs(self, *_):
        return b""

    def end(self, *_):
        """Nothing runs."""


def serve(nodes: int, latency_s: float) -> None:
    """Until stdin ends. Says the path of a kubeconfig first."""
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as folder:
        server = FakeKube(Recorded(nodes), latency_s=latency_s)
        sys.stdout.write(kubeconfig(Path(folder), server) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.stop()


@contextlib.contextmanager
def served(nodes: int, latency_s: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.kube.bench", str(nodes), str(latency_s)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def node_state(nodes: int, runs: int) -> tuple[float, float]:
    """Median seconds to read the state of so many nodes, and seconds of the client's CPU for it."""
    with served(nodes, LATENCY_S) as path:
        arm = Cluster("fake", "live:fake", Live("fake", kubeconfig=path))
        targets = [f"node/node-{i}" for i in range(nodes)]
        seconds = []
        worked = 0.0
        for sample in range(runs + 1):
            begun, worked = time.perf_counter(), time.process_time()
            for argv in COMMANDS:
                arm.run_each(targets, argv, sample=sample, check=False)
            seconds.append(time.perf_counter() - begun)
            worked = time.process_time() - worked
        arm.close()
    return statistics.median(seconds[1:]), worked


def one_after_the_other(nodes: int, kubectl: str | None) -> float:
    """Seconds for the same commands, one process of kubectl each; without kubectl, one exec of labkit each."""
    with served(nodes, LATENCY_S) as path:
        live = Live("fake", kubeconfig=path)
        arm = Cluster("fake", "live:fake", live)
        begun = time.perf_counter()
        for i, argv in itertools.product(range(nodes), COMMANDS):
            if kubectl:
                by_kubectl(kubectl, path, f"network-analyzer-{i}", argv)
            else:
                arm.run(f"node/node-{i}", argv, check=False)
        took = time.perf_counter() - begun
        live.close()
    return took


def by_kubectl(kubectl: str, path: str, pod: str, argv: Sequence[str]) -> None:
    call = [kubectl, "--kubeconfig", path, "--context", "fake", "-n", "cni-lab", "exec", pod, "--", *argv]
    done = subprocess.run(call, capture_output=True, check=False, env={"HOME": str(Path(path).parent)})
    if done.returncode:
        sys.stdout.write(f"  kubectl failed: {done.stderr.decode()}")


def stream() -> tuple[float, float]:
    """Megabytes a second of one binary stream, and the bytes of memory it took more than one of 1 MiB did."""
    code = (
        "import re, sys, time; from labkit.exec import Exec; from labkit.exec.live import Live\n"
        "live = Live('fake', kubeconfig=sys.argv[1])\n"
        "ask = lambda mb: live.run(Exec(step='s', target='node/node-0', argv=('stream', str(mb))))\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024\n"
        "ask(1); before = peak()\n"
        "begun = time.perf_counter(); size = len(ask(int(sys.argv[2])).output); took = time.perf_counter() - begun\n"
        "print(size / took / 1e6, peak() - before); live.close()\n"
    )
    with served(1, 0.0) as path:
        command = [sys.executable, "-c", code, path, str(STREAM_MB)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    speed, memory = map(float, done.stdout.split())
    return speed, memory


def live_arms(runs: int) -> None:
    """Measure and print."""
    say = sys.stdout.write
    say(f"\na fake API server {LATENCY_S * 1000:.0f} ms away; {len(COMMANDS)} commands a node\n")
    one = 0.0
    for nodes in (1, 10, 50):
        took, cpu = node_state(nodes, runs)
        one = one or took
        each = 1000 * cpu / nodes / len(COMMANDS)
        say(
            f"{f'  state of {nodes} nodes, at once':<58} {took:8.2f} s   "
            f"({took / one:.1f} times one; {each:.1f} ms of CPU an exec)\n"
        )
    kubectl = shutil.which("kubectl")
    how = "a kubectl each" if kubectl else "an exec each; there is no kubectl here"
    for nodes in (1, 10):
        took = one_after_the_other(nodes, kubectl)
        say(f"{f'  state of {nodes} nodes, one after the other ({how})':<58} {took:8.2f} s\n")
    speed, memory = stream()
    say(f"{f'  a binary stream of {STREAM_MB} MiB, no latency':<58} {speed:8.0f} MB/s\n")
    say(f"{'  memory for it, more than for one of 1 MiB':<58} {memory / (1 << 20):8.1f} MiB\n")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        live_arms(int(sys.argv[1]))
    else:
        serve(int(sys.argv[1]), float(sys.argv[2]))
