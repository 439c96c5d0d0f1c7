"""Read all of an arm that decides on packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.paths.state import State
from labkit.cluster import once
from labkit.collect import cilium, cilium_maps, ebpf, kubernetes, node, path_state, pod, policies, services
from labkit.errors import CommandError, MissingFeature, ReplayMiss

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.collect.gather import Collector

__all__ = ["READ", "READ_OF_CILIUM", "READ_OF_LABS", "read"]


#: Collector of each frame of a State.
READ: dict[str, Collector[...]] = {
    "nodes": kubernetes.nodes, "pods": kubernetes.pods, "services": kubernetes.services,
    "endpoints": kubernetes.endpoints, "links": node.links, "addresses": node.addresses,
    "routes": node.routes, "ip_rules": node.rules, "neighbours": node.neighbours,
    "forwarding": node.forwarding, "sysctls": node.sysctls, "rules": services.rules,
    "chains": services.chains, "rules6": services.rules6, "chains6": path_state.chains6, "pod_links": pod.links,
    "pod_routes": pod.routes, "pod_neighbours": pod.neighbours, "pod_addresses": pod.addresses,
    "resolvers": path_state.resolvers, "namespaces": policies.namespaces, "policy_rules": path_state.network_policies, "qdiscs": path_state.qdiscs,
}  # fmt: skip
READ_OF_CILIUM: dict[str, Collector[...]] = {
    "status": cilium.status, "config": cilium.config, "cilium_endpoints": cilium.endpoints,
    "endpoint_map": cilium_maps.endpoint_map, "ipcache": cilium_maps.ipcache, "lb_map": cilium_maps.lb_map,
    "lb_frontends": cilium_maps.frontends, "maglev": cilium_maps.maglev, "policy_map": cilium.policy_map,
    "identities": cilium.identities,
}  # fmt: skip
#: Of the `ebpf` topology of a lab.
READ_OF_LABS: dict[str, Collector[...]] = {
    "lab_frontends": ebpf.frontends, "lab_backends": ebpf.backends, "lab_isolated": ebpf.isolated,
    "lab_peers": ebpf.policy_peers, "lab_ports": ebpf.policy_ports,
}  # fmt: skip


@once
def read(cluster: Cluster) -> State:
    """The state of an arm in its step; what it lacks, or a recording does not hold, is missing with the reason."""
    frames: dict[str, pd.DataFrame] = {}
    missing: dict[str, str] = {}
    _add(cluster, READ, frames, missing)
    if kubernetes.is_cilium(cluster):
        _add(cluster, READ_OF_CILIUM, frames, missing)
    elif "qdiscs" in frames and frames["qdiscs"]["kind"].eq("clsact").any():
        _add(cluster, READ_OF_LABS, frames, missing)
    return State(frames, missing)


def _add(
    cluster: Cluster,
    wanted: dict[str, Collector[...]],
    frames: dict[str, pd.DataFrame],
    missing: dict[str, str],
) -> None:
    for name, collect in wanted.items():
        try:
            frames[name] = collect(cluster)
        except MissingFeature as error:
            missing[name] = error.reason
        except ReplayMiss as miss:
            missing[name] = f"not recorded: {miss.request.words[:60]} in step {miss.request.step}"
        except CommandError as error:
            missing[name] = str(error)
