"""One trial: the command of a scenario between a pair of nodes, and readings of the nodes' CPU time around it."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.experiments.manifests import PROBE
from labkit.measure.design import STREAMS, Scenario
from labkit.parse import iperf3, probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply
    from labkit.measure.design import Design
    from labkit.measure.pairs import Pair
    from labkit.measure.schedule import Turn

__all__ = ["Trial", "ask", "capacity", "value"]

READING = ("cat", "/proc/stat")
UDP_RATE, UDP_BYTES = "500M", "1200"
#: Runs at full speed that a load is a share of, and the number that their samples begin with.
CAPACITY_RUNS, CAPACITY_SAMPLE = 3, 9000
#: What the CPU time is read around: full speed, to the other node, at the addresses that differ.
COSTED = ("stream", "stream-4", "rr", "crr"), ("pod-ip", "cluster-ip", "host")


@dataclass(frozen=True, slots=True)
class Trial:
    """A turn that was taken: what was asked, its reply, and the readings before and after it by node."""

    turn: Turn
    scenario: Scenario
    pair: Pair
    rate: float
    reply: Reply
    #: Bits a second of a stream, else the median latency in microseconds; NaN if it failed.
    value: float
    before: Sequence[Reply] = ()
    after: Sequence[Reply] = ()


def ask(cluster: Cluster, design: Design, pair: Pair, turn: Turn, rate: float) -> Trial:
    """Take a turn. `rate` is in requests a second, 0 for full speed. What a command fails with is its result."""
    scenario = Scenario.named(turn.scenario)
    costed = scenario.place == "other-node" and not scenario.load
    nodes = (
        [f"node/{node}" for node in pair.nodes]
        if costed and (scenario.pattern, scenario.by) in _costed()
        else []
    )
    number = 2 * (turn.sample * len(design.scenarios) * design.pairs + _place(design, turn))
    argv = command(design, pair, scenario, rate)
    before = cluster.run_each(nodes, READING, sample=number)
    reply = cluster.run(pair.target(scenario), argv, sample=turn.sample, check=False)
    after = cluster.run_each(nodes, READING, sample=number + 1)
    return Trial(turn, scenario, pair, rate, reply, value(scenario, reply.stdout), before, after)


def _costed() -> set[tuple[str, str]]:
    patterns, addressed = COSTED
    return {(pattern, by) for pattern in patterns for by in addressed}


def _place(design: Design, turn: Turn) -> int:
    """The number of a scenario between a pair, whatever the order that was drawn."""
    return design.scenarios.index(turn.scenario) * design.pairs + ord(turn.block) - ord("a")


def capacity(cluster: Cluster, design: Design, pair: Pair, scenario: Scenario) -> float:
    """Requests a second that a scenario comes to at full speed, to three digits: the median of a few runs.

    It is asked before all rounds; what a load is a share of. 0 where no run had an answer.
    """
    full = scenario.full_speed
    argv = command(design, pair, full, 0)
    runs = [
        cluster.run(pair.target(full), argv, sample=CAPACITY_SAMPLE + k, check=False)
        for k in range(CAPACITY_RUNS)
    ]
    speeds = [float(probe.probed(run.stdout)["per_s"].iloc[0]) for run in runs if run.exit_code == 0]
    found = statistics.median(speeds) if speeds else 0.0
    return round(found, 2 - math.floor(math.log10(found))) if found else 0.0


def command(design: Design, pair: Pair, scenario: Scenario, rate: float) -> tuple[str, ...]:
    """The argv of a scenario."""
    if scenario.pattern in STREAMS:
        udp = scenario.pattern == "udp-stream"
        host, port = pair.address(scenario, "iperf3")
        run = ("iperf3", "-J", "-c", host, "-p", str(port), "-t", str(design.stream_s))
        if udp:
            return (*run, "-u", "-b", UDP_RATE, "-l", UDP_BYTES)
        count = STREAMS[scenario.pattern]
        omit = ("-O", str(design.omit_s)) if design.omit_s else ()
        return (*run, *omit, *(("-P", str(count)) if count > 1 else ()))
    tool = "http" if scenario.pattern.startswith("http") else "probe"
    host, port = pair.address(scenario, tool, "UDP" if scenario.pattern == "udp" else "TCP")
    size = ("--size", str(scenario.size)) if scenario.size else ()
    at = ("--rate", f"{rate:g}") if rate else ()
    return ("python3", "-c", PROBE, scenario.pattern, host, str(port), str(design.requests), *size, *at)


def value(scenario: Scenario, stdout: bytes) -> float:
    """What a trial comes to, from what its command printed."""
    try:
        if scenario.pattern in STREAMS:
            return float(iperf3.run(stdout)["received_bps"].iloc[0])
        return float(probe.samples(stdout)["latency_us"].median())
    except ParseError:
        return math.nan
