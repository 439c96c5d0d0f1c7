"""API objects as frames: nodes, pods, Services, endpoints, DaemonSets, policies.

Shapes: Kubernetes API reference v1.36. The objects are read as the JSON that the API server sends, so
that a recording and a live answer are the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

__all__ = [
    "CONTAINERS", "DAEMONSETS", "ENDPOINTS", "NODES", "PODS", "SERVICES",
    "config_map", "containers", "daemonsets", "endpoints", "items", "nodes", "pods", "services", "version",
]  # fmt: skip

NODES = Schema("nodes", "The nodes of the cluster.", key=("node",), columns=(
    Column("node", "str", "name"),
    Column("node_ip", "str", "InternalIP, the first; NA where it has none"),
    Column("pod_cidr", "str", "podCIDR: the range its pods get addresses from"),
    Column("ready", "boolean", "the Ready condition"),
    Column("kubelet", "str", "kubelet version"),
    Column("kernel", "str", "kernel release"),
    Column("os_image", "str", "operating system"),
    Column("runtime", "str", "container runtime and version"),
    Column("architecture", "str", "CPU architecture"),
    Column("instance_type", "str", "label node.kubernetes.io/instance-type"),
    Column("zone", "str", "label topology.kubernetes.io/zone"),
    Column("boot_id", "str", "boot id: changes when the node restarts"),
))  # fmt: skip

PODS = Schema("pods", "Pods with their placement.", key=("namespace", "pod"), columns=(
    Column("namespace", "str", "namespace"),
    Column("pod", "str", "name"),
    Column("app", "str", "the label that names its workload: app, k8s-app, name or component"),
    Column("node", "str", "the node it runs on"),
    Column("pod_ip", "str", "address; the node's own where host_network"),
    Column("host_network", "boolean", "shares the node's network namespace"),
    Column("phase", "str", "Pending, Running, Succeeded, Failed or Unknown"),
    Column("ready", "boolean", "the Ready condition"),
    Column("restarts", "Int64", "container restarts"),
    Column("labels", "str", "labels, key=value, comma-separated"),
))  # fmt: skip

CONTAINERS = Schema("containers", "Containers and their images.", key=("namespace", "pod", "container"), columns=(
    Column("namespace", "str", "namespace"),
    Column("pod", "str", "pod"),
    Column("container", "str", "name"),
    Column("image", "str", "image reference of the pod's spec"),
))  # fmt: skip

SERVICES = Schema("services", "Services, one row a port.", key=("namespace", "service", "protocol", "port"), columns=(
    Column("namespace", "str", "namespace"),
    Column("service", "str", "name"),
    Column("type", "str", "ClusterIP, NodePort, LoadBalancer or ExternalName"),
    Column("cluster_ip", "str", "virtual address; NA for a headless Service"),
    Column("protocol", "str", "TCP, UDP or SCTP"),
    Column("port", "Int64", "port at the virtual address"),
    Column("port_name", "str", "name of the port"),
    Column("node_port", "Int64", "port on every node, where there is one"),
    Column("affinity", "str", "sessionAffinity: None or ClientIP"),
    Column("internal_policy", "str", "internalTrafficPolicy: Cluster or Local"),
))  # fmt: skip

ENDPOINTS = Schema(
    "endpoints", "EndpointSlices, one row an address and port.",
    key=("namespace", "service", "protocol", "port", "address"), columns=(
    Column("namespace", "str", "namespace"),
    Column("service", "str", "the Service they belong to"),
    Column("port_name", "str", "name of the port"),
    Column("protocol", "str", "TCP, UDP or SCTP"),
    Column("port", "Int64", "port at the endpoint"),
    Column("address", "str", "address of the endpoint"),
    Column("ready", "boolean", "takes new connections"),
    Column("node", "str", "the node it runs on"),
    Column("pod", "str", "the pod behind it"),
))  # fmt: skip

DAEMONSETS = Schema("daemonsets", "DaemonSets: what runs on every node.", key=("namespace", "daemonset"), columns=(
    Column("namespace", "str", "namespace"),
    Column("daemonset", "str", "name"),
    Column("desired", "Int64", "nodes it should run on"),
    Column("ready", "Int64", "nodes it is ready on"),
    Column("containers", "str", "container names, comma-separated"),
    Column("images", "str", "images, comma-separated"),
))  # fmt: skip

APP_LABELS = ("app", "k8s-app", "name", "component", "io.cilium/app")


def items(data: bytes) -> list[dict[str, Any]]:
    """The objects of a list answer."""
    value = json_object("the API server", data)
    found = value.get("items")
    if not isinstance(found, list):
        raise ParseError("the API server", "a list of objects was expected", excerpt=str(value))
    return found


def version(data: bytes) -> str:
    """The `gitVersion` of `/version`."""
    value = json_object("the API server", data)
    if "gitVersion" not in value:
        raise ParseError("the API server", "no gitVersion in /version", excerpt=str(value))
    return str(value["gitVersion"])


def config_map(data: bytes, name: str) -> dict[str, str] | None:
    """The data of one ConfigMap of a list, or None where there is none of that name."""
    for item in items(data):
        if item["metadata"]["name"] == name:
            return dict(item.get("data") or {})
    return None


def _frame(schema: Schema, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    try:
        return schema.frame(rows)
    except (KeyError, TypeError) as error:
        raise ParseError("the API server", f"an object of {schema.name} without {error}") from None


def nodes(data: bytes) -> pd.DataFrame:
    """Nodes, of `/api/v1/nodes`: frame NODES."""
    return _frame(NODES, map(_node, items(data)))


def _node(item: dict[str, Any]) -> dict[str, Any]:
    info, labels = item["status"]["nodeInfo"], item["metadata"].get("labels", {})
    addresses = {
        a["type"]: a["address"] for a in reversed(item["status"]["addresses"])
    }  # the first is primary
    return {
        "node": item["metadata"]["name"],
        "node_ip": addresses.get("InternalIP"),
        "pod_cidr": item["spec"].get("podCIDR"),
        "ready": _condition(item, "Ready"),
        "kubelet": info["kubeletVersion"],
        "kernel": info["kernelVersion"],
        "os_image": info["osImage"],
        "runtime": info["containerRuntimeVersion"],
        "architecture": info["architecture"],
        "instance_type": labels.get("node.kubernetes.io/instance-type"),
        "zone": labels.get("topology.kubernetes.io/zone"),
        "boot_id": info["bootID"],
    }


def _condition(item: dict[str, Any], kind: str) -> bool | None:
    found = [c["status"] == "True" for c in item["status"].get("conditions", []) if c["type"] == kind]
    return found[0] if found else None


def pods(data: bytes) -> pd.DataFrame:
    """Pods, of `/api/v1/pods`: frame PODS."""
    return _frame(PODS, map(_pod, items(data)))


def _pod(item: dict[str, Any]) -> dict[str, Any]:
    labels = item["metadata"].get("labels") or {}
    return {
        "namespace": item["metadata"]["namespace"],
        "pod": item["metadata"]["name"],
        "app": next((labels[name] for name in APP_LABELS if name in labels), None),
        "node": item["spec"].get("nodeName"),
        "pod_ip": item["status"].get("podIP"),
        "host_network": bool(item["spec"].get("hostNetwork", False)),
        "phase": item["status"].get("phase"),
        "ready": _condition(item, "Ready"),
        "restarts": sum(c.get("restartCount", 0) for c in item["status"].get("containerStatuses") or []),
        "labels": ",".join(f"{k}={v}" for k, v in sorted(labels.items())),
    }


def containers(data: bytes) -> pd.DataFrame:
    """Containers of all pods, of `/api/v1/pods`: frame CONTAINERS."""
    return _frame(CONTAINERS, (
        {"namespace": item["metadata"]["namespace"], "pod": item["metadata"]["name"],
         "container": container["name"], "image": container["image"]}
        for item in items(data) for container in item["spec"]["containers"]
    ))  # fmt: skip


def services(data: bytes) -> pd.DataFrame:
    """Service ports, of `/api/v1/services`: frame SERVICES."""
    return _frame(SERVICES, (row for item in items(data) for row in _service(item)))


def _service(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = item["spec"]
    for port in spec.get("ports") or []:
        yield {
            "namespace": item["metadata"]["namespace"],
            "service": item["metadata"]["name"],
            "type": spec["type"],
            "cluster_ip": None if spec.get("clusterIP") in (None, "", "None") else spec["clusterIP"],
            "protocol": port.get("protocol", "TCP"),
            "port": port["port"],
            "port_name": port.get("name"),
            "node_port": port.get("nodePort"),
            "affinity": spec.get("sessionAffinity"),
            "internal_policy": spec.get("internalTrafficPolicy"),
        }


def endpoints(data: bytes) -> pd.DataFrame:
    """Endpoints, of `/apis/discovery.k8s.io/v1/endpointslices`: frame ENDPOINTS. A slice may be of no Service."""
    return _frame(ENDPOINTS, (row for item in items(data) for row in _slice(item)))


def _slice(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    service = (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
    for endpoint in (item.get("endpoints") or []) if service else []:
        for port in item.get("ports") or []:
            for address in endpoint["addresses"]:
                yield {
                    "namespace": item["metadata"]["namespace"],
                    "service": service,
                    "port_name": port.get("name") or None,
                    "protocol": port.get("protocol", "TCP"),
                    "port": port.get("port"),
                    "address": address,
                    "ready": endpoint.get("conditions", {}).get("ready"),
                    "node": endpoint.get("nodeName"),
                    "pod": (endpoint.get("targetRef") or {}).get("name"),
                }


def daemonsets(data: bytes) -> pd.DataFrame:
    """DaemonSets, of `/apis/apps/v1/daemonsets`: frame DAEMONSETS."""
    return _frame(DAEMONSETS, map(_daemonset, items(data)))


def _daemonset(item: dict[str, Any]) -> dict[str, Any]:
    found = item["spec"]["template"]["spec"]["containers"]
    return {
        "namespace": item["metadata"]["namespace"],
        "daemonset": item["metadata"]["name"],
        "desired": item["status"]["desiredNumberScheduled"],
        "ready": item["status"]["numberReady"],
        "containers": ",".join(c["name"] for c in found),
        "images": ",".join(c["image"] for c in found),
    }
