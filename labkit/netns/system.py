"""The objects that a cluster has before anyone asks for one: nodes, namespaces, names, and who does Services.

Nodes say of this machine what is so: kernel, boot, processors, memory. There is no Service `kubernetes`, since
no API server listens for pods.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.netns.api import VERSION
from labkit.netns.kubelet import STAND_IN
from labkit.netns.store import now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.netns.store import Item
    from labkit.netns.topology import Node, Topology

__all__ = ["node_status", "nodes", "objects"]

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
#: On a cluster this is the size of a machine and its place; here all nodes are one machine.
SIZE = ZONE = "netns"
CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {pods}
"""
#: Annotation that says what runs in place of what an image is known for.
IMAGE = "labkit.dev/image"
WHY = "labkit writes {what} into this node; no process runs in this pod"


def objects(topology: Topology) -> Iterator[Item]:
    """All but the nodes, in the order in which they have to be made."""
    for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    if topology.services == "iptables":
        config = {"config.conf": CONFIG.format(pods=topology.pod_cidr)}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named("kube-proxy"), "data": config}
        yield _agent(
            "kube-proxy", "labkit/kube-proxy-rules", "kube-proxy's rules", component="kube-proxy", tier="node"
        )
    else:
        yield _agent(
            "labkit-ebpf", "labkit/ebpf-maps", "eBPF programs and maps for Services and NetworkPolicies"
        )
    yield _dns_service(topology.dns_ip)
    yield _dns()


def nodes(topology: Topology) -> list[Item]:
    """The nodes."""
    return [_node(node) for node in topology.nodes]


def _named(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": "kube-system", **({"labels": labels} if labels else {})}


def _node(node: Node) -> Item:
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    labels = {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/role": "agent",
        "node.kubernetes.io/instance-type": SIZE,
        "topology.kubernetes.io/region": ZONE,
        "topology.kubernetes.io/zone": ZONE,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr]},
    }


def node_status(node: Node) -> dict[str, Any]:
    """What the machine is, and that the node is ready."""
    fine = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    at = now()
    room = {"cpu": str(os.cpu_count()), "memory": f"{_memory_kib()}Ki", "pods": "110"}
    return {
        "capacity": room,
        "allocatable": room,
        "conditions": [
            {"type": kind, "status": status, "lastHeartbeatTime": at, "lastTransitionTime": at,
             "reason": reason, "message": message}
            for kind, status, reason, message in fine
        ],
        "addresses": [{"type": "InternalIP", "address": node.ip}, {"type": "Hostname", "address": node.name}],
        "nodeInfo": _info(),
    }  # fmt: skip


def _info() -> dict[str, str]:
    release = platform.freedesktop_os_release()
    kernel = Path("/proc/sys/kernel")
    machine = Path("/etc/machine-id")
    identity = machine.read_text().strip() if machine.exists() else ""
    return {
        "machineID": identity,
        "systemUUID": identity,
        "bootID": (kernel / "random/boot_id").read_text().strip(),
        "kernelVersion": os.uname().release,
        "osImage": release.get("PRETTY_NAME", release["NAME"]),
        "containerRuntimeVersion": "labkit-netns://namespaces",
        "kubeletVersion": str(VERSION["gitVersion"]),
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
    }


def _memory_kib() -> int:
    """MemTotal of proc(5)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("MemTotal:")))


def _agent(name: str, image: str, what: str, **labels: str) -> Item:
    """The DaemonSet by which a cluster shows who programs its nodes."""
    labels, why = {**labels, "k8s-app": name}, {STAND_IN: WHY.format(what=what)}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {**_named(name, **labels), "annotations": why},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": name}},
            "template": {
                "metadata": {"labels": labels, "annotations": why},
                "spec": {
                    "hostNetwork": True,
                    "priorityClassName": "system-node-critical",
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": name, "image": image}],
                },
            },
        },
    }


def _dns_service(address: str) -> Item:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
             {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}]  # fmt: skip
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _named("kube-dns", **labels),
        "spec": {"clusterIP": address, "selector": {"k8s-app": "kube-dns"}, "ports": ports},
    }


def _dns() -> Item:
    labels = {"k8s-app": "kube-dns"}
    ports = [{"name": "dns", "containerPort": 53, "protocol": "UDP"},
             {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"}]  # fmt: skip
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
              "labelSelector": {"matchLabels": labels}}  # fmt: skip
    why = {IMAGE: "dnsmasq stands in for CoreDNS"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_named("coredns", **labels), "annotations": why},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": why},
                "spec": {
                    "dnsPolicy": "Default",
                    "priorityClassName": "system-cluster-critical",
                    "topologySpreadConstraints": [spread],
                    "containers": [{"name": "coredns", "image": "coredns", "ports": ports}],
                },
            },
        },
    }
