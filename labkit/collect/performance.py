"""The replies of the performance plan (labkit.collect.plan) as frames.

The order of the plan is part of the measurement. `trials` runs the whole plan in it, whatever is asked for;
the other collectors read their part of its replies: all of it, or that of one path and one mode. With
`repetitions` they read the first so many; 0 reads all that the arm's plan has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.cluster import once
from labkit.collect import kubernetes
from labkit.collect.gather import NODE, Collector, collects, stack
from labkit.collect.plan import Plan, placement, plan
from labkit.collect.services import SAVE
from labkit.errors import ReplayMiss, TimeLimit
from labkit.parse import curl, iperf3, ping, proc_stat
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.collect.plan import Trial
    from labkit.exec.request import Reply

__all__ = [
    "STEP", "TRIALS", "around", "cpu_times", "echoes", "fetches", "intervals", "pings", "replies", "runs",
    "trials",
]  # fmt: skip

STEP = "performance"
#: Within how many seconds, beside those of the run, a run and the readings around it were made.
TOGETHER_S = 60

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


def replies(cluster: Cluster) -> list[tuple[Trial, Reply]]:
    """Run the whole plan in order: each command with its reply."""
    return _run(cluster)[0]


def around(cluster: Cluster) -> tuple[Reply, Reply] | None:
    """The rules of the client's node with their counters, right before and after the plan; None of a recording
    that does not hold them. They show which server the Service of iperf3 led to.
    """
    return _run(cluster)[1]


@once
def _run(cluster: Cluster) -> tuple[list[tuple[Trial, Reply]], tuple[Reply, Reply] | None]:
    here, target = cluster.at(STEP), f"node/{placement(cluster).client_node}"
    try:
        before = here.run(target, SAVE, check=False)
    except ReplayMiss:
        return [(trial, _ask(cluster, trial)) for trial in plan(cluster)], None
    done = [(trial, _ask(cluster, trial)) for trial in plan(cluster)]
    return done, (before, here.run(target, SAVE, sample=1, check=False))


@collects(TRIALS)
def trials(cluster: Cluster, repetitions: int = 0) -> pd.DataFrame:
    """Run the whole plan in order, and say when each command ran: frame TRIALS and `reply`."""
    known = _chosen(cluster, repetitions)
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
        for n, (trial, reply) in enumerate(known)
    )
    frame["reply"] = [reply.id for _, reply in known]
    return frame.astype({"reply": "str"})


@collects(iperf3.RUN, REPETITION, PATH, MODE)
def runs(cluster: Cluster, repetitions: int = 0, *, path: str = "", mode: str = "") -> pd.DataFrame:
    """Each run of iperf3: frame RUN and `reply`. One that failed is a row with `error` and no numbers."""
    return _part(runs, _chosen(cluster, repetitions, "iperf3", path, mode), iperf3.run)


@collects(iperf3.INTERVALS, REPETITION, PATH, MODE)
def intervals(cluster: Cluster, repetitions: int = 0, *, path: str = "", mode: str = "") -> pd.DataFrame:
    """The seconds of each run of iperf3: frame INTERVALS and `reply`."""
    return _part(intervals, _chosen(cluster, repetitions, "iperf3", path, mode), iperf3.intervals)


@collects(ping.SUMMARY, REPETITION, PATH)
def pings(cluster: Cluster, repetitions: int = 0, *, path: str = "") -> pd.DataFrame:
    """Each run of ping: frame SUMMARY and `reply`."""
    return _part(pings, _chosen(cluster, repetitions, "ping", path), ping.summary)


@collects(ping.ECHOES, REPETITION, PATH)
def echoes(cluster: Cluster, repetitions: int = 0, *, path: str = "") -> pd.DataFrame:
    """Each echo reply: frame ECHOES and `reply`."""
    return _part(echoes, _chosen(cluster, repetitions, "ping", path), ping.echoes)


@collects(curl.TRANSFERS, REPETITION, PATH, MODE)
def fetches(cluster: Cluster, repetitions: int = 0, *, path: str = "", mode: str = "") -> pd.DataFrame:
    """Each fetch of a page: frame TRANSFERS and `reply`."""
    return _part(fetches, _chosen(cluster, repetitions, "curl", path, mode), curl.transfers)


@collects(proc_stat.CPU_TIMES, REPETITION, PATH, MODE, WHEN, NODE, BOOT_ID)
def cpu_times(cluster: Cluster, repetitions: int = 0, *, path: str = "", mode: str = "") -> pd.DataFrame:
    """CPU times of every node before and after each run of iperf3: frame CPU_TIMES and `reply`.

    Readings that a run which went on later did not take right around theirs have no rows.
    """
    nodes = kubernetes.nodes(cluster.at("baseline"))
    boots = dict(zip(nodes["node"], nodes["boot_id"], strict=True))
    apart = _apart(cluster)
    chosen = [
        (trial, reply)
        for trial, reply in _chosen(cluster, repetitions, "proc-stat", path, mode)
        if (trial.repetition, trial.path, trial.mode) not in apart
    ]
    return _part(cpu_times, chosen, proc_stat.cpu_times, boots)


def _apart(cluster: Cluster) -> set[tuple[int, str, str]]:
    """The runs of iperf3 that were not made together with the readings around them."""
    times: dict[tuple[int, str, str], list[float]] = {}
    for trial, reply in replies(cluster):
        if trial.tool in ("iperf3", "proc-stat"):
            test = (trial.repetition, trial.path, trial.mode)
            began = reply.started_at.timestamp()
            times.setdefault(test, []).extend([began, began + reply.duration_s])
    run_s = Plan.from_about(cluster.about).run_s
    return {test for test, at in times.items() if max(at) - min(at) > run_s + TOGETHER_S}


def _chosen(
    cluster: Cluster, repetitions: int, tool: str = "", path: str = "", mode: str = ""
) -> list[tuple[Trial, Reply]]:
    """The replies of one tool, all of them or those of a path or a mode."""
    return [
        (trial, reply)
        for trial, reply in replies(cluster)
        if tool in ("", trial.tool)
        and path in ("", trial.path)
        and mode in ("", trial.mode)
        and (not repetitions or trial.repetition < repetitions)
    ]


def _part(
    collector: Collector[...],
    chosen: Iterable[tuple[Trial, Reply]],
    parse: Callable[[bytes], pd.DataFrame],
    boots: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """These replies, with the columns that the collector puts in front."""
    known = []
    for trial, reply in chosen:
        node = trial.target.removeprefix("node/")
        about = {
            "repetition": trial.repetition,
            "path": trial.path,
            "mode": trial.mode,
            "when": trial.when,
            "node": node,
            "boot_id": (boots or {}).get(node),
        }
        known.append((reply, about))
    return stack(known, parse, collector.schema)


def _ask(cluster: Cluster, trial: Trial) -> Reply:
    """A command that fails is a result here; one that never ended is none."""
    reply = cluster.at(STEP).run(trial.target, trial.argv, sample=trial.sample, check=False)
    if reply.exit_code is None:
        raise TimeLimit(reply)
    return reply
