"""What the run-book says of seeing traffic: flows, drops, layer 7, logs, its troubleshooting commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis import flow_coverage, service_map
from labkit.collect import cilium, cilium_maps, fetches, hubble, kubernetes, logs, monitor
from labkit.collect.load_balancing import STEP
from labkit.errors import MissingFeature
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

TOPIC = "observability"
TABLE = "Key Differences Summary"
DENY = "policy-deny-all"
LAST_DROPS = 500
#: Apps whose pods record flows: Cilium's agents with Hubble in them, and Retina on other dataplanes.
RECORDERS = ("cilium", "hubble-relay", "retina", "retina-agent")
LAYER_7 = "enable-l7-proxy"


def _in(arm: str, *frames: pd.DataFrame) -> list[pd.DataFrame]:
    """Frames as analyses take them: with the arm in front."""
    return [frame.assign(arm=arm) for frame in frames]


def _config(cluster: Cluster) -> tuple[dict[str, str], str]:
    """ConfigMap `cilium-config`, and the reply it was read from."""
    here = cluster.at("baseline")
    return kubernetes.cilium_config(here), here.read("/api/v1/namespaces/kube-system/configmaps").id


def _recorders(cluster: Cluster) -> tuple[list[str], str]:
    """Apps that run here and can record flows, and the reply that lists the pods."""
    pods = kubernetes.pods(cluster.at("baseline"))
    return sorted(set(pods["app"]) & set(RECORDERS)), str(pods["reply"].iloc[0])


@claim(
    "built-in-flow-monitoring",
    "The cluster has flow monitoring built in.",
    topic=TOPIC,
    said=f"{TABLE}: Observability, Cilium CNI",
)
def built_in_flow_monitoring(cluster: Cluster) -> Outcome:
    """Flows must come when asked for, with no further tool installed."""
    found, pods = _recorders(cluster)
    if not found:
        return refuted("no pod runs here that records flows: no Cilium agent, no Retina", [pods])
    try:
        flows = hubble.flows(cluster.at("baseline"))
    except MissingFeature as missing:
        return refuted(missing.reason, [pods, _config(cluster)[1]])
    if flows.empty:
        return refuted("Hubble answers and has no flow", [pods])
    nodes = flows["node"].nunique()
    return supported(
        f"Hubble in the agents gave {len(flows)} flows of {nodes} nodes, with pods, identities and verdicts",
        flows["reply"],
        flows=len(flows),
        nodes=nodes,
    )


@claim(
    "limited-to-standard-tools",
    "Observability is limited to standard tools.",
    topic=TOPIC,
    said=f"{TABLE}: Observability, CNI Overlay",
)
def limited_to_standard_tools(cluster: Cluster) -> Outcome:
    """True where nothing but logs, counters, conntrack and captures is left."""
    found, pods = _recorders(cluster)
    if found:
        return refuted(f"beside the standard tools there is {', '.join(found)}", [pods])
    counters = logs.kernel_counters(cluster.at("baseline"))
    log = logs.backend_log(cluster.at(STEP), tail=1000)
    requests = int((log["kind"] == "request").sum())
    return supported(
        f"nothing records flows; the backends' logs hold {requests} requests, and each node's kernel keeps "
        f"{counters['counter'].nunique()} counters",
        [pods, *counters["reply"], *log["reply"]],
        logged_requests=requests,
        kernel_counters=counters["counter"].nunique(),
    )


@claim(
    "hubble-needs-no-extra",
    "Hubble can be asked without installing or enabling anything (`cilium hubble enable`).",
    topic=TOPIC,
    said="Flow Monitoring and Observability, which installs it first",
)
def hubble_needs_no_extra(cluster: Cluster) -> Outcome:
    """The agents' own Hubble answers on its socket, or is off by configuration."""
    kubernetes.agent_targets(cluster)
    try:
        status = hubble.status(cluster.at("baseline"))
    except MissingFeature as missing:
        return refuted(missing.reason, [_config(cluster)[1]])
    flows, size = int(status["flows"].min()), int(status["max_flows"].min())
    return supported(
        f"the socket in each of {len(status)} agents answers; a ring holds {size} events",
        status["reply"],
        agents=len(status),
        ring_events=size,
        fewest_events=flows,
    )


@claim(
    "flows-account-for-all-requests",
    "The flows that are asked for account for every request.",
    topic=TOPIC,
    said="Flow Monitoring and Observability, `hubble observe`",
)
def flows_account_for_all_requests(cluster: Cluster) -> Outcome:
    """Of the requests that labkit made, those with a connection in the answer; and the same in its span."""
    rounds = fetches.fetches(cluster.at(STEP))
    flows, log = hubble.flows(cluster.at(STEP)), logs.backend_log(cluster.at(STEP), tail=1000)
    evidence = [*rounds["reply"], *flows["reply"], *log["reply"]]
    rounds, flows, log = _in(cluster.arm, rounds, flows, log)
    asked = flow_coverage.of_requests(service_map.connections(flows), rounds)
    span = flow_coverage.within_span(flows, log, rounds)
    requests, seen = int(asked["requests"].sum()), int(asked["connections"].sum())
    logged, opened = int(span["requests"].sum()), int(span["connections"].sum())
    lost = int(hubble.lost(cluster.at(STEP))["events"].sum())
    reason = (
        f"{seen} of {requests} requests have a connection among the {len(flows)} flows that came; the answer "
        f"is bounded by what was asked for (--last 1000 a node): in its span, {opened} of {logged}; {lost} lost"
    )
    verdict = supported if seen >= requests else refuted
    return verdict(
        reason, evidence, requests=requests, connections=seen, coverage_pct=round(100 * seen / requests, 1),
        span_requests=logged, span_connections=opened, lost_events=lost,
    )  # fmt: skip


@claim(
    "hubble-sees-every-policy-drop",
    "Hubble has every packet that policy denied.",
    topic=TOPIC,
    said="Cilium Troubleshooting, `monitor --type drop`",
)
def hubble_sees_every_policy_drop(cluster: Cluster) -> Outcome:
    """Drop events against the counter of the datapath, which counts in the kernel and loses nothing."""
    flows, counters = hubble.dropped(cluster.at(DENY), LAST_DROPS), cilium_maps.metrics(cluster.at(DENY))
    evidence = [*flows["reply"], *counters["reply"]]
    by_reason = flow_coverage.drops_counted(*_in(cluster.arm, flows, counters)).set_index("drop_reason")
    if "POLICY_DENIED" not in by_reason.index:
        return inconclusive("no packet was denied by policy in this step", evidence)
    if flows.groupby("node").size().max() >= LAST_DROPS:
        return inconclusive(f"a node gave all of the {LAST_DROPS} flows that were asked for", evidence)
    denied = by_reason.loc[["POLICY_DENIED"], ["counted", "drops", "verdicts"]].sum()
    counted, drops, verdicts = (int(number) for number in denied)
    reason = (
        f"{drops} drop events for {counted} packets that the datapath counted as denied (and {verdicts} policy "
        f"verdicts of the same packets: by verdict DROPPED they would count twice)"
    )
    verdict = supported if drops == counted else refuted
    return verdict(reason, evidence, drop_events=drops, denied_packets=counted, policy_verdicts=verdicts)


@claim(
    "clusterip-in-flows",
    "Flows show a Service's ClusterIP as the destination of packets.",
    topic=TOPIC,
    said="Flow Monitoring and Observability, `hubble observe --service backend-service`",
)
def clusterip_in_flows(cluster: Cluster) -> Outcome:
    """Destinations of packets against ClusterIPs; connect() events of socket LB are no packets."""
    flows, services = hubble.flows(cluster.at(STEP)), kubernetes.services(cluster.at("baseline"))
    evidence = [*flows["reply"], *services["reply"]]
    to_vip = flows[flows["dst_ip"].isin(services["cluster_ip"].dropna())]
    packets, connects = to_vip[to_vip["type"] != "SOCK"], to_vip[to_vip["type"] == "SOCK"]
    numbers = {"flows": len(flows), "packets_to_clusterip": len(packets), "connect_events": len(connects)}
    if not packets.empty:
        return supported(f"{len(packets)} packet events go to a ClusterIP", evidence, **numbers)
    status = cilium.status(cluster.at("baseline"))
    why = (
        ": socket LB translates it in connect(), before there is a packet"
        if status["socket_lb"].all()
        else ""
    )
    return refuted(
        f"none of {len(flows) - len(connects)} packet events goes to a ClusterIP{why}; events of "
        f"connect() (type SOCK) that name one: {len(connects)}",
        [*evidence, *status["reply"]],
        **numbers,
    )


@claim(
    "l7-visibility",
    "Requests of layer 7 (HTTP, DNS) can be seen as flows.",
    topic=TOPIC,
    said="Service Mesh Capabilities, `monitor --type l7`; Key Takeaways 4",
)
def l7_visibility(cluster: Cluster) -> Outcome:
    """Flows of type L7 while HTTP and DNS were spoken; they come from the L7 proxy only."""
    here = cluster.at("baseline")
    flows = hubble.flows(here)
    config, read = _config(cluster)
    evidence = [*flows["reply"], read]
    of_l7 = flows[flows["type"] == "L7"]
    spoken = flows[flows["dst_port"].isin((53, 80)) & (flows["event"] == "trace")]
    proxy = config.get(LAYER_7, "not set")
    numbers = {"flows": len(flows), "l7_flows": len(of_l7), "http_or_dns_packets": len(spoken)}
    if not of_l7.empty:
        return supported(f"{len(of_l7)} of {len(flows)} flows are of layer 7", evidence, **numbers)
    if proxy == "true" or spoken.empty:
        return inconclusive(f"no flow of layer 7; {LAYER_7} is {proxy}", evidence, **numbers)
    return refuted(
        f"no flow of layer 7, though {len(spoken)} packets of HTTP or DNS passed; {LAYER_7} is {proxy}",
        evidence,
        **numbers,
    )


@claim(
    "envoy-available",
    "An Envoy is there to parse layer 7.",
    topic=TOPIC,
    said="Service Mesh Capabilities, Check for Envoy integration",
)
def envoy_available(cluster: Cluster) -> Outcome:
    """The configuration decides; `Envoy: embedded` in the status is said even where the proxy is off."""
    status = cilium.status(cluster.at("baseline"))
    config, read = _config(cluster)
    evidence = [*status["reply"], read]
    proxy, external = config.get(LAYER_7, "not set"), config.get("external-envoy-proxy", "not set")
    redirects = int(status["redirects"].fillna(0).sum())
    said = f"{LAYER_7} is {proxy}, external-envoy-proxy {external}, {redirects} redirects to a proxy"
    if proxy == "true":
        return supported(said, evidence, redirects=redirects)
    deployed = ", ".join(sorted(set(status["envoy"].dropna()))) or "nothing"
    return refuted(
        f"{said}; that the status says Envoy: {deployed} means no Envoy runs",
        evidence,
        redirects=redirects,
    )


@claim(
    "monitor-shows-all-packets",
    "`cilium-dbg monitor --type trace` shows every packet.",
    topic=TOPIC,
    said="Traffic Flow Analysis with Cilium",
)
def monitor_shows_all_packets(cluster: Cluster) -> Outcome:
    """Echo requests that were sent while the monitors ran, and those that they showed."""
    pings = monitor.traced_pings(cluster.at("monitor"))
    sent, shown = int(pings["sent"].sum()), int(pings["shown"].sum())
    config, read = _config(cluster)
    level = config.get("monitor-aggregation", "not set")
    evidence = [*pings["reply"], *",".join(pings["monitor_replies"]).split(","), read]
    reason = f"of {sent} echo requests {shown} were shown where they enter their pod; monitor-aggregation is {level}"
    if sent == 0 or int(pings["received"].sum()) < sent:
        return inconclusive(
            "not every echo request was answered, so that not every one must have been seen", evidence
        )
    verdict = supported if shown >= sent else refuted
    return verdict(reason, evidence, echo_requests=sent, shown=shown)


CLAIMS = (
    built_in_flow_monitoring,
    limited_to_standard_tools,
    hubble_needs_no_extra,
    flows_account_for_all_requests,
    hubble_sees_every_policy_drop,
    clusterip_in_flows,
    l7_visibility,
    envoy_available,
    monitor_shows_all_packets,
)
