"""What the run-book says of Cilium's agents: what they know, how they route, who gives addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import cilium, cilium_maps, kubernetes, node
from labkit.findings import claim, refuted, supported

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]


@claim(
    "agent-knows-cluster",
    "The first Cilium agent (`items[0]`) shows the endpoints of the cluster.",
    topic="cilium",
    said="Cilium Network Analysis, eBPF Map Analysis",
)
def agent_knows_cluster(cluster: Cluster) -> Outcome:
    """Agents are node-local; which one is first is the order of names, that is, chance."""
    ends = cilium.endpoints(cluster).dropna(subset="pod")
    first = next(iter(kubernetes.agent_targets(cluster).values()))
    mine, every = int((ends["node"] == first).sum()), len(ends)
    numbers = {"endpoints_of_first": mine, "endpoints_of_all": every}
    if mine < every:
        return refuted(
            f"the first agent has {mine} of {every} pods' endpoints: those on {first}",
            ends["reply"],
            **numbers,
        )
    return supported(f"all {every} pods run on its node", ends["reply"], **numbers)


@claim(
    "native-routing",
    "Cilium routes pods' packets as they are, without a tunnel.",
    topic="cilium",
    said="Key Differences Summary, Traffic Routing",
)
def native_routing(cluster: Cluster) -> Outcome:
    """By the status; `tunnelendpoint` of the ipcache is filled in either way and tells nothing of it."""
    state, cache = cilium.status(cluster), cilium_maps.ipcache(cluster)
    filled = int(cache["tunnel_endpoint"].notna().sum())
    evidence, numbers = [*state["reply"], *cache["reply"]], {"ipcache_with_tunnel_endpoint": filled}
    if not state["routing"].eq("Native").all():
        return refuted(f"routing is {', '.join(sorted(state['routing'].unique()))}", evidence, **numbers)
    return supported(
        f"routing is Native on every node; {filled} ipcache entries name a tunnel endpoint all the same",
        evidence,
        **numbers,
    )


@claim(
    "ebpf-routing",
    "Traffic is routed by eBPF programs, not by the kernel's own stack.",
    topic="cilium",
    said="Key Differences Summary, Traffic Routing",
)
def ebpf_routing(cluster: Cluster) -> Outcome:
    """Host routing of the status: BPF passes the host's stack by, Legacy (AKS' default) goes through it."""
    state = cilium.status(cluster)
    modes = ", ".join(sorted(state["host_routing"].unique()))
    if state["host_routing"].eq("BPF").all():
        return supported("host routing is BPF on every node", state["reply"])
    return refuted(f"host routing is {modes}: packets pass the kernel's routes and netfilter", state["reply"])


@claim(
    "cilium-does-ipam",
    "Cilium does the address management (IPAM) itself.",
    topic="cilium",
    said="Architecture Overview, Cilium CNI Architecture",
)
def cilium_does_ipam(cluster: Cluster) -> Outcome:
    """Whether the addresses of the pods are among those that the agents allocated. On AKS azure-ipam does it."""
    mode = _option(cilium.config(cluster), "IPAM")
    pods, held = kubernetes.pods(cluster), cilium.addresses(cluster)
    own = pods[~pods["host_network"].fillna(False)].dropna(subset="pod_ip")
    mine = int(own["pod_ip"].isin(held["ip"]).sum())
    evidence, numbers = [*pods["reply"], *held["reply"]], {"pods": len(own), "allocated_by_agents": mine}
    if mine < len(own):
        return refuted(
            f"IPAM mode {mode}: agents allocated {mine} of {len(own)} pod addresses", evidence, **numbers
        )
    return supported(f"agents allocated all {mine} pod addresses (IPAM mode {mode})", evidence, **numbers)


@claim(
    "endpoint-routes",
    "Each endpoint has a route of its own on its node.",
    topic="cilium",
    said="Architecture Overview, Cilium CNI Architecture",
)
def endpoint_routes(cluster: Cluster) -> Outcome:
    """A route to the endpoint's address by its own interface, as AKS configures Cilium."""
    ends, routes = cilium.endpoints(cluster).dropna(subset="ip"), node.routes(cluster)
    ends["prefix"] = ends["ip"] + "/32"
    found = ends.merge(routes[["node", "prefix", "interface"]], on=["node", "prefix", "interface"])
    evidence, numbers = [*ends["reply"], *routes["reply"]], {"endpoints": len(ends), "with_route": len(found)}
    if len(found) < len(ends):
        return refuted(f"{len(found)} of {len(ends)} endpoints have one", evidence, **numbers)
    return supported(f"all {len(ends)} endpoints have one by their own interface", evidence, **numbers)


def _option(config: pd.DataFrame, name: str) -> str:
    values: Sequence[str] = sorted(config.loc[config["option"] == name, "value"].unique())
    return ", ".join(values) or "not told"


CLAIMS = (agent_knows_cluster, native_routing, ebpf_routing, cilium_does_ipam, endpoint_routes)
