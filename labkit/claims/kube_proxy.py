"""What the run-book says of Services and of its own commands on nodes, held against rules and connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.service_tree import tree
from labkit.collect import kubernetes, load_balancing, node, pod, services
from labkit.collect.plan import service_address
from labkit.errors import MissingFeature
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

#: kube-proxy prints probabilities with ten digits.
TOLERANCE = 1e-6


@claim(
    "kube-proxy-iptables",
    "Services are load-balanced by kube-proxy (iptables/IPVS).",
    topic="services",
    said="Traffic Flow Comparison, Key Differences Summary, Load Balancing",
)
def kube_proxy_iptables(cluster: Cluster) -> Outcome:
    """A DaemonSet kube-proxy, and a KUBE-SVC chain for Services on every node."""
    rules, daemonsets = services.rules(cluster), kubernetes.daemonsets(cluster)
    found = tree(rules)
    runs = "kube-proxy" in set(daemonsets["daemonset"])
    evidence = [*rules["reply"], *daemonsets["reply"]]
    chains = found.drop_duplicates(["node", "service_chain"])
    numbers = {"kube_proxy_daemonsets": int(runs), "service_chains": len(chains), "rules": len(rules)}
    if found.empty and runs:
        return inconclusive(
            "kube-proxy runs, but not in its iptables mode: no KUBE-SVC chain", evidence, **numbers
        )
    if found.empty:
        return refuted("no DaemonSet kube-proxy, and no KUBE-SVC chain on any node", evidence, **numbers)
    if set(found["node"]) != set(rules["node"]):
        return inconclusive("KUBE-SVC chains on some nodes only", evidence, **numbers)
    per_node = chains.groupby("node").size()
    return supported(
        f"{per_node.min()} to {per_node.max()} KUBE-SVC chains on each node"
        if per_node.min() != per_node.max()
        else f"{per_node.min()} KUBE-SVC chains on each of {len(per_node)} nodes",
        evidence,
        **numbers,
    )


@claim(
    "equal-chances",
    "kube-proxy's rules give each endpoint of a Service the same chance.",
    topic="services",
    said="Load Balancing Algorithm Comparison",
)
def equal_chances(cluster: Cluster) -> Outcome:
    """The chances of each Service, multiplied down its chain: each 1/n, together 1."""
    rules = services.rules(cluster)
    found = tree(rules)
    if found.empty:
        raise MissingFeature(cluster.arm, "no KUBE-SVC chains of kube-proxy in this arm")
    chances = found.groupby(["node", "service_chain", "cluster_ip", "port"])["probability"].agg(
        ["sum", "min", "max", "size"]
    )
    whole = (chances["sum"] - 1).abs() < TOLERANCE
    even = (chances["max"] - chances["min"]) < TOLERANCE
    odd = int((~(whole & even)).sum())
    numbers = {"service_ports": len(chances), "uneven": odd, "most_endpoints": int(chances["size"].max())}
    if odd:
        return refuted(
            f"not so for {odd} of {len(chances)} Service ports on nodes", rules["reply"], **numbers
        )
    return supported(
        f"so for all {len(chances)} Service ports on nodes (up to {numbers['most_endpoints']} endpoints)",
        rules["reply"],
        **numbers,
    )


@claim(
    "conntrack-holds-services",
    "Connections to Services are in the kernel's connection tracking.",
    topic="services",
    said="Traffic Flow Comparison, Key Differences Summary, Performance (Standard kernel networking)",
)
def conntrack_holds_services(cluster: Cluster) -> Outcome:
    """The table right after connections to the Service of the backends, which this claim makes itself."""
    made = load_balancing.timings(cluster)
    found = node.connections(cluster.at(load_balancing.STEP))
    address = service_address(cluster, pod.SERVICE)
    asked = found[found["dst_ip"] == address]
    rewritten = int(asked["dnat"].sum())
    evidence = [*made["reply"], *found["reply"]]
    numbers = {
        "fetches": len(made),
        "connections": len(found),
        "to_the_service": len(asked),
        "rewritten": rewritten,
    }
    if made.empty or not (made["http_code"] == 200).any():
        return inconclusive("no connection to the Service could be made", evidence, **numbers)
    if rewritten:
        return supported(
            f"{rewritten} of {len(found)} tracked connections went to {address} and were rewritten to a backend",
            evidence,
            **numbers,
        )
    return refuted(
        f"none of {len(found)} tracked connections went to {address} and was rewritten, after {len(made)} were made",
        evidence,
        **numbers,
    )


@claim(
    "nat-table-is-all",
    "`iptables -t nat -L -n` shows the iptables rules for pod traffic.",
    topic="services",
    said="Route Table Analysis on Node",
)
def nat_table_is_all(cluster: Cluster) -> Outcome:
    """Rules of other tables, which the command leaves out (as it does counters and devices)."""
    rules = services.rules(cluster)
    elsewhere = rules[rules["table"] != "nat"]
    numbers = {"rules": len(rules), "rules_elsewhere": len(elsewhere)}
    if elsewhere.empty:
        return supported(f"all {len(rules)} rules are in table nat", rules["reply"], **numbers)
    tables = ", ".join(f"{count} in {table}" for table, count in elsewhere["table"].value_counts().items())
    return refuted(
        f"{len(elsewhere)} of {len(rules)} rules on the nodes are in other tables: {tables}",
        rules["reply"],
        **numbers,
    )


@claim(
    "brctl-shows-bridge",
    "`brctl show` shows how pods are connected to their node.",
    topic="services",
    said="Route Table Analysis on Node; CNI Overlay Troubleshooting",
)
def brctl_shows_bridge(cluster: Cluster) -> Outcome:
    """What the command lists. An empty list is not an error, and nothing to learn the wiring from."""
    replies = node.brctl(cluster)
    if not replies.empty:
        ports = int(replies["interface"].notna().sum())
        return supported(
            f"it lists {ports} ports of bridges ({', '.join(sorted(set(replies['bridge'])))})",
            replies["reply"],
            ports=ports,
        )
    links = node.links(cluster)
    veths = int((links["kind"] == "veth").sum())
    evidence = [*node.brctl_replies(cluster), *links["reply"]]
    return refuted(f"it lists nothing, on nodes with {veths} veths", evidence, ports=0, veths=veths)


@claim(
    "trace-names-every-hop",
    "A trace from pod to pod shows every hop.",
    topic="services",
    said="Pod-to-Pod Communication Analysis (Test connectivity and trace route)",
)
def trace_names_every_hop(cluster: Cluster) -> Outcome:
    """Hops of `traceroute` that did not answer. What forwards by eBPF need not answer for the kernel."""
    hops = pod.hops(cluster)
    silent = hops["hop_ip"].isna()
    numbers = {"hops": len(hops), "silent_hops": int(silent.sum())}
    if silent.any():
        return refuted(f"{int(silent.sum())} of {len(hops)} hops did not answer", hops["reply"], **numbers)
    return supported(f"all {len(hops)} hops answered", hops["reply"], **numbers)


@claim(
    "pods-reach-pods",
    "Frontend pods reach backend pods on both nodes.",
    topic="services",
    said="Pod-to-Pod Communication Analysis",
)
def pods_reach_pods(cluster: Cluster) -> Outcome:
    """Three echoes from each frontend to each backend."""
    pings = pod.pings(cluster)
    sent, received = int(pings["sent"].sum()), int(pings["received"].sum())
    if received == sent:
        return supported(
            f"{received} of {sent} echoes were answered", pings["reply"], sent=sent, received=received
        )
    return refuted(f"{received} of {sent} echoes were answered", pings["reply"], sent=sent, received=received)


@claim(
    "service-by-name",
    "Frontend pods reach the backends by the Service's name.",
    topic="services",
    said="Pod-to-Pod Communication Analysis (Test service connectivity)",
)
def service_by_name(cluster: Cluster) -> Outcome:
    """One fetch of each frontend by the Service's name."""
    found = pod.transfers(cluster)
    named = found[found["url"].str.contains(pod.SERVICE, regex=False)]
    good = int((named["http_code"] == 200).sum())
    verdict = supported if good == len(named) else refuted
    return verdict(
        f"{good} of {len(named)} fetches got an answer 200", named["reply"], fetches=len(named), answered=good
    )


CLAIMS = (
    kube_proxy_iptables,
    equal_chances,
    conntrack_holds_services,
    nat_table_is_all,
    brctl_shows_bridge,
    trace_names_every_hop,
    pods_reach_pods,
    service_by_name,
)
