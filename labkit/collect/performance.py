"""The replies of the performance plan (labkit.collect.plan) as frames.

The order of the plan is part of the measurement. `trials` runs the whole plan in it; the other collectors
ask for their part of it again, which a recording answers with the same replies: all of it, or that of one
path and one mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import kubernetes
from labkit.collect.gather import NODE, Collector, collects, stack
from labkit.collect.plan import REPETITIONS, plan
from labkit.errors import TimeLimit
from labkit.parse import curl, iperf3, ping, proc_stat
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.collect.plan import Trial
    from labkit.exec.request import Reply

__all__ = ["TRIALS", "cpu_times", "echoes", "fetches", "intervals", "pings", "runs", "trials"]

REPETITION = Column("repetition", "Int64", "number of the repetition of the whole plan, from 0")
PATH = Column("path", "str", "same-node, other-node, service, or node-to-node (host network)")
MODE = Column(
    "mode", "str", "how the tool was used: tcp, tcp-4, tcp-reverse, udp; new-connection, keep-alive; icmp"
)
WHEN = Column("when", "str", "before or after the run of iperf3")
BOOT_ID = Column("boot_id", "str", "boot id of the node's kernel: nodes with the same one share a kernel")

TRIALS = Schema("trials", "What was run, in order.", key=("n",), columns=(
    Column("n", "Int64", "place in the order, from 0"),
    REPETITION,
    Column("tool", "str", "proc-stat, iperf3, ping or curl"),
    PATH,
    MODE,
    Column("target", "str", "what it ran on"),
    Column("started_at", "datetime64[us, UTC]", "when it was asked for"),
    Column("duration_s", "float64", "until its reply was there"),
    Column("exit_code", "Int64", "its exit code"),
))  # fmt: skip


@collects(TRIALS)
def trials(cluster: Cluster, repetitions: int = REPETITIONS) -> pd.DataFrame:
    """Run the whole plan in order, and say when each command ran: frame TRIALS and `reply`."""
    replies = [(trial, _ask(cluster, trial)) for trial in plan(cluster, repetitions)]
    frame = TRIALS.frame(
        {
            "n": n,
            "repetition": trial.repetition,
            "tool": trial.tool,
            "path": trial.path,
            "mode": trial.mode,
            "target": trial.target,
            "started_at": reply.started_at,
            "duration_s": reply.duration_s,
            "exit_code": reply.exit_code,
        }
        for n, (trial, reply) in enumerate(replies)
    )
    frame["reply"] = [reply.id for _, reply in replies]
    return frame.astype({"reply": "str"})


@collects(iperf3.RUN, REPETITION, PATH, MODE)
def runs(cluster: Cluster, repetitions: int = REPETITIONS, *, path: str = "", mode: str = "") -> pd.DataFrame:
    """Each run of iperf3: frame RUN and `reply`. One that failed is a row with `error` and no numbers."""
    return _part(runs, _chosen(cluster, repetitions, "iperf3", path, mode), cluster, iperf3.run)


@collects(iperf3.INTERVALS, REPETITION, PATH, MODE)
def intervals(
    cluster: Cluster, repetitions: int = REPETITIONS, *, path: str = "", mode: str = ""
) -> pd.DataFrame:
    """The seconds of each run of iperf3: frame INTERVALS and `reply`."""
    return _part(intervals, _chosen(cluster, repetitions, "iperf3", path, mode), cluster, iperf3.intervals)


@collects(ping.SUMMARY, REPETITION, PATH)
def pings(cluster: Cluster, repetitions: int = REPETITIONS, *, path: str = "") -> pd.DataFrame:
    """Each run of ping: frame SUMMARY and `reply`."""
    return _part(pings, _chosen(cluster, repetitions, "ping", path), cluster, ping.summary)


@collects(ping.ECHOES, REPETITION, PATH)
def echoes(cluster: Cluster, repetitions: int = REPETITIONS, *, path: str = "") -> pd.DataFrame:
    """Each echo reply: frame ECHOES and `reply`."""
    return _part(echoes, _chosen(cluster, repetitions, "ping", path), cluster, ping.echoes)


@collects(curl.TRANSFERS, REPETITION, PATH, MODE)
def fetches(
    cluster: Cluster, repetitions: int = REPETITIONS, *, path: str = "", mode: str = ""
) -> pd.DataFrame:
    """Each fetch of a page: frame TRANSFERS and `reply`."""
    return _part(fetches, _chosen(cluster, repetitions, "curl", path, mode), cluster, curl.transfers)


@collects(proc_stat.CPU_TIMES, REPETITION, PATH, MODE, WHEN, NODE, BOOT_ID)
def cpu_times(
    cluster: Cluster, repetitions: int = REPETITIONS, *, path: str = "", mode: str = ""
) -> pd.DataFrame:
    """CPU times of every node before and after each run of iperf3: frame CPU_TIMES and `reply`."""
    nodes = kubernetes.nodes(cluster.at("baseline"))
    boots = dict(zip(nodes["node"], nodes["boot_id"], strict=True))
    chosen = _chosen(cluster, repetitions, "proc-stat", path, mode)
    return _part(cpu_times, chosen, cluster, proc_stat.cpu_times, boots)


def _chosen(cluster: Cluster, repetitions: int, tool: str, path: str, mode: str = "") -> list[Trial]:
    """The trials of one tool, all of them or those of a path or a mode."""
    return [
        trial
        for trial in plan(cluster, repetitions)
        if trial.tool == tool and path in ("", trial.path) and mode in ("", trial.mode)
    ]


def _part(
    collector: Collector[...],
    trials: Iterable[Trial],
    cluster: Cluster,
    parse: Callable[[bytes], pd.DataFrame],
    boots: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The replies to these trials, with the columns that the collector puts in front."""
    known = []
    for trial in trials:
        node = trial.target.removeprefix("node/")
        about = {
            "repetition": trial.repetition,
            "path": trial.path,
            "mode": trial.mode,
            "when": trial.when,
            "node": node,
            "boot_id": (boots or {}).get(node),
        }
        known.append((_ask(cluster, trial), about))
    return stack(known, parse, collector.schema)


def _ask(cluster: Cluster, trial: Trial) -> Reply:
    """A command that fails is a result here; one that never ended is none."""
    reply = cluster.at("performance").run(trial.target, trial.argv, sample=trial.sample, check=False)
    if reply.exit_code is None:
        raise TimeLimit(reply)
    return reply
