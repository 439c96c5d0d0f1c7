"""Whether what was read of an arm explains its packets, and is what the API wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.audit import STATES
from labkit.analysis.paths.differences import summary
from labkit.errors import ParameterError
from labkit.explain import audit, differences, explain
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

CLIENT, SERVICE = "app=frontend", "backend-service"
#: How many of what was found a reason names.
NAMED = 2
#: Characters of the state that a reason shows.
SHOWN = 240


@claim(
    "packets-go-as-explained",
    "Every captured flow went the way that routes, rules and maps predict.",
    topic="packets",
    said="about the run-book's Packet Capture and Analysis; nothing is said of why a packet goes its way",
)
def packets_go_as_explained(cluster: Cluster) -> Outcome:
    """Each device at which a flow was predicted or seen: addresses, ports, TTL, tunnel, in both directions."""
    found = differences(cluster)
    flows = summary(found)[["flows", "hops", "agreeing", "differing", "not_modelled"]].sum()
    numbers = {name: int(flows[name]) for name in ("flows", "hops", "agreeing", "differing", "not_modelled")}
    evidence = [*_replies(found["reply"]), *_replies(found["state_replies"])]
    if not numbers["flows"]:
        return inconclusive("no flow was captured from its beginning", evidence)
    if numbers["differing"]:
        first = found[found["agrees"].eq(other=False).fillna(value=False)].iloc[0]
        return refuted(
            f"{numbers['differing']} of {numbers['flows']} flows did not; first {first['flow']}: predicted "
            f"{_or_nothing(first['predicted'])}, seen {_or_nothing(first['observed'])}; by {_or_nothing(first['rests_on'])[:SHOWN]}",
            evidence, **numbers,
        )  # fmt: skip
    if numbers["not_modelled"]:
        return inconclusive(
            f"{numbers['not_modelled']} of {numbers['flows']} flows take a way that is not modelled; the others agree",
            evidence, **numbers,
        )  # fmt: skip
    return supported(
        f"all {numbers['flows']} flows, at {numbers['hops']} devices in both directions", evidence, **numbers
    )


def _replies(cells: pd.Series) -> list[str]:
    """The ids in cells that may hold several."""
    return [reply for cell in cells.dropna().unique() for reply in cell.split()]


def _or_nothing(cell: object) -> str:
    return cell if isinstance(cell, str) else "nothing"


@claim(
    "nodes-hold-what-the-api-wants",
    "Routes, tunnels, neighbours, Services, identities and policies on every node are what the API wants.",
    topic="cilium",
    said="Cilium Network Analysis, Route Table Analysis on Node",
)
def nodes_hold_what_the_api_wants(cluster: Cluster) -> Outcome:
    """Each entry that a node should have, and each that it has: none missing, stale, wrong or doubled."""
    found = audit(cluster)
    evidence = _replies(found["reply"])
    counts = found["state"].value_counts()
    numbers = {state: int(counts.get(state, 0)) for state in STATES}
    kinds = ", ".join(dict.fromkeys(found["kind"]))
    if found.empty:
        return inconclusive("nothing that a node is programmed with was read", evidence)
    bad = found[found["state"] != "matching"]
    if len(bad):
        return refuted(f"{len(bad)} of {len(found)} entries are not: {_first(bad)}", evidence, **numbers)
    return supported(f"all {len(found)} entries are ({kinds})", evidence, **numbers)


def _first(bad: pd.DataFrame) -> str:
    sizes = bad.groupby(["kind", "state"], as_index=False).size()
    counts = ", ".join(f"{row['size']} {row['state']} in {row['kind']}" for row in sizes.to_dict("records"))
    rows = bad.head(NAMED).to_dict("records")
    named = "; ".join(f"on {row['node']} {row['kind']} {row['entry']}" for row in rows)
    return f"{counts} (such as {named})"


@claim(
    "services-without-iptables",
    "The way of a packet from a pod to a Service passes no rule of iptables.",
    topic="packets",
    said="Traffic Flow Comparison (bypasses iptables)",
)
def services_without_iptables(cluster: Cluster) -> Outcome:
    """The rules that the first packet to the Service is compared with, on all nodes, as the state predicts."""
    try:
        hops = explain(cluster, CLIENT, SERVICE)
    except ParameterError as error:
        return inconclusive(str(error))
    forth = hops[hops["way"].str.startswith("1")]
    walked = forth.groupby("branch")["rules_walked"].sum()
    hooks = forth.groupby("branch")["rules_walked"].count()
    evidence = _replies(forth["reply"])
    numbers = {
        "ways": len(walked), "fewest_rules": int(walked.min()), "most_rules": int(walked.max()),
        "most_hooks": int(hooks.max()),
    }  # fmt: skip
    if forth["verdict"].eq("inconclusive").any():
        note = forth.loc[forth["verdict"].eq("inconclusive"), "note"].iloc[0]
        return inconclusive(f"the way is not modelled to its end: {note}", evidence, **numbers)
    if numbers["most_hooks"]:
        return refuted(
            f"{numbers['fewest_rules']} to {numbers['most_rules']} rules are compared, at up to "
            f"{numbers['most_hooks']} hooks",
            evidence, **numbers,
        )  # fmt: skip
    return supported("on no way does a packet come to a hook", evidence, **numbers)


CLAIMS = (packets_go_as_explained, nodes_hold_what_the_api_wants, services_without_iptables)
