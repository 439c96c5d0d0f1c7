"""What arms did in their turns, as frames: arm by arm, from the replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.collect.gather import NODE, Collector, collects, stack
from labkit.collect.performance import BOOT_ID
from labkit.errors import ParseError
from labkit.measure.design import PROBES, STREAMS
from labkit.measure.turns import replies
from labkit.parse import iperf3, probe, proc_stat
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply
    from labkit.measure.asking import Trial

__all__ = ["TRIALS", "cpu_times", "samples", "trials"]

SCENARIO = (
    Column(
        "pattern", "str", "stream, stream-4, udp-stream: iperf3; rr, crr, udp, http, http-keep: the probe"
    ),
    Column("place", "str", "where the server is: same-node or other-node"),
    Column(
        "by",
        "str",
        "how it is addressed: pod-ip, cluster-ip, node-port; host: from node to node, without pods",
    ),
    Column("size", "Int64", "bytes of a message; 0: as the tool does it"),
    Column("load", "Int64", "share of the arm's own full speed, in per cent; 0: full speed"),
)
TURN = (
    *SCENARIO,
    Column("pair", "str", "the pair of nodes"),
    Column("round", "Int64", "number of the round; -1 is the warm-up"),
    Column("replica", "Int64", "0 or 1: the arm against itself"),
)
OF_STREAM = ("received_bps", "retransmits", "loss_pct", "jitter_us", "moved_bytes")
OF_PROBE = ("requests", "failed", "late", "per_s", "overhead_us")
TRIALS = Schema(
    "turns",
    "Each trial of the turns that an arm had, in one row.",
    key=("pattern", "place", "by", "size", "load", "pair", "round", "replica"),
    columns=(
        *TURN,
        Column("n", "Int64", "place in the order of all arms' turns, from 0"),
        Column("warm_up", "boolean", "left out of every result"),
        Column("started_at", "datetime64[us, UTC]", "when it was asked for"),
        Column("duration_s", "float64", "until its reply was there"),
        Column("error", "str", "why it has no result; NA where it has one"),
        Column("rate", "float64", "requests a second that were due; NA at full speed"),
        Column("received_bps", "float64", "bits a second that arrived (stream); NA of a probe"),
        Column("retransmits", "Int64", "TCP segments sent again; NA of a probe and of UDP"),
        Column("loss_pct", "float64", "datagrams that did not arrive; NA but of udp-stream"),
        Column("jitter_us", "float64", "smoothed jitter at the receiver (RFC 1889); NA but of udp-stream"),
        Column("moved_bytes", "Int64", "bytes of a stream, with the omitted seconds"),
        Column("requests", "Int64", "requests of a probe"),
        Column("failed", "Int64", "requests without an answer"),
        Column("late", "Int64", "requests sent over a millisecond after they were due"),
        Column("per_s", "float64", "answers a second"),
        Column("overhead_us", "float64", "median round trip between two sockets of the probe itself: no network"),
        Column("latency_us", "float64", "median latency of the requests; NA of a stream"),
        Column("p90_us", "float64", "90th percentile"),
        Column("p99_us", "float64", "99th percentile"),
        Column("p999_us", "float64", "99.9th percentile; NA of fewer than 1,000 requests"),
        Column("connect_us", "float64", "median until a connection was open (crr, http)"),
        REPLY,
    ),
)  # fmt: skip
QUANTILES = {"latency_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
ENOUGH = 1000


def _trials(cluster: Cluster) -> pd.DataFrame:
    """Frame TRIALS: a row for each turn that was taken, the warm-up too. A failed one has `error` and no numbers."""
    return TRIALS.frame(_row(trial) for trial in replies(cluster))


trials = Collector(_trials, TRIALS)


def _row(trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(TRIALS.names)
    row |= {
        **_turn(trial),
        "n": trial.turn.n,
        "warm_up": trial.turn.warm_up,
        "started_at": trial.reply.started_at,
        "duration_s": trial.reply.duration_s,
        "rate": trial.rate or None,
        "reply": trial.reply.id,
    }
    try:
        return row | (_of_stream if trial.scenario.pattern in STREAMS else _of_probe)(trial.reply)
    except ParseError:
        said = trial.reply.stderr.decode(errors="replace").strip().splitlines()
        return row | {
            "error": f"exit code {trial.reply.exit_code}: {said[-1] if said else 'nothing was said'}"
        }


def _turn(trial: Trial) -> dict[str, Any]:
    scenario, turn = trial.scenario, trial.turn
    return {
        "pattern": scenario.pattern,
        "place": scenario.place,
        "by": scenario.by,
        "size": scenario.size,
        "load": scenario.load,
        "pair": turn.block,
        "round": turn.round,
        "replica": turn.replica,
    }


def _of_stream(reply: Reply) -> dict[str, Any]:
    found = iperf3.run(reply.stdout).iloc[0]
    return {name: _known(found[name]) for name in (*OF_STREAM, "error")}


def _of_probe(reply: Reply) -> dict[str, Any]:
    found, kept = probe.probed(reply.stdout).iloc[0], probe.samples(reply.stdout)
    latency = kept["latency_us"].dropna()
    shown = {name: q for name, q in QUANTILES.items() if name != "p999_us" or len(latency) >= ENOUGH}
    return {
        **{name: _known(found[name]) for name in OF_PROBE},
        **{name: float(latency.quantile(q)) if len(latency) else None for name, q in shown.items()},
        "connect_us": float(kept["connect_us"].median()),
        "error": _known(found["error"]) if not len(latency) else None,
    }


def _known(value: Any) -> Any:  # noqa: ANN401  (a cell)
    import pandas as pd  # noqa: PLC0415  (import labkit must stay fast)

    return None if pd.isna(value) else value


@collects(probe.SAMPLES, *TURN)
def samples(cluster: Cluster, *, pattern: str, place: str, by: str, load: int = 0) -> pd.DataFrame:
    """Every request of one scenario, without the warm-up: frame SAMPLES and `reply`."""
    wanted = {"pattern": pattern, "place": place, "by": by, "load": load}
    known = [
        (trial.reply, _turn(trial))
        for trial in replies(cluster)
        if not trial.turn.warm_up
        and trial.scenario.pattern in PROBES
        and wanted.items() <= _turn(trial).items()
    ]
    return stack([one for one in known if one[0].exit_code == 0], probe.samples, samples.schema)


@collects(
    proc_stat.CPU_TIMES,
    Column("repetition", "Int64", "place in the order of all arms' turns, from 0"),
    Column("path", "str", "where the server is"),
    Column("mode", "str", "the pattern, and how the server is addressed"),
    Column("when", "str", "before or after the trial"),
    NODE,
    BOOT_ID,
)
def cpu_times(cluster: Cluster) -> pd.DataFrame:
    """`/proc/stat` of both nodes around those trials that it was read around, without the warm-up."""
    return stack(list(_readings(cluster)), proc_stat.cpu_times, cpu_times.schema)


def _readings(cluster: Cluster) -> Iterator[tuple[Reply, dict[str, object]]]:
    for trial in (t for t in replies(cluster) if not t.turn.warm_up):
        about = {
            "repetition": trial.turn.n,
            "path": trial.scenario.place,
            "mode": f"{trial.scenario.pattern} {trial.scenario.by}",
        }
        for when, readings in (("before", trial.before), ("after", trial.after)):
            for reply in readings:
                node = reply.request.subject.removeprefix("node/")
                yield reply, {**about, "when": when, "node": node, "boot_id": trial.pair.boots[node]}
