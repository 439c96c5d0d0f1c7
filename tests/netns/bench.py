"""What `make bench` says of labs of namespaces: `python -m tests.netns.bench [RUNS]`, as root.

Labs that are compared stand beside each other and are asked in turns, so that what the machine does meanwhile
meets all of them. Figures are medians of rounds with the least and the most.
"""

from __future__ import annotations

import inspect
import json
import statistics
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from labkit import probe
from labkit.errors import LabError
from labkit.exec.netns import Netns
from labkit.exec.request import Apply, Exec, Read
from labkit.netns.topology import TOPOLOGIES
from labkit.parse import iptables
from tests.netns.conftest import NAMESPACE, Arm, lacking, named, pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROBE = inspect.getsource(probe)
PORT, CONNECTIONS, ROUNDS = 9000, 200, 5
SERVICES = (1, 100, 1_000, 10_000)
STREAM_S = 2
LIMIT_S = 120.0
PODS = (
    pod("client", "node-1"),
    pod("server", "node-2", command=["python3", "-c", PROBE, "server", str(PORT)]),
    pod("stream", "node-2", "networkstatic/iperf3", args=["-s"]),
)
#: Connects to each address until all of them answer; prints the seconds since a time of the wall clock.
AWAIT = """
import socket, sys, time
began, limit, port, left = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
while left and time.time() - began < limit:
    try:
        socket.create_connection((left[0], port), 0.02).close()
        del left[0]
    except OSError:
        time.sleep(0.005)
print(time.time() - began if not left else "nan")
"""


def say(what: str, values: Sequence[float], unit: str, digits: int = 2) -> None:
    """A line: what was measured, the median, the least and the most."""
    low, middle, high = (
        f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    sys.stdout.write(f"{what:<58} {middle:>10} {unit:<5} ({low} to {high}, n = {len(values)})\n")
    sys.stdout.flush()


# --- from nothing to a first packet, and back to nothing ---


def life(topology: str) -> tuple[float, float, float]:
    """Seconds until a lab answers, until the first echo between pods on two nodes, and of its end."""
    began = time.perf_counter()
    lab = Netns(topology)
    ready = time.perf_counter()
    with closing(lab):
        objects = (NAMESPACE, pod("near", "node-1"), pod("far", "node-2"))
        lab.run(Apply(step="bench", objects=named(objects), manifest=json.dumps(objects)))
        ping = ("ping", "-c", "1", "-W", "1", _ip(lab, "far"))
        _ip(lab, "near")
        echo = lab.run(Exec(step="bench", target="pod/test/near/main", argv=ping))
        first = time.perf_counter()
        assert echo.exit_code == 0, echo
    return ready - began, first - began, time.perf_counter() - first


def _ip(lab: Netns, name: str) -> str:
    """The address of a pod, once it runs."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        status = json.loads(lab.run(Read(step="bench", path=f"/api/v1/namespaces/test/pods/{name}")).stdout)[
            "status"
        ]
        if status["phase"] == "Running":
            return str(status["podIP"])
        time.sleep(0.005)
    raise LabError(f"pod {name} did not run within {LIMIT_S:.0f} s")


def lives(topologies: Sequence[str], runs: int) -> None:
    found = defaultdict(list)
    for _ in range(runs):
        for topology in topologies:
            found[topology].append(life(topology))
    for topology, seconds in found.items():
        for what, values in zip(
            ("its API answers", "first packet between pods", "end"), zip(*seconds, strict=True), strict=True
        ):
            say(f"{topology}: {what}", values, "s")


# --- what the wiring costs ---


def wirings(arms: Mapping[str, Arm]) -> None:
    """One stream and round trips between pods on two nodes."""
    found = defaultdict(list)
    for number in range(ROUNDS):
        for name, arm in _in_turn(arms, number):
            target = arm.ip("server")
            stream = arm.json("client", "iperf3", "-J", "-t", str(STREAM_S), "-c", arm.ip("stream"))
            found[name, "one TCP stream", "Gbit/s"].append(
                stream["end"]["sum_received"]["bits_per_second"] / 1e9
            )
            asked = _probed(arm, "rr", target, 5 * CONNECTIONS)
            found[name, "round trip over one connection", "µs"].append(
                statistics.median(asked["latency_ns"]) / 1e3
            )
    for (name, what, unit), values in sorted(found.items(), key=lambda item: item[0][1]):
        say(f"{name}: {what}", values, unit)


def _probed(arm: Arm, pattern: str, ip: str, count: int) -> dict[str, Any]:
    """What the probe found between the pods of this module. No sample may have failed."""
    found: dict[str, Any] = arm.json("client", "python3", "-c", PROBE, pattern, ip, str(PORT), str(count))
    assert not found["failed"], found["errors"]
    return found


def _in_turn(arms: Mapping[str, Arm], number: int) -> Iterator[tuple[str, Arm]]:
    """Each arm; another one first each time."""
    names = list(arms)
    first = number % len(names)
    return ((name, arms[name]) for name in names[first:] + names[:first])


# --- what Services cost, as they become more ---


def service(number: int) -> dict[str, Any]:
    """A Service on the server. Its address follows from its name, so all arms have the same."""
    spec = {"selector": {"app": "server"}, "ports": [{"port": PORT}]}
    meta = {"name": f"scale-{number:05d}", "namespace": "test"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def scaling(arms: Mapping[str, Arm]) -> None:
    """Add Services; how long until all work, until one more works, and how long connections take."""
    there = 0
    for count in SERVICES:
        sys.stdout.write(f"\n{count:,} Services\n")
        for name, arm in arms.items():
            say(
                f"{name}: {count - there:,} added, until the last one answers",
                [_added(arm, range(there, count))],
                "s",
            )
        there = count + ROUNDS
        found = defaultdict(list)
        for number in range(ROUNDS):
            for name, arm in _in_turn(arms, number):
                found[name].append(_added(arm, range(count + number, count + number + 1)))
        for name, values in found.items():
            say(f"{name}: one more, until it answers", values, "s")
        connections(arms)


def _added(arm: Arm, numbers: Sequence[int]) -> float:
    """Seconds from the request for these Services until the last one of them answers a pod on another node."""
    began = time.time()
    arm.apply(*map(service, numbers))
    ip = arm.read(f"/api/v1/namespaces/test/services/{service(numbers[-1])['metadata']['name']}")["spec"][
        "clusterIP"
    ]
    return float(arm.run("client", "python3", "-c", AWAIT, str(began), str(LIMIT_S), str(PORT), ip).text)


def connections(arms: Mapping[str, Arm]) -> None:
    """Connections to the server itself, and by the first and the last Service in the order of the rules."""
    first, last = _ends(arms["routed"])
    targets: dict[str, Callable[[Arm], str]] = {
        "the pod": lambda arm: arm.ip("server"), "the first Service": lambda _: first, "the last Service": lambda _: last,
    }  # fmt: skip
    took, rate = defaultdict(list), defaultdict(list)
    for number in range(ROUNDS):
        for name, arm in _in_turn(arms, number):
            for what, ip in targets.items():
                asked = _probed(arm, "crr", ip(arm), CONNECTIONS)
                took[name, what].append(statistics.median(asked["connect_ns"]) / 1e3)
                rate[name, what].append(CONNECTIONS / (asked["took_ns"] / 1e9))
    for (name, what), values in sorted(took.items()):
        say(f"{name}: to connect to {what}", values, "µs", 1)
    for (name, what), values in sorted(rate.items()):
        say(f"{name}: connections, one after the other, to {what}", values, "/s", 0)


def _ends(arm: Arm) -> tuple[str, str]:
    """Addresses of the first and the last Service of this module in the chain that every connection walks."""
    rules = iptables.rules(arm.run("node-1", "iptables-save", "-c").stdout)
    mine = rules[(rules["table"] == "nat") & (rules["chain"] == "KUBE-SERVICES")].sort_values("position")
    ips = mine.loc[mine["comment"].str.contains("test/scale-", na=False), "dst"]
    return str(ips.iloc[0]).partition("/")[0], str(ips.iloc[-1]).partition("/")[0]


def main() -> None:
    """Measure and print; what this machine lacks for a topology is said instead."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    for name in TOPOLOGIES:
        if lacking(name):
            sys.stdout.write(f"no lab {name} here: {lacking(name)}\n")
    topologies = [name for name in TOPOLOGIES if not lacking(name)]
    if topologies != list(TOPOLOGIES):
        return
    sys.stdout.write("\nlabs of namespaces\n")
    lives(topologies, runs)
    with ExitStack() as held:
        arms = {name: held.enter_context(closing(Arm(name))) for name in topologies}
        for arm in arms.values():
            arm.apply(NAMESPACE, *PODS)
        for arm in arms.values():
            for one in PODS:
                arm.when(lambda arm=arm, one=one: _ready(arm, one["metadata"]["name"]), bool)
        sys.stdout.write("\nbetween pods on two nodes\n")
        wirings(arms)
        scaling({name: arms[name] for name in ("routed", "ebpf")})


def _ready(arm: Arm, name: str) -> bool:
    """Whether a pod runs and what it serves answers."""
    status = arm.read(f"/api/v1/namespaces/test/pods/{name}")["status"]
    return status["phase"] == "Running"


if __name__ == "__main__":
    main()
