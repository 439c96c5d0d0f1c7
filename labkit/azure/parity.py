"""What Azure says of each cluster, as facts that must be equal in all arms before anything is measured.

The same shape as what is read on the nodes (`labkit.collect.parity`), so that one gate judges both:
a fact, its value, whether arms may differ in it because they are made to, and what a difference would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.azure import bodies
from labkit.provision.files import write
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import pandas as pd

    from labkit.azure.clients import Found
    from labkit.provision.plan import Plan

__all__ = ["AZURE_FACTS", "facts", "keep", "planned", "saved"]

AZURE_FACTS = Schema("azure_facts", "What Azure says of an arm's cluster.", key=(), columns=(
    Column("arm", "str", "the arm"),
    Column("fact", "str", "what is compared"),
    Column("value", "str", "what this arm has; several values are comma-separated"),
    Column("expected", "boolean", "it may differ, because it is what the arms differ in"),
    Column("why_it_matters", "str", "what a difference would do to the comparison"),
))  # fmt: skip

FILE = "azure_facts.csv"


def facts(clusters: Mapping[str, Found]) -> pd.DataFrame:
    """A row for each arm and fact, of the clusters by arm: as Azure describes them, or as a plan asks for them."""
    return AZURE_FACTS.frame(
        {"arm": arm, "fact": fact, "value": read(found), "expected": expected, "why_it_matters": why}
        for arm, found in clusters.items()
        for fact, read, expected, why in FACTS
    )


def planned(plan: Plan) -> pd.DataFrame:
    """The facts as a plan states them, before anything is created and costs."""
    return facts({arm.name: bodies.cluster(plan, arm, {}) for arm in plan.arms.values()})


def keep(frame: pd.DataFrame, plan: Plan, folder: Path) -> pd.DataFrame:
    """Keep the facts with the run, for the notebook that shows them; gives them with those kept before.

    A cluster that was moved is two arms: what it was before is kept as it was seen then.
    """
    before = saved(folder)
    before = before[before["arm"].isin(list(plan.arms)) & ~before["arm"].isin(frame["arm"])]
    every = concat([before, frame])
    write(folder / FILE, every.to_csv(index=False).encode())
    return every


def saved(folder: Path) -> pd.DataFrame:
    """The facts that `up` kept, which name no subscription; none where it has not come so far."""
    import pandas as pd  # noqa: PLC0415

    if not (folder / FILE).is_file():
        return AZURE_FACTS.empty()
    frame = pd.read_csv(folder / FILE, dtype="str", keep_default_na=False)
    on = {"True": True, "False": False}
    return AZURE_FACTS.frame(
        {str(name): on.get(value, value) if name == "expected" else value for name, value in row.items()}
        for row in frame.to_dict("records")
    )


def _at(found: Found, path: str) -> Any:  # noqa: ANN401  (JSON)
    """What stands at a dotted path; None where the path ends before."""
    value: Any = found
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(values: Iterable[Any], off: str) -> str:
    """The different values, sorted, comma-separated; `off` where there is none."""
    return ", ".join(sorted({_word(value) for value in values if value not in (None, "", [])})) or off


def _word(value: Any) -> str:  # noqa: ANN401
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _one(path: str, off: str = "none") -> Callable[[Found], str]:
    """Reads one field of a cluster."""
    return lambda found: _text([_at(found, path)], off)


def _pools(path: str, off: str = "none") -> Callable[[Found], str]:
    """Reads one field of each node pool."""
    return lambda found: _text((_at(pool, path) for pool in _of(found)), off)


def _of(found: Found) -> list[Found]:
    return list(_at(found, "properties.agentPoolProfiles") or [])


def _version(found: Found) -> str:
    return _text(
        [_at(found, "properties.currentKubernetesVersion") or _at(found, "properties.kubernetesVersion")], "?"
    )


def _nodes(found: Found) -> str:
    return str(sum(int(pool.get("count") or 0) for pool in _of(found)))


def _local_dns(found: Found) -> str:
    return _text(
        (_at(p, "localDNSProfile.state") or _at(p, "localDNSProfile.mode") for p in _of(found)), "Disabled"
    )


def _kube_proxy(found: Found) -> str:
    if _at(found, "properties.networkProfile.networkDataplane") == "cilium":
        return "none"
    return _text([_at(found, "properties.networkProfile.kubeProxyConfig.mode")], "IPTABLES").lower()


def _acns(found: Found) -> str:
    """The parts of ACNS that are on."""
    base = "properties.networkProfile.advancedNetworking"
    if not _at(found, f"{base}.enabled"):
        return "off"
    policies = (
        _at(found, f"{base}.security.advancedNetworkPolicies")
        if _at(found, f"{base}.security.enabled")
        else ""
    )
    mode = _at(found, f"{base}.performance.accelerationMode")
    flows = "flows" if _at(found, f"{base}.observability.enabled") else ""
    return _text([flows, policies, None if mode == "None" else mode], "on")


def _add_ons(found: Found) -> str:
    on = [
        name for name, addon in (_at(found, "properties.addonProfiles") or {}).items() if addon.get("enabled")
    ]
    for name, path in (
        ("managed Prometheus", "azureMonitorProfile.metrics.enabled"),
        ("Defender", "securityProfile.defender.securityMonitoring.enabled"),
        ("image cleaner", "securityProfile.imageCleaner.enabled"),
        ("KEDA", "workloadAutoScalerProfile.keda.enabled"),
        ("vertical pod autoscaler", "workloadAutoScalerProfile.verticalPodAutoscaler.enabled"),
    ):
        if _at(found, f"properties.{path}"):
            on.append(name)
    return _text(on, "none")


NET, UPGRADES = "properties.networkProfile", "properties.autoUpgradeProfile"
PLAN = "it is what the arms differ in"
MID_RUN = "nodes come, go or start anew during a measurement"
SAME_ADDRESSES = "the same addresses make routes and policies line up"
Fact = tuple[str, "Callable[[Found], str]", bool, str]
#: In reading order: what must be equal, then what arms are made to differ in.
FACTS: tuple[Fact, ...] = (
    ("Kubernetes version", _version, False, "behaviour changes between versions"),
    ("region", _one("location"), False, "hosts and networks differ between regions"),
    ("VM size", _pools("vmSize"), False, "bandwidth, CPU, MTU and accelerated networking follow the size"),
    ("node count", _nodes, False, "more nodes spread the load"),
    ("zones of node pools", _pools("availabilityZones"), False, "round-trip time follows the pair of zones"),
    ("OS SKU", _pools("osSKU"), False, "kernel, drivers and defaults come with the image"),
    ("node image", _pools("nodeImageVersion"), False, "the kernel is half of the dataplane"),
    ("OS disk", _pools("osDiskType"), False, "image pulls and logs go through it"),
    ("max pods", _pools("maxPods"), False, "sizes of tables follow it"),
    ("node autoscaling", _pools("enableAutoScaling", "False"), False, MID_RUN),
    ("node auto-provisioning", _one("properties.nodeProvisioningProfile.mode", "Manual"), False, MID_RUN),
    ("LocalDNS", _local_dns, False, "changes the DNS path; AKS turns it on by itself in some arms only"),
    ("upgrade channel", _one(f"{UPGRADES}.upgradeChannel"), False, MID_RUN),
    ("node OS upgrades", _one(f"{UPGRADES}.nodeOSUpgradeChannel", "None"), False, MID_RUN),
    ("add-ons", _add_ons, False, "agents cost CPU on every node"),
    ("control plane tier", _one("sku.tier", "Free"), False, "limits of the API server"),
    ("pod range", _one(f"{NET}.podCidr"), False, SAME_ADDRESSES),
    ("service range", _one(f"{NET}.serviceCidr"), False, SAME_ADDRESSES),
    ("outbound", _one(f"{NET}.outboundType"), False, "the path out of the cluster"),
    ("load balancer", _one(f"{NET}.loadBalancerSku"), False, "the path into the cluster"),
    ("network plugin", _one(f"{NET}.networkPlugin"), False, "another plugin is another subject"),
    (
        "network plugin mode",
        _one(f"{NET}.networkPluginMode"),
        False,
        "left out, it means pods in the nodes' subnet",
    ),
    ("dataplane", _one(f"{NET}.networkDataplane", "azure"), True, PLAN),
    ("policy engine of AKS", _one(f"{NET}.networkPolicy"), True, PLAN),
    ("kube-proxy", _kube_proxy, True, PLAN),
    ("ACNS", _acns, True, PLAN),
)
