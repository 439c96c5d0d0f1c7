"""What the run-book does to find a fault: names, logs, labels, counters, filters, the agents' configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import commands, hubble, kubernetes, logs, node, plan, pod
from labkit.collect.load_balancing import SERVICE, STEP
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

TOPIC = "troubleshooting"
LABEL = "k8s-app=azure-cni-networkmonitor"
ENVOY = "cilium-dbg config | grep -i envoy"


@claim(
    "runbook-azure-cni-networkmonitor",
    f"The label {LABEL} selects pods whose log tells of Azure CNI.",
    topic=TOPIC,
    said="CNI Overlay Troubleshooting, Check Azure CNI logs",
)
def azure_cni_networkmonitor(cluster: Cluster) -> Outcome:
    """The label is from the days of aks-engine."""
    pods = kubernetes.pods(cluster.at("baseline"))
    system = pods[pods["namespace"] == "kube-system"]
    selected = system[system["labels"].str.split(",").map(lambda labels: LABEL in labels)]
    if not selected.empty:
        return supported(f"{len(selected)} pods have it", pods["reply"], pods=len(selected))
    return refuted(
        f"none of {len(system)} pods in kube-system has it, so that the command prints nothing",
        pods["reply"],
        pods=0,
        pods_in_kube_system=len(system),
    )


@claim(
    "service-name-resolves",
    "The Service's name resolves in the frontends.",
    topic=TOPIC,
    said="CNI Overlay Troubleshooting, Verify pod connectivity (nslookup)",
)
def service_name_resolves(cluster: Cluster) -> Outcome:
    """The address that DNS gives must be the one that the API server gave the Service."""
    address = plan.service_address(cluster, SERVICE)
    lookups = pod.lookups(cluster.at("baseline"))
    right = lookups["addresses"].eq(address)
    evidence = lookups["reply"]
    if not right.all():
        wrong = lookups.loc[~right, ["status", "addresses"]].iloc[0]
        return refuted(
            f"{int(right.sum())} of {len(lookups)} frontends got {address}; one got {wrong['status']}, {wrong['addresses']}",
            evidence, lookups=len(lookups), right=int(right.sum()),
        )  # fmt: skip
    return supported(
        f"all {len(lookups)} frontends got {address}", evidence, lookups=len(lookups), right=len(lookups)
    )


@claim(
    "backend-sees-client-address",
    "A backend behind a Service sees the address of the pod that asked.",
    topic=TOPIC,
    said="not in the run-book; without it a log does not tell who asked",
)
def backend_sees_client_address(cluster: Cluster) -> Outcome:
    """The addresses in the backends' logs, against those of the frontends and of the nodes."""
    here = cluster.at("baseline")
    log, pods, nodes = (
        logs.backend_log(cluster.at(STEP), tail=1000),
        kubernetes.workloads(here),
        kubernetes.nodes(here),
    )
    requests = log[log["kind"] == "request"]
    if requests.empty:
        return inconclusive("the backends' logs hold no request", log["reply"])
    known = pods.loc[~pods["host_network"].astype(bool), "pod_ip"]
    of_pods = requests["client_ip"].isin(known)
    of_nodes = int(requests["client_ip"].isin(nodes["node_ip"]).sum())
    numbers = {"requests": len(requests), "from_pods": int(of_pods.sum()), "from_nodes": of_nodes}
    evidence = [*log["reply"], *pods["reply"]]
    clients = requests.loc[of_pods, "client_ip"].nunique()
    if of_pods.all():
        return supported(
            f"all {len(requests)} logged requests came from the addresses of {clients} pods, none from a node's",
            evidence,
            **numbers,
        )
    return refuted(
        f"{int((~of_pods).sum())} of {len(requests)} logged requests came from no pod's address, {of_nodes} from a node's",
        evidence,
        **numbers,
    )


@claim(
    "conntrack-accounts-for-requests",
    "The node's connection tracking (`conntrack -L`) has every request that was just made.",
    topic=TOPIC,
    said="not in the run-book; the standard tool that comes closest to flows",
)
def conntrack_accounts_for_requests(cluster: Cluster) -> Outcome:
    """Different client ports towards the backends, against the requests in the backends' logs."""
    here = cluster.at(STEP)
    log, entries = logs.backend_log(here, tail=1000), node.connections(here)
    requests = log[log["kind"] == "request"]
    mine = entries[
        entries["protocol"].eq("tcp")
        & entries["dst_port"].eq(80)
        & entries["src_ip"].isin(requests["client_ip"])
    ]
    tracked = len(mine[["src_ip", "src_port"]].drop_duplicates())
    reason = f"{tracked} connections are tracked for {len(requests)} requests in the backends' logs"
    verdict = supported if tracked >= len(requests) else refuted
    return verdict(reason, [*log["reply"], *entries["reply"]], requests=len(requests), connections=tracked)


@claim(
    "node-counters-see-pods",
    "The node's own counters count the packets of its pods.",
    topic=TOPIC,
    said="CNI Overlay Troubleshooting, which takes the standard tools for granted",
)
def node_counters_see_pods(cluster: Cluster) -> Outcome:
    """IpForwDatagrams counts what the kernel's stack forwards; eBPF that redirects goes round it."""
    found = logs.kernel_counters(cluster.at("baseline"))
    forwarded = found[found["counter"] == "IpForwDatagrams"].set_index("node")["value"]
    evidence, total = found["reply"], int(forwarded.sum())
    said = ", ".join(f"{value} on {node}" for node, value in forwarded.items())
    if total == 0:
        return refuted(
            f"IpForwDatagrams is {said}: pod packets go round the kernel's stack",
            evidence, forwarded_packets=total,
        )  # fmt: skip
    return supported(f"IpForwDatagrams is {said}", evidence, forwarded_packets=total)


@claim(
    "service-filter-shows-traffic",
    "`hubble observe --service backend-service` shows the traffic of that Service.",
    topic=TOPIC,
    said="Flow Monitoring and Observability",
)
def service_filter_shows_traffic(cluster: Cluster) -> Outcome:
    """What the filter would pick: without a namespace it means `default`; with one, what names the Service."""
    flows = hubble.flows(cluster.at(STEP))
    to_backends = int(((flows["dst_app"] == "backend") & (flows["event"] == "trace")).sum())
    literal, meant = (
        int(((flows["src_service"] == name) | (flows["dst_service"] == name)).sum())
        for name in (f"default/{SERVICE}", f"{cluster.namespace}/{SERVICE}")
    )
    reason = (
        f"of {len(flows)} flows, {to_backends} are packets to the Service's pods; as written the filter means "
        f"default/{SERVICE} and picks {literal}, with the namespace {meant}"
    )
    verdict = supported if literal >= to_backends > 0 else refuted
    return verdict(
        reason,
        flows["reply"],
        flows_as_written=literal,
        flows_with_namespace=meant,
        flows_to_backends=to_backends,
    )


@claim(
    "runbook-config-shows-envoy",
    f"`{ENVOY}` tells whether Envoy is there.",
    topic=TOPIC,
    said="Service Mesh Capabilities, Check for Envoy integration",
)
def config_shows_envoy(cluster: Cluster) -> Outcome:
    """Plain `config` prints what can be changed while the agent runs; Envoy is not among it."""
    asked = commands.as_written(cluster.at("baseline")).set_index("command")
    plain, every = asked.loc[[ENVOY]], asked.loc[[ENVOY.replace("config", "config --all")]]
    evidence = [*plain["reply"], *every["reply"]]
    printed, there = int(plain["lines"].sum()), int(every["lines"].sum())
    numbers = {"lines": printed, "lines_with_all": there}
    if printed:
        return supported(f"it prints {plain['said'].iloc[0]}", evidence, **numbers)
    said = every["said"].dropna()
    shown = f"; with --all it prints {said.iloc[0]}" if len(said) else ""
    return refuted(f"it prints nothing in any of {len(plain)} agents{shown}", evidence, **numbers)


CLAIMS = (
    azure_cni_networkmonitor,
    service_name_resolves,
    backend_sees_client_address,
    conntrack_accounts_for_requests,
    node_counters_see_pods,
    service_filter_shows_traffic,
    config_shows_envoy,
)
