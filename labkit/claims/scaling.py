"""Claims about many Services: whether they slow connections, and how soon a new one works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.scaling import lag
from labkit.analysis.slopes import repetitions, slopes
from labkit.analysis.statistics import MARGIN, contrasts, per_repetition, ratio, ratio_of_ratios, verdict
from labkit.collect import policy_scaling, programming, scaling
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.analysis.statistics import Floats
    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

#: What counts as soon.
SOON_S = 1.0
MEANING = (
    "more Services cannot make connections faster, so this is the machine, which changed between the steps"
)


@claim(
    "rules-grow-with-services",
    "Every Service adds iptables rules on every node.",
    topic="performance",
    said="(about the run-book) CNI Overlay vs Cilium Comparison: kube-proxy (iptables/IPVS)",
)
def rules_grow_with_services(cluster: Cluster) -> Outcome:
    """Rules on the nodes at each number of Services, and the slots of Cilium's service map beside them."""
    frame = scaling.holdings(cluster)
    rules = _entries(frame, "iptables rules")
    fewest, most = rules.index.min(), rules.index.max()
    per_service = (rules[most] - rules[fewest]) / (most - fewest)
    slots = _entries(frame, "service map slots")
    reason = f"{rules[fewest]} rules with {fewest} Services, {rules[most]} with {most}"
    if not slots.empty:
        reason += f"; the service map has {slots[fewest]} slots and {slots[most]}"
    numbers = {
        "rules_per_service": round(float(per_service), 2),
        "services": int(most),
        "rules": int(rules[most]),
    }
    if per_service > 0:
        return supported(f"{reason}: {per_service:.1f} a Service", frame["reply"], **numbers)
    return refuted(reason, frame["reply"], **numbers)


def _entries(frame: pd.DataFrame, holds: str) -> pd.Series[int]:
    """The most that a node holds, by number of Services."""
    return frame[frame["holds"] == holds].groupby("services")["entries"].max()


@claim(
    "services-slow-connections",
    "Connecting to a Service takes longer the more Services there are.",
    topic="performance",
    said="(about the run-book) CNI Overlay vs Cilium Comparison: kube-proxy (iptables/IPVS)",
)
def services_slow_connections(cluster: Cluster) -> Outcome:
    """The median time to connect with the most Services against that with fewest of the extra ones."""
    connections = scaling.connections(cluster)
    values = _extra(connections)
    control = _control(connections)
    found = contrasts(values, "connect_us", [], better="lower", over="services", control=control)
    if found.empty:
        return inconclusive("connections succeeded at one number of Services only", connections["reply"])
    row = found.iloc[-1]
    reason = (
        f"{row['verdict']}: with {row['services']} Services {row['ratio']:.2f} times as long as with {row['reference']} "
        f"(95 % interval {row['low']:.2f} to {row['high']:.2f}, n = {row['n']} and {row['n_reference']}); what sends no "
        f"packet took {control:.2f} times as long{_busy(cluster)}"
    )
    numbers = {name: round(float(row[name]), 4) for name in ("ratio", "low", "high", "noise")} | {
        "control": round(control, 4)
    }
    counts = {"n": int(row["n"]), "n_reference": int(row["n_reference"])}
    if row["verdict"] == "worse":
        return supported(reason, connections["reply"], **numbers, **counts)
    if row["verdict"] == "no difference":
        return refuted(reason, connections["reply"], **numbers, **counts)
    if row["verdict"] == "better":
        reason += f"; {MEANING}"
    return inconclusive(reason, connections["reply"], **numbers, **counts)


def _extra(connections: pd.DataFrame, value: str = "connect_us") -> pd.DataFrame:
    """The median of each repetition, of the extra Services."""
    extra = connections[connections["position"] != "only"]
    return per_repetition(extra, value, ["services", "position"])


def _control(connections: pd.DataFrame) -> float:
    """The growth of a time that Services have no part in: curl reads the address in the URL, sending nothing."""
    few, many = _ends(connections, "namelookup_us")
    return ratio(many, few)[0]


def _busy(cluster: Cluster) -> str:
    """A caveat where the control plane was still at work on the Services when connections were timed."""
    slices = scaling.slices(cluster)
    missing = int(slices["slice_at"].isna().sum())
    return f"; the control plane was still making EndpointSlices for {missing} of them" if missing else ""


@claim(
    "cilium-scales-with-services",
    "The time to connect grows less with the number of Services with Cilium.",
    topic="performance",
    said="Key Takeaways, 3; Best Practices: performance-critical applications",
    scope="pair",
)
def cilium_scales_with_services(cilium: Cluster, other: Cluster) -> Outcome:
    """Growth from the fewest extra Services to the most, in one arm against the other."""
    this, versus = scaling.connections(cilium), scaling.connections(other)
    evidence = [*this["reply"], *(f"versus:{reply}" for reply in versus["reply"])]
    (few, many), (other_few, other_many) = _ends(this), _ends(versus)
    grown, *ends = ratio_of_ratios(many, few, other_many, other_few)
    mine, others = ratio(many, few)[0], ratio(other_many, other_few)[0]
    numbers = {
        "growth": round(mine, 4),
        "growth_versus": round(others, 4),
        "n": len(many),
        "n_versus": len(other_many),
    }
    reason = f"{cilium.arm} takes {mine:.2f} times as long with the most Services as with few, {other.arm} {others:.2f} times"
    controls = _control(this), _control(versus)
    drift = max(1 / mine, 1 / others, *controls, *(1 / control for control in controls))
    reason += f" (what sends no packet {controls[0]:.2f} and {controls[1]:.2f} times)"
    if drift > 1 + MARGIN and max(mine, others) <= drift:
        return inconclusive(f"{reason}: the machine changed by more than either grew", evidence, **numbers)
    low, high = ends
    says = verdict(grown, low, high, better="lower", noise=drift)
    reason += f": {says}, growth relative to it is {grown:.2f} (95 % interval {low:.2f} to {high:.2f})"
    outcome = {"better": supported, "worse": refuted, "no difference": refuted}.get(says, inconclusive)
    return outcome(reason, evidence, **numbers, contrast=says)


def _ends(connections: pd.DataFrame, value: str = "connect_us") -> tuple[Floats, Floats]:
    """The median of each repetition, with the fewest extra Services and with the most."""
    values = _extra(connections, value)
    sizes = sorted(values["services"].unique())
    few, many = (values.loc[values["services"] == size, value] for size in (sizes[0], sizes[-1]))
    return few.to_numpy(dtype=float), many.to_numpy(dtype=float)


@claim(
    "new-service-works-at-once",
    "A new Service takes connections as soon as it is applied.",
    topic="performance",
    said="(about the run-book) Load Balancing",
)
def new_service_works_at_once(cluster: Cluster) -> Outcome:
    """Connections to the last of many new Services: how many failed, and until when."""
    connections, slices = scaling.connections(cluster), scaling.slices(cluster)
    evidence = [*connections["reply"], *slices["reply"]]
    found = lag(connections.assign(arm=cluster.arm), slices.assign(arm=cluster.arm))
    row = found.sort_values("services").iloc[-1]
    numbers = {
        "failed": int(row["failed"]),
        "at_most_s": round(float(row["at_most_s"]), 1),
        "services": int(row["services"]),
    }
    if not row["failed"]:
        reason = f"none of its connections failed, but the first was tried only {row['at_most_s']:.0f} s after it was applied"
        return inconclusive(reason, evidence, **numbers)
    reason = (
        f"{row['failed']} connections to the last of {row['extra']} new Services failed; it worked between "
        f"{row['at_least_s']:.1f} and {row['at_most_s']:.1f} s after its creation"
    )
    if row["no_slice_for_s"] > 0:
        reason += (
            f"; for at least {row['no_slice_for_s']:.1f} s of that it had no EndpointSlice, so that part is the control "
            "plane's and not the dataplane's"
        )
        numbers["no_slice_for_s"] = round(float(row["no_slice_for_s"]), 1)
    return refuted(reason, evidence, at_least_s=round(float(row["at_least_s"]), 1), **numbers)


@claim(
    "change-effective-in-a-second",
    "One Service more takes connections on every node within a second, however many there are.",
    topic="performance",
    said="(about the run-book) Load Balancing",
)
def change_effective_in_a_second(cluster: Cluster) -> Outcome:
    """From applying one Service beside the most that were there, to its connections from every frontend."""
    frame = programming.programming(cluster)
    applied = frame[(frame["kind"] == "Service") & (frame["change"] == "applied")]
    many = applied[applied["size"] == applied["size"].max()]
    evidence = applied["reply"]
    if many.empty or many["at_most_s"].isna().any():
        return inconclusive("a Service that was applied did not take connections until the limit", evidence)
    least, most = float(many["at_least_s"].median()), float(many["at_most_s"].median())
    reason = (
        f"beside {many['size'].iloc[0]} Services it took between {least:.2f} and {most:.2f} s (medians of both bounds, n = "
        f"{len(many)}; at most {many['at_most_s'].max():.2f} s)"
    )
    numbers = {"at_least_s": round(least, 3), "at_most_s": round(most, 3), "n": len(many)}
    if many["at_most_s"].max() < SOON_S:
        return supported(reason, evidence, **numbers)
    return (refuted if least > SOON_S else inconclusive)(reason, evidence, **numbers)


@claim(
    "policies-slow-connections",
    "Connections take longer the more policies select their backend.",
    topic="performance",
    said="(about the run-book) Network Policy Testing",
)
def policies_slow_connections(cluster: Cluster) -> Outcome:
    """Connections from frontends to backends on another node: the slope over the number of policies."""
    connections = policy_scaling.connections(cluster).assign(arm=cluster.arm)
    away = connections[connections["path"] == "other-node"]
    both = repetitions(away, "connect_us", ["arm", "policies"], "namelookup_us")
    found = slopes(both, "connect_us", size="policies", control="namelookup_us")
    evidence = away["reply"]
    if found.empty:
        return inconclusive("connections succeeded with one number of policies only", evidence)
    row = found.iloc[0]
    reason = (
        f"{row['verdict']}: {row['growth_pct']:+.0f} % from {row['sizes'].split(', ')[0]} to {row['sizes'].split(', ')[-1]} "
        f"policies; {row['slope']:.0f} µs for 1,000 more (95 % interval {row['low']:.0f} to {row['high']:.0f}, n = "
        f"{row['n']}); what sends no packet changed by {row['control_pct']:.0f} %"
    )
    numbers = {name: round(float(row[name]), 2) for name in ("slope", "low", "high", "control_pct")}
    outcome = {"grows": supported, "flat": refuted}.get(str(row["verdict"]), inconclusive)
    return outcome(reason, evidence, n=int(row["n"]), **numbers)


CLAIMS = (
    rules_grow_with_services,
    services_slow_connections,
    cilium_scales_with_services,
    new_service_works_at_once,
    change_effective_in_a_second,
    policies_slow_connections,
)
