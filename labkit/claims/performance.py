"""Claims about speed: whether one dataplane is faster, has less latency, connects sooner, takes less CPU.

Each contrast has one primary measure, chosen before the data: the path between nodes, where dataplanes
differ most, with one stream. The other cells stand in the notebook and decide nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis import cpu
from labkit.analysis.statistics import MARGIN, contrasts, per_repetition
from labkit.claims import turns
from labkit.collect import performance
from labkit.errors import MissingFeature
from labkit.findings import claim, inconclusive, refuted, supported
from labkit.schema import concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from labkit.analysis.statistics import Better
    from labkit.cluster import Cluster
    from labkit.findings import Number, Outcome

__all__ = ["CLAIMS"]

SAID = "Performance Test Comparison; Key Takeaways, 3"


@claim(
    "cilium-faster-throughput",
    "TCP between pods on different nodes is faster with Cilium.",
    topic="performance",
    said=SAID,
    scope="pair",
)
def cilium_faster_throughput(cilium: Cluster, other: Cluster) -> Outcome:
    """One stream of iperf3 to a pod on another node: the rate at which data arrive."""
    if (known := _in_turns(cilium, other, turns.THROUGHPUT)) is not None:
        return known
    frame = _both(cilium, other, lambda arm: performance.runs(arm, path="other-node", mode="tcp"))
    return _compare(cilium, other, frame, "received_bps", "higher", "rate of one TCP stream to another node")


@claim(
    "cilium-lower-latency",
    "Packets between pods on different nodes take less time with Cilium.",
    topic="performance",
    said=SAID,
    scope="pair",
)
def cilium_lower_latency(cilium: Cluster, other: Cluster) -> Outcome:
    """The median round trip of 300 pings to a pod on another node; ping between the nodes shows the machine."""
    if (known := _in_turns(cilium, other, turns.LATENCY)) is not None:
        return known
    middle = _both(cilium, other, lambda arm: _middle(performance.echoes(arm), "rtt_us", "path"))
    pods, hosts = (middle[middle["path"] == path] for path in ("other-node", "node-to-node"))
    control = _control(hosts, "rtt_us")
    what = f"median ping to a pod on another node (between the nodes themselves {control:.2f} times)"
    return _compare(cilium, other, pods, "rtt_us", "lower", what, control=control)


@claim(
    "cilium-faster-connect",
    "A new connection to a Service is made sooner with Cilium.",
    topic="performance",
    said=SAID,
    scope="pair",
)
def cilium_faster_connect(cilium: Cluster, other: Cluster) -> Outcome:
    """The median of 100 TCP handshakes with the Service's address, each a connection of its own.

    Reading the address in the URL sends no packet: the time of that shows the machine.
    """
    if (known := _in_turns(cilium, other, turns.CONNECT)) is not None:
        return known
    connect = _both(cilium, other, lambda arm: _middle(_new(arm), "connect_us"))
    control = _control(_both(cilium, other, lambda arm: _middle(_new(arm), "namelookup_us")), "namelookup_us")
    what = f"median time to connect to the Service (what sends no packet takes {control:.2f} times as long)"
    return _compare(cilium, other, connect, "connect_us", "lower", what, control=control)


def _new(cluster: Cluster) -> pd.DataFrame:
    return performance.fetches(cluster, path="service", mode="new-connection")


@claim(
    "cilium-less-cpu",
    "Moving data between nodes takes less CPU with Cilium.",
    topic="performance",
    said="CNI Overlay vs Cilium Comparison: optimized eBPF dataplane",
    scope="pair",
)
def cilium_less_cpu(cilium: Cluster, other: Cluster) -> Outcome:
    """CPU seconds a gigabit, one stream to another node. What else the machine did is in it."""
    if (known := _in_turns(cilium, other, turns.COST)) is not None:
        return known
    readings = _both(cilium, other, lambda arm: performance.cpu_times(arm, path="other-node", mode="tcp"))
    runs = _both(cilium, other, lambda arm: performance.runs(arm, path="other-node", mode="tcp"))
    frame = cpu.cost(cpu.busy(readings), runs)
    what = "CPU for each Gbit/s to another node"
    return _compare(cilium, other, frame, "cores_per_gbps", "lower", what, also=readings["reply"])


@claim(
    "service-costs-latency",
    "Connecting to a Service takes longer than connecting to its pods.",
    topic="performance",
    said="(about the run-book) Service Load Balancing Deep Dive",
)
def service_costs_latency(cluster: Cluster) -> Outcome:
    """The Service leads to either backend, so it is held against both together."""
    frame = performance.fetches(cluster, mode="new-connection")
    frame = frame.assign(to=frame["path"].eq("service").map({True: "service", False: "pods"}))
    values = per_repetition(frame, "connect_us", ["to"])
    found = contrasts(values, "connect_us", [], better="lower", over="to", reference="pods")
    reason = "the median time to connect is {} times that to the pods themselves"
    meaning = {"worse": "supported", "better": "refuted", "no difference": "refuted"}
    return _outcome(found, meaning, reason, frame["reply"])


def _in_turns(cilium: Cluster, other: Cluster, primary: turns.Primary) -> Outcome | None:
    """What the arms show that were measured in turns; None where they were not, but one after the other."""
    try:
        return turns.outcome(cilium, other, primary)
    except MissingFeature:
        return None


def _both(cilium: Cluster, other: Cluster, read: Callable[[Cluster], pd.DataFrame]) -> pd.DataFrame:
    """What both arms say, under each other; the replies of the other are marked as evidence from there."""
    this, versus = read(cilium).assign(arm="this"), read(other).assign(arm="versus")
    versus["reply"] = "versus:" + versus["reply"]
    return concat([this, versus])


def _middle(samples: pd.DataFrame, value: str, *by: str) -> pd.DataFrame:
    return per_repetition(samples, value, [*by, "reply"])


def _control(frame: pd.DataFrame, value: str) -> float:
    """How much something differs between the arms that neither dataplane has a part in: the machine."""
    found = contrasts(frame, value, [], better="lower", reference="versus")
    return 1.0 if found.empty else float(found["ratio"].iloc[0])


def _compare(
    cilium: Cluster,
    other: Cluster,
    frame: pd.DataFrame,
    value: str,
    better: Better,
    what: str,
    *,
    also: Iterable[str] = (),
    control: float = 1,
) -> Outcome:
    """A contrast of the two arms: `better` supports the claim, `worse` and `no difference` refute it."""
    found = contrasts(frame, value, [], better=better, reference="versus", control=control)
    meaning = {"better": "supported", "worse": "refuted", "no difference": "refuted"}
    reason = f"{what}: {{}} times that of {other.arm}{_apart(cilium, other)}"
    return _outcome(found, meaning, reason, [*frame["reply"], *also])


def _outcome(
    found: pd.DataFrame, meaning: Mapping[str, str], reason: str, evidence: Iterable[str]
) -> Outcome:
    if found.empty:
        return inconclusive("nothing was measured on one of the two sides", evidence)
    row = found.iloc[0]
    numbers = {name: round(float(row[name]), 4) for name in ("ratio", "low", "high", "noise")}
    counts: dict[str, Number] = {
        "contrast": str(row["verdict"]),
        "n": int(row["n"]),
        "n_reference": int(row["n_reference"]),
        "margin_pct": 100 * MARGIN,
    }
    ratio = f"{row['ratio']:.2f} (95 % interval {row['low']:.2f} to {row['high']:.2f}, n = {row['n']} and {row['n_reference']})"
    said = f"{row['verdict']}: {reason.format(ratio)}"
    verdict = meaning.get(row["verdict"], "inconclusive")
    if verdict == "inconclusive":
        said += f"; without the dataplane the measure varied by a factor of {row['noise']:.2f}"
        return inconclusive(said, evidence, **numbers, **counts)
    return (supported if verdict == "supported" else refuted)(said, evidence, **numbers, **counts)


def _apart(*arms: Cluster) -> str:
    """A caveat where the arms were not measured at the same time."""
    times = [(frame.min(), frame.max()) for frame in (performance.trials(arm)["started_at"] for arm in arms)]
    overlap = max(start for start, _ in times) <= min(end for _, end in times)
    return "" if overlap else "; they were measured one after the other, so drift of the machine is in it"


CLAIMS = (
    cilium_faster_throughput,
    cilium_lower_latency,
    cilium_faster_connect,
    cilium_less_cpu,
    service_costs_latency,
)
