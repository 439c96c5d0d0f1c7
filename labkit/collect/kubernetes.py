"""What the API server says, and the targets that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import collects, read_one
from labkit.errors import MissingFeature
from labkit.parse import kubernetes as parse

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = [
    "AGENT", "agent_targets", "cilium_config", "containers", "daemonsets", "endpoints", "is_cilium", "node_targets",
    "nodes", "pod_targets", "pods", "services", "version", "workloads",
]  # fmt: skip

#: The container of a Cilium agent: its pods and their namespace have other names with other installers.
AGENT = "cilium-agent"


def version(cluster: Cluster) -> str:
    """The version of the API server, such as `v1.36.2`."""
    return parse.version(cluster.read("/version").stdout)


@collects(parse.NODES)
def nodes(cluster: Cluster) -> pd.DataFrame:
    """Nodes: frame NODES and `reply`."""
    return read_one(cluster.read("/api/v1/nodes"), parse.nodes)


@collects(parse.PODS)
def pods(cluster: Cluster) -> pd.DataFrame:
    """All pods: frame PODS and `reply`."""
    return read_one(cluster.read("/api/v1/pods"), parse.pods)


@collects(parse.PODS)
def workloads(cluster: Cluster) -> pd.DataFrame:
    """The pods of the lab's namespace: frame PODS and `reply`."""
    found = pods(cluster)
    return found[found["namespace"] == cluster.namespace].reset_index(drop=True)


@collects(parse.CONTAINERS)
def containers(cluster: Cluster) -> pd.DataFrame:
    """All containers: frame CONTAINERS and `reply`."""
    return read_one(cluster.read("/api/v1/pods"), parse.containers)


@collects(parse.SERVICES)
def services(cluster: Cluster) -> pd.DataFrame:
    """All Service ports: frame SERVICES and `reply`."""
    return read_one(cluster.read("/api/v1/services"), parse.services)


@collects(parse.ENDPOINTS)
def endpoints(cluster: Cluster) -> pd.DataFrame:
    """All endpoints: frame ENDPOINTS and `reply`."""
    return read_one(cluster.read("/apis/discovery.k8s.io/v1/endpointslices"), parse.endpoints)


@collects(parse.DAEMONSETS)
def daemonsets(cluster: Cluster) -> pd.DataFrame:
    """All DaemonSets: frame DAEMONSETS and `reply`."""
    return read_one(cluster.read("/apis/apps/v1/daemonsets"), parse.daemonsets)


def cilium_config(cluster: Cluster) -> dict[str, str]:
    """ConfigMap `kube-system/cilium-config`. Raises MissingFeature where the arm has none."""
    data = cluster.read("/api/v1/namespaces/kube-system/configmaps").stdout
    found = parse.config_map(data, "cilium-config")
    if found is None:
        raise MissingFeature(cluster.arm, "no ConfigMap cilium-config in this arm")
    return found


def node_targets(cluster: Cluster) -> dict[str, str]:
    """`node/<name>` of every node, with the node's name; not of those that run no analyzer though others do.

    Those run Windows, or are virtual.
    """
    here = cluster.at("baseline")
    running = workloads(here).query("app == 'network-analyzer'")["node"]
    names = nodes(here)["node"]
    return {f"node/{name}": name for name in names if running.empty or name in set(running)}


def pod_targets(cluster: Cluster, app: str, container: str) -> dict[str, str]:
    """Targets of a container in every pod of the lab's namespace with this app label, with the pod's name.

    Raises MissingFeature where no such pod is there.
    """
    found = pods(cluster.at("baseline"))
    mine = found[(found["namespace"] == cluster.namespace) & (found["app"] == app)]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no pod with app={app} in namespace {cluster.namespace}")
    return {f"pod/{cluster.namespace}/{name}/{container}": name for name in mine["pod"]}


def agent_targets(cluster: Cluster) -> dict[str, str]:
    """The Cilium agent on every node: its target, with the node's name.

    Agents are node-local: what one says of endpoints, connections and policies holds on its node only.
    Raises MissingFeature where the arm has no Cilium agent.
    """
    here = cluster.at("baseline")
    found = containers(here)
    agents = found[found["container"] == AGENT].merge(pods(here)[["namespace", "pod", "node"]])
    if agents.empty:
        raise MissingFeature(cluster.arm, "no Cilium agent in this arm")
    return {
        f"pod/{namespace}/{pod}/{AGENT}": node
        for namespace, pod, node in zip(agents["namespace"], agents["pod"], agents["node"], strict=True)
    }


def is_cilium(cluster: Cluster) -> bool:
    """Whether a Cilium agent runs in this arm."""
    try:
        return bool(agent_targets(cluster))
    except MissingFeature:
        return False
