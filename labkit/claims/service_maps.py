"""What the run-book says of load balancing on Cilium, and whether nodes do what the API says."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from labkit.analysis import consistency, maglev
from labkit.cluster import once
from labkit.collect import cilium, cilium_maps, ebpf, kubernetes, services
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]


@claim(
    "ebpf-load-balancing",
    "Services are load-balanced by eBPF maps instead of kube-proxy.",
    topic="cilium",
    said="Key Differences Summary, Load Balancing",
)
def ebpf_load_balancing(cluster: Cluster) -> Outcome:
    """No chain of kube-proxy on any node, and every Service port in the service map of each."""
    rules = services.rules(cluster)
    chains = rules[rules["chain"].str.startswith("KUBE-SVC-")]
    count = chains["chain"].nunique()
    try:
        held = cilium_maps.lb_map(cluster)
    except MissingFeature:
        if chains.empty:
            return _of_a_lab(cluster, rules)
        return refuted(f"{count} KUBE-SVC chains of kube-proxy do it", chains["reply"], kube_svc_chains=count)
    evidence = [*rules["reply"], *held["reply"]]
    frontends = len(
        held[(held["slot"] == 0) & (held["port"] > 0)].drop_duplicates(["frontend_ip", "port", "protocol"])
    )
    numbers = {"kube_svc_chains": count, "frontends": frontends}
    if count:
        return refuted("rules of kube-proxy stand beside Cilium's service map", evidence, **numbers)
    return supported(
        f"no KUBE-SVC chain on any node; {frontends} frontends in the service map", evidence, **numbers
    )


def _of_a_lab(cluster: Cluster, rules: pd.DataFrame) -> Outcome:
    """Where neither Cilium nor kube-proxy does it: the maps of a lab's `ebpf` topology, if there are any."""
    try:
        held = ebpf.frontends(cluster)
    except MissingFeature:
        return inconclusive("neither a Cilium agent nor iptables rules of kube-proxy", rules["reply"])
    count = len(held.drop_duplicates(["vip", "port", "protocol"]))
    reason = f"no KUBE-SVC chain on any node; {count} frontends in labkit's own eBPF maps (not Cilium's)"
    return supported(reason, [*rules["reply"], *held["reply"]], kube_svc_chains=0, frontends=count)


@once
def _compared(cluster: Cluster) -> tuple[pd.DataFrame, list[str]]:
    """Intended against programmed, in whatever the arm's nodes are programmed in; and the replies."""
    wanted = (
        kubernetes.services(cluster),
        kubernetes.endpoints(cluster),
        kubernetes.nodes(cluster.at("baseline")),
    )
    read = [services.rules(cluster)]
    ways = [consistency.of_rules(read[0])]
    if kubernetes.is_cilium(cluster):
        read.append(cilium_maps.lb_map(cluster))
        ways.append(consistency.of_lb_map(read[1]))
    elif ways[0].empty:
        with suppress(MissingFeature):
            read += [ebpf.frontends(cluster), ebpf.backends(cluster)]
            own = ~read[1]["vip"].isin(wanted[2]["node_ip"])  # not a port of a node
            ways.append(consistency.of_lab_maps(read[1][own], read[2]))
    programmed = [way for way in ways if len(way)]
    if not programmed:
        raise MissingFeature(cluster.arm, "neither iptables rules nor a service map leads to any Service")
    compared = consistency.compare(consistency.intended(*wanted), *programmed)
    return compared, [reply for frame in (*wanted, *read) for reply in frame["reply"].unique()]


@claim(
    "programmed-matches-api",
    "On every node each Service leads to exactly the endpoints that the API lists.",
    topic="cilium",
    said="Cilium Network Analysis, eBPF Map Analysis",
)
def programmed_matches_api(cluster: Cluster) -> Outcome:
    """Frontend and endpoint pairs of the API against the rules or the maps, node by node."""
    compared, evidence = _compared(cluster)
    counts = compared["state"].value_counts()
    numbers = {state: int(counts.get(state, 0)) for state in consistency.STATES}
    by = " and ".join(sorted(compared["by"].unique()))
    if numbers["missing"] or numbers["extra"]:
        return refuted(f"{by}: {numbers['missing']} missing, {numbers['extra']} extra", evidence, **numbers)
    return supported(f"{by}: all {numbers['matching']} match, none is missing or extra", evidence, **numbers)


@claim(
    "programmed-keeps-up",
    "While Services are created, nodes are programmed for all endpoints that the API listed seconds before.",
    topic="cilium",
    said="about the run-book's Load Balancing; nothing is said of its speed",
)
def programmed_keeps_up(cluster: Cluster) -> Outcome:
    """The same comparison in the steps with many Services; a way that is missing is a late one.

    Where the arm was asked only after labkit had waited for its last Service, one that is missing refutes this
    all the more, but that none is missing says nothing of the time before.
    """
    plan = Plan.from_about(cluster.about)
    evidence: list[str] = []
    numbers: dict[str, int] = {}
    late = 0
    for step in plan.steps:
        compared, replies = _compared(cluster.at(step))
        missing = int((compared["state"] == "missing").sum())
        wanted = missing + int((compared["state"] == "matching").sum())
        numbers |= {f"missing_{step}": missing, f"intended_{step}": wanted}
        evidence += replies
        late += missing
    told = ", ".join(
        f"{step}: {numbers[f'missing_{step}']} of {numbers[f'intended_{step}']}" for step in plan.steps
    )
    if late:
        return refuted(f"missing on the nodes: {told}", evidence, **numbers)
    if plan.waits:
        return inconclusive(
            f"none is missing ({told}), but it was asked only once the last Service was programmed everywhere",
            evidence, **numbers,
        )  # fmt: skip
    return supported(f"none is missing ({told})", evidence, **numbers)


@claim(
    "maglev-tables",
    "Each Service has a Maglev table, in which its backends have equal shares.",
    topic="cilium",
    said="Cilium Network Analysis, Service Load Balancing Deep Dive",
)
def maglev_tables(cluster: Cluster) -> Outcome:
    """An empty `maglev list` exits 0 as well; only with the algorithm of the status it means that Maglev is off."""
    state, tables = cilium.status(cluster), cilium_maps.maglev(cluster)
    evidence = [*state["reply"], *tables["reply"]]
    if not state["lb_algorithm"].eq("Maglev").all():
        named = ", ".join(sorted(state["lb_algorithm"].fillna("not told").unique()))
        return refuted(f"backends are chosen by the algorithm: {named}", evidence, tables=len(tables))
    held = cilium_maps.frontends(cluster)
    heads = held[(held["slot"] == 0) & (held["service_id"] > 0) & (held["backends"] > 0)]
    with_table = heads.merge(tables[["node", "service_id"]].drop_duplicates(), on=["node", "service_id"])
    names = maglev.backend_names(held, cilium_maps.lb_map(cluster), kubernetes.services(cluster))
    worst = float(maglev.shares(tables, names)["off_pct"].abs().max()) if len(tables) else 0.0
    numbers = {"frontends": len(heads), "with_table": len(with_table), "worst_off_pct": round(worst, 4)}
    evidence += list(held["reply"])
    if len(with_table) < len(heads) or worst > 1:
        return refuted(
            f"{len(with_table)} of {len(heads)} frontends have one; worst share {worst:.2f} % off",
            evidence,
            **numbers,
        )
    return supported(
        f"all {len(heads)} frontends with a backend have one; no share is more than {worst:.3f} % off",
        evidence,
        **numbers,
    )


@claim(
    "maglev-chooses-for-pods",
    "The Maglev table chooses the backend of a pod's connection to a Service.",
    topic="cilium",
    said="Load Balancing Algorithm Comparison",
)
def maglev_chooses_for_pods(cluster: Cluster) -> Outcome:
    """Socket LB picks a slot of the service map in connect(), at random; no table is asked."""
    state = cilium.status(cluster)
    if not state["lb_algorithm"].eq("Maglev").all():
        return refuted("the algorithm is not Maglev", state["reply"])
    if state["socket_lb_coverage"].eq("Full").any():
        return inconclusive(
            "tables are there, but socket LB covers pods: it picks a slot at random in connect() (Cilium's "
            "documentation, kubeproxy-free), and no reply shows which of the two chose",
            state["reply"],
        )
    return supported("Maglev, and pods' connections are not translated in connect()", state["reply"])


@claim(
    "maglev-same-on-nodes",
    "All nodes hold the same Maglev table for a Service, without asking each other.",
    topic="cilium",
    said="Cilium Network Analysis, Service Load Balancing Deep Dive",
)
def maglev_same_on_nodes(cluster: Cluster) -> Outcome:
    """Slot by slot, by address; Services whose backends differ by node (traffic policy Local) are left out."""
    tables, held = cilium_maps.maglev_tables(cluster), cilium_maps.frontends(cluster)
    names = maglev.backend_names(held, cilium_maps.lb_map(cluster), kubernetes.services(cluster))
    agreed = maglev.agreement(tables, names)
    shared = agreed[agreed["same_backends"] & (agreed["nodes"] > 1)]
    evidence = [*tables["reply"], *held["reply"]]
    if shared.empty:
        return inconclusive("no Service has tables of the same backends on two nodes", evidence)
    differing = int(shared["differing"].sum())
    numbers = {"services": len(shared), "differing_slots": differing}
    if differing:
        return refuted(f"{differing} slots of {len(shared)} Services differ", evidence, **numbers)
    return supported(
        f"the tables of {len(shared)} Service ports are equal in every slot", evidence, **numbers
    )


CLAIMS = (
    ebpf_load_balancing, programmed_matches_api, programmed_keeps_up, maglev_tables, maglev_chooses_for_pods,
    maglev_same_on_nodes,
)  # fmt: skip
