"""What sets an arm up on kind: a cluster's configuration, and the commands of the person's own tools.

kind's nodes share one kernel and one bridge: what is in tables and packets is real, speed says nothing of Azure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.provision.plan import Arm, Plan

__all__ = ["Argv", "cluster_name", "config", "context", "create", "delete", "install", "needed", "ready"]

Argv = tuple[str, ...]

CILIUM_CHART, CALICO_CHART = "https://helm.cilium.io", "https://docs.tigera.io/calico/charts"
API_PORT = 6443


def cluster_name(plan: Plan, arm: Arm) -> str:
    """The name of an arm's kind cluster."""
    return f"labkit-{plan.name}-{arm.name}"


def context(plan: Plan, arm: Arm) -> str:
    """The name that kind gives to its context."""
    return f"kind-{cluster_name(plan, arm)}"


def config(plan: Plan, arm: Arm) -> dict[str, Any]:
    """kind's configuration of an arm's cluster (kind.x-k8s.io/v1alpha4).

    The default CNI is off where another one is installed. Without a policy engine it stays: kindnet is what
    comes nearest to Azure CNI Overlay, with a veth and a host route for each pod and no tunnel.
    """
    image = {"image": plan.kind.image} if plan.kind.image else {}
    workers = [{"role": "worker", **image} for _ in range(arm.pins.nodes)]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": cluster_name(plan, arm),
        "networking": {
            "disableDefaultCNI": _brings_its_own(arm),
            "kubeProxyMode": arm.kube_proxy,
            "podSubnet": arm.pins.pod_cidr,
            "serviceSubnet": arm.pins.service_cidr,
        },
        "nodes": [{"role": "control-plane", **image}, *workers],
    }


def needed(plan: Plan) -> list[tuple[str, ...]]:
    """The programs that a plan needs; of each entry, one is enough."""
    wanted: list[tuple[str, ...]] = [("kind",), ("docker", "podman", "nerdctl"), ("kubectl",)]
    if any(arm.is_a.dataplane == "cilium" for arm in plan.created):
        wanted.append(("helm", "cilium"))
    if any(arm.policy == "calico" for arm in plan.created):
        wanted.append(("helm",))
    return wanted


def create(plan: Plan, arm: Arm, file: Path) -> Argv:
    """Create the cluster. It waits for nodes only where the default CNI makes them ready."""
    return ("kind", "create", "cluster", "--name", cluster_name(plan, arm), "--config", str(file))


def install(plan: Plan, arm: Arm, *, helm: bool) -> Iterator[Argv]:
    """Install the arm's network, with helm or else with the cilium program; none where the default CNI stays."""
    if arm.is_a.dataplane == "cilium":
        values = _sets(_cilium_values(plan, arm))
        version, where = plan.kind.cilium_version, context(plan, arm)
        if helm:
            chart = ("cilium", "cilium", "--repo", CILIUM_CHART, "--version", version)
            yield ("helm", "upgrade", "--install", *chart, "--namespace", "kube-system", *_to(where), *values)
        else:
            yield ("cilium", "install", "--version", version, "--context", where, *values)
    elif arm.policy == "calico":
        chart = ("calico", "tigera-operator", "--repo", CALICO_CHART, "--version", plan.kind.calico_version)
        namespace = ("--namespace", "tigera-operator", "--create-namespace")
        values = _sets(_calico_values(arm))
        yield ("helm", "upgrade", "--install", *chart, *namespace, *_to(context(plan, arm)), *values)


def ready(plan: Plan, arm: Arm) -> Argv:
    """Wait until every node is ready, which it is when its network is."""
    where = context(plan, arm)
    return ("kubectl", "wait", "node", "--all", "--for=condition=Ready", "--timeout=600s", "--context", where)


def delete(name: str) -> Argv:
    """Delete a kind cluster."""
    return ("kind", "delete", "cluster", "--name", name)


def _brings_its_own(arm: Arm) -> bool:
    return arm.is_a.dataplane == "cilium" or arm.policy == "calico"


def _cilium_values(plan: Plan, arm: Arm) -> dict[str, str]:
    """Cilium as AKS sets it up: native routing, a route for each endpoint, no tunnel, no kube-proxy."""
    kind = arm.is_a
    return {
        "kubeProxyReplacement": "true",
        "k8sServiceHost": f"{cluster_name(plan, arm)}-control-plane",
        "k8sServicePort": str(API_PORT),
        "ipam.mode": "kubernetes",
        "routingMode": "native",
        "autoDirectNodeRoutes": "true",
        "ipv4NativeRoutingCIDR": arm.pins.pod_cidr,
        "endpointRoutes.enabled": "true",
        "bpf.hostLegacyRouting": _flag(not kind.bpf_host_routing),
        "bpf.masquerade": _flag(kind.bpf_host_routing),
        "hubble.enabled": _flag(kind.acns),
        "hubble.relay.enabled": _flag(kind.acns),
        "l7Proxy": _flag(kind.l7),
    }


def _calico_values(arm: Arm) -> dict[str, str]:
    """Calico without a tunnel, as Azure CNI Overlay has none."""
    pool = "installation.calicoNetwork.ipPools[0]"
    return {
        "installation.cni.type": "Calico",
        f"{pool}.cidr": arm.pins.pod_cidr,
        f"{pool}.encapsulation": "None",
    }


def _to(context_name: str) -> Argv:
    return ("--kube-context", context_name)


def _sets(values: dict[str, str]) -> Argv:
    return tuple(word for key, value in values.items() for word in ("--set", f"{key}={value}"))


def _flag(value: bool) -> str:
    return "true" if value else "false"
