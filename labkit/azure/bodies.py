"""The request bodies that a plan comes to. What is printed by a dry run is what is sent.

Every field that AKS would choose by itself, or change while a measurement runs, is stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.azure.tags import Tags
    from labkit.provision.plan import Arm, Plan

__all__ = ["Asked", "api_version", "cluster", "group", "group_name", "managed_group_name", "requests"]

GROUP_API = "2025-04-01"
CLUSTER_API = "2026-08-01"
#: kube-proxy's mode is in preview: it needs this version, and the feature KubeProxyConfigurationPreview.
PREVIEW_API = "2025-09-02-preview"

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that creates or changes something. The subscription is left out of its path."""

    method: str
    path: str
    api_version: str
    body: Body


def group_name(plan: Plan) -> str:
    """The one resource group of a run. What is in it goes with it."""
    return f"labkit-{plan.name}"


def managed_group_name(plan: Plan, arm: Arm) -> str:
    """The group that AKS makes for an arm's nodes, named as AKS would; stated, so that it can be looked for."""
    return f"MC_{group_name(plan)}_{arm.cluster}_{plan.region}"


def api_version(arm: Arm) -> str:
    """The version of the API that knows all that an arm's body states."""
    return PREVIEW_API if arm.kube_proxy == "nftables" else CLUSTER_API


def requests(plan: Plan, tags: Tags) -> list[Asked]:
    """All requests of a plan in order: its group, a cluster for each arm, and then those that move one."""
    name, home = group_name(plan), "/subscriptions/{subscription}"
    asked = [Asked("PUT", f"{home}/resourcegroups/{name}", GROUP_API, group(plan, tags))]
    for arm in (*plan.created, *plan.moved):
        provider = "providers/Microsoft.ContainerService/managedClusters"
        path = f"{home}/resourceGroups/{name}/{provider}/{arm.cluster}"
        asked.append(Asked("PUT", path, api_version(arm), cluster(plan, arm, tags)))
    return asked


def group(plan: Plan, tags: Tags) -> Body:
    """The body of the resource group."""
    return {"location": plan.region, "tags": tags}


def cluster(plan: Plan, arm: Arm, tags: Tags) -> Body:
    """The body of an arm's cluster."""
    pins = arm.pins
    properties = {
        "kubernetesVersion": pins.kubernetes_version,
        "dnsPrefix": f"labkit-{plan.name}-{arm.cluster}",
        "nodeResourceGroup": managed_group_name(plan, arm),
        "enableRBAC": True,
        "disableLocalAccounts": False,
        "supportPlan": "KubernetesOfficial",
        "agentPoolProfiles": [_pool(arm, tags)],
        "networkProfile": _network(arm),
        "autoUpgradeProfile": {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"},
        "nodeProvisioningProfile": {"mode": "Manual"},
        "azureMonitorProfile": {"metrics": {"enabled": False}},
        "securityProfile": {
            "defender": {"securityMonitoring": {"enabled": False}},
            "imageCleaner": {"enabled": False},
        },
        "workloadAutoScalerProfile": {
            "keda": {"enabled": False},
            "verticalPodAutoscaler": {"enabled": False},
        },
        "addonProfiles": {},
    }
    if pins.entra_id:
        properties["aadProfile"] = {"managed": True, "enableAzureRBAC": True}
    return {
        "location": plan.region,
        "tags": tags,
        "sku": {"name": "Base", "tier": pins.tier},
        "identity": {"type": "SystemAssigned"},
        "properties": properties,
    }


def _pool(arm: Arm, tags: Tags) -> Body:
    pins = arm.pins
    pool = {
        "name": "system",
        "mode": "System",
        "type": "VirtualMachineScaleSets",
        "count": pins.nodes,
        "enableAutoScaling": False,
        "vmSize": pins.vm_size,
        "osType": "Linux",
        "osSKU": pins.os_sku,
        "osDiskType": pins.os_disk_type,
        "osDiskSizeGB": pins.os_disk_gb,
        "maxPods": pins.max_pods,
        "orchestratorVersion": pins.kubernetes_version,
        "enableNodePublicIP": False,
        "localDNSProfile": {"mode": pins.local_dns},
        "tags": tags,
    }
    return {**pool, "availabilityZones": [pins.zone]} if pins.zone else pool


def _network(arm: Arm) -> Body:
    pins, kind = arm.pins, arm.is_a
    profile: Body = {
        "networkPlugin": "azure",
        "networkPluginMode": "overlay",
        "networkDataplane": kind.dataplane,
        "networkPolicy": arm.policy,
        "podCidr": pins.pod_cidr,
        "serviceCidr": pins.service_cidr,
        "dnsServiceIP": pins.dns_service_ip,
        "ipFamilies": ["IPv4"],
        "outboundType": "loadBalancer",
        "loadBalancerSku": "standard",
        "advancedNetworking": _acns(arm),
    }
    if arm.kube_proxy == "nftables":
        profile["kubeProxyConfig"] = {"enabled": True, "mode": "NFTABLES"}
    return profile


def _acns(arm: Arm) -> Body:
    kind = arm.is_a
    if not kind.acns:
        return {"enabled": False}
    return {
        "enabled": True,
        "observability": {"enabled": True},
        "security": {
            "enabled": True,
            "advancedNetworkPolicies": "L7" if kind.l7 else "FQDN",
            "transitEncryption": {"type": "None"},
        },
        "performance": {"accelerationMode": "BpfVeth" if kind.bpf_host_routing else "None"},
    }
