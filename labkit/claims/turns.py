"""Claims about speed that rest on arms measured in turns; for arms that were, and for any two of them.

Where a claim compares an arm with Cilium and one without, `claims.performance` asks here first. Each rests on one
scenario, chosen before the data; all others stand in notebook 04_measurement and decide nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.analysis import cpu, turns
from labkit.errors import MissingFeature
from labkit.findings import claim, inconclusive, refuted, supported
from labkit.measure import results
from labkit.measure.turns import KEY, in_turns
from labkit.schema import concat

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Number, Outcome

__all__ = ["CLAIMS", "CONNECT", "COST", "LATENCY", "THROUGHPUT", "outcome"]

SAID = "(about the run-book) Performance Test Comparison"


@dataclass(frozen=True, slots=True)
class Primary:
    """What a claim rests on: a scenario at full speed to another node, and what it is called."""

    pattern: str
    by: str
    what: str
    cost: bool = False


THROUGHPUT = Primary("stream", "pod-ip", "rate of one TCP stream to a pod on another node")
LATENCY = Primary("rr", "pod-ip", "median time of a request and its answer to a pod on another node")
CONNECT = Primary(
    "crr", "cluster-ip", "median time of a connection and a request to a Service on another node"
)
COST = Primary(
    "stream", "pod-ip", "CPU time of all nodes for the data of one TCP stream to another node", cost=True
)


def outcome(mine: Cluster, other: Cluster, primary: Primary) -> Outcome:
    """The contrast of two arms: `better` supports a claim that `mine` wins, what else is known refutes it.

    Raises MissingFeature where the two were not measured in turns.
    """
    if KEY not in mine.memo or KEY not in other.memo:
        in_turns({mine.arm: mine, other.arm: other})
    trials = concat(_of(results.trials(arm), arm, primary) for arm in (other, mine))
    if primary.cost:
        times = concat(results.cpu_times(arm).assign(arm=arm.arm) for arm in (other, mine))
        table = turns.cost_contrasts(turns.cost(cpu.busy(times), trials), reference=other.arm)
    else:
        table = turns.contrasts(trials, reference=other.arm)
    counted = trials[~trials["warm_up"].astype(bool)]
    evidence = ("versus:" + counted["reply"]).where(counted["arm"] == other.arm, counted["reply"])
    if table.empty:
        both = counted["arm"].nunique() == 2
        why = "the two were measured, but not in turns" if both else "not measured on one of the two arms"
        return inconclusive(f"{primary.what}: {why}", evidence)
    return _said(table.iloc[0], primary, other, list(evidence))


def _of(trials: pd.DataFrame, arm: Cluster, primary: Primary) -> pd.DataFrame:
    mine = (
        (trials["pattern"] == primary.pattern)
        & (trials["by"] == primary.by)
        & (trials["place"] == "other-node")
    )
    return trials[mine & (trials["load"] == 0)].assign(arm=arm.arm)


def _said(row: pd.Series, primary: Primary, other: Cluster, evidence: list[str]) -> Outcome:
    numbers: dict[str, Number] = {
        **{name: round(float(row[name]), 4) for name in ("ratio", "low", "high", "noise")},
        "contrast": str(row["verdict"]),
        "n": int(row["n"]),
        "n_reference": int(row["n_reference"]),
        "bound_pct": round(100 * float(row["bound"]), 1),
    }
    reason = (
        f"{row['says']}: {primary.what}: {row['ratio']:.2f} times that of {other.arm} (95 % interval {row['low']:.2f} to "
        f"{row['high']:.2f}, n = {row['n']} and {row['n_reference']}, measured in turns; an arm differs from itself by "
        f"a factor of {row['noise']:.2f})"
    )
    if row["verdict"] == "unknown":
        return inconclusive(reason, evidence, **numbers)
    return (supported if row["verdict"] == "better" else refuted)(reason, evidence, **numbers)


@claim("faster-throughput", "TCP between pods on different nodes is faster than on the first arm.",
       topic="performance", said=SAID, scope="rivals")  # fmt: skip
def faster_throughput(mine: Cluster, other: Cluster) -> Outcome:
    """One stream of iperf3, by pod address."""
    return outcome(mine, other, THROUGHPUT)


@claim("lower-latency", "A request to a pod on another node is answered sooner than on the first arm.",
       topic="performance", said=SAID, scope="rivals")  # fmt: skip
def lower_latency(mine: Cluster, other: Cluster) -> Outcome:
    """Requests of 64 bytes over one connection, by pod address."""
    return outcome(mine, other, LATENCY)


@claim("faster-connect", "A connection to a Service is made sooner than on the first arm.",
       topic="performance", said=SAID, scope="rivals")  # fmt: skip
def faster_connect(mine: Cluster, other: Cluster) -> Outcome:
    """A connection and one request of 64 bytes, by the address of a Service with one backend."""
    return outcome(mine, other, CONNECT)


@claim("less-cpu", "The nodes need less CPU for the same data than on the first arm.",
       topic="performance", said=SAID, scope="rivals")  # fmt: skip
def less_cpu(mine: Cluster, other: Cluster) -> Outcome:
    """CPU time a gigabit of one stream, from the counters of all machines."""
    return outcome(mine, other, COST)


@claim("pods-as-fast-as-nodes", "Pods on different nodes answer each other as soon as the nodes themselves do.",
       topic="performance", said=SAID)  # fmt: skip
def pods_as_fast_as_nodes(cluster: Cluster) -> Outcome:
    """Requests of 64 bytes over one connection, by pod address, against the same between the nodes."""
    trials = results.trials(cluster).assign(arm=cluster.arm)
    mine = trials[(trials["pattern"] == "rr") & (trials["place"] == "other-node") & (trials["load"] == 0)]
    mine = mine[(mine["size"] == 64) & mine["by"].isin(["pod-ip", "host"])]
    table = turns.of_host(mine)
    evidence = list(mine.loc[~mine["warm_up"].astype(bool), "reply"])
    if table.empty:
        raise MissingFeature(cluster.arm, "pods or nodes were not measured")
    row = table.iloc[0]
    reason = (
        f"{row['says']}: {row['ratio']:.2f} times the time between the nodes (95 % interval {row['low']:.2f} to "
        f"{row['high']:.2f}, n = {row['n']}, measured in turns)"
    )
    numbers: dict[str, Number] = {
        name: round(float(row[name]), 4) for name in ("ratio", "low", "high", "noise")
    }
    if row["verdict"] == "unknown":
        return inconclusive(reason, evidence, **numbers)
    return (refuted if row["verdict"] == "worse" else supported)(reason, evidence, **numbers)


CLAIMS = (faster_throughput, lower_latency, faster_connect, less_cpu, pods_as_fast_as_nodes)
