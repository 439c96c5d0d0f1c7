"""Between which pods and nodes is measured: read from the API, and held against what was asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from labkit.errors import MissingFeature, NotReady

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.cluster import Cluster
    from labkit.measure.design import Scenario

__all__ = ["PORTS", "Pair", "pairs"]

#: Ports of the servers, by the tool that asks: in pods and Services, and of the nodes' own servers.
PORTS = {"iperf3": 5201, "probe": 5202, "http": 80}
HOST_PORTS = {"iperf3": 15201, "probe": 15202}


@dataclass(frozen=True, slots=True)
class Pair:
    """A client, a server on its node and one on another. Addresses are by place; `node_ports` by place and port."""

    name: str
    client: str
    host_client: str
    client_node: str
    far_node: str
    pod_ips: Mapping[str, str]
    cluster_ips: Mapping[str, str]
    node_ports: Mapping[tuple[str, str, int], int]
    node_ips: Mapping[str, str]
    #: Boot ids by node: nodes with the same one share a kernel.
    boots: Mapping[str, str]

    @property
    def nodes(self) -> tuple[str, str]:
        return self.client_node, self.far_node

    def target(self, scenario: Scenario) -> str:
        """Where the client runs: a pod, or for `host` the node's own network."""
        return self.host_client if scenario.by == "host" else self.client

    def address(self, scenario: Scenario, tool: str, protocol: str = "TCP") -> tuple[str, int]:
        """Where its server is reached."""
        place = scenario.place
        match scenario.by:
            case "pod-ip":
                return self.pod_ips[place], PORTS[tool]
            case "cluster-ip":
                return self.cluster_ips[place], PORTS[tool]
            case "node-port":
                return self.node_ips[place], self.node_ports[place, protocol, PORTS[tool]]
            case _:
                return self.node_ips[place], HOST_PORTS[tool]


def pairs(cluster: Cluster, count: int) -> list[Pair]:
    """The pairs of the step that the cluster is at. Raises NotReady where a pod is not on the node that it must be on: what would be
    measured then is not what its name says; and MissingFeature where the arm has no such pods."""
    base = f"/api/v1/namespaces/{cluster.namespace}"
    pods = {one["metadata"]["name"]: one for one in _items(cluster, f"{base}/pods")}
    services = {one["metadata"]["name"]: one for one in _items(cluster, f"{base}/services")}
    hosts = {
        one["spec"]["nodeName"]: one["metadata"]["name"]
        for one in pods.values()
        if (one["metadata"].get("labels") or {}).get("app") == "measure-host"
    }
    nodes = {one["metadata"]["name"]: one for one in _items(cluster, "/api/v1/nodes")}
    return [_pair(cluster, letter, pods, services, hosts, nodes) for letter in ascii_lowercase[:count]]


def _pair(
    cluster: Cluster,
    letter: str,
    pods: Mapping[str, Any],
    services: Mapping[str, Any],
    hosts: Mapping[str, str],
    nodes: Mapping[str, Any],
) -> Pair:
    names = {role: f"measure-{role}-{letter}" for role in ("client", "near", "far")}
    if gone := [name for name in names.values() if name not in pods]:
        raise MissingFeature(cluster.arm, f"no pod {gone[0]} in namespace {cluster.namespace}")
    node = {role: str(pods[name]["spec"].get("nodeName", "")) for role, name in names.items()}
    if node["near"] != node["client"] or node["far"] == node["client"]:
        raise NotReady(
            f"{cluster.arm}: pair {letter} is misplaced: the client runs on {node['client']}, its near server on "
            f"{node['near']}, its far one on {node['far']}; delete the pods measure-*-{letter} and run again"
        )
    if lacking := [name for name in (node["client"], node["far"]) if name not in hosts]:
        raise MissingFeature(cluster.arm, f"no pod of measure-host on node {lacking[0]}")
    role_of = {"same-node": "near", "other-node": "far"}
    found = {place: services[names[role]] for place, role in role_of.items()}
    return Pair(
        name=letter,
        client=f"pod/{cluster.namespace}/{names['client']}/probe",
        host_client=f"pod/{cluster.namespace}/{hosts[node['client']]}/probe",
        client_node=node["client"],
        far_node=node["far"],
        pod_ips={place: pods[names[role]]["status"]["podIP"] for place, role in role_of.items()},
        cluster_ips={place: one["spec"]["clusterIP"] for place, one in found.items()},
        node_ports={
            (place, port["protocol"], port["port"]): port["nodePort"]
            for place, one in found.items()
            for port in one["spec"]["ports"]
        },
        node_ips={place: _node_ip(cluster, nodes[node[role]]) for place, role in role_of.items()},
        boots={name: nodes[name]["status"]["nodeInfo"]["bootID"] for name in (node["client"], node["far"])},
    )


def _items(cluster: Cluster, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cluster.read(path).stdout)["items"]
    return found


def _node_ip(cluster: Cluster, node: Mapping[str, Any]) -> str:
    """Its first InternalIP. Raises MissingFeature where it has none."""
    for one in node["status"]["addresses"]:
        if one["type"] == "InternalIP":
            return str(one["address"])
    raise MissingFeature(cluster.arm, f"node {node['metadata']['name']} has no InternalIP to be reached at")
