"""What can be wrong with a plan that reads well. Told before anything is created, and all of it at once."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.provision.plan import Arm, Pins, Plan

__all__ = ["check", "release"]

NAME = re.compile(r"[a-z][a-z0-9-]{0,18}[a-z0-9]")
SUBSCRIPTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
REGION = re.compile(r"[a-z]+[0-9]*")
VERSION = re.compile(r"1\.\d+(\.\d+)?")
#: AKS keeps these for itself.
RESERVED = [ip_network(cidr) for cidr in ("169.254.0.0/16", "172.30.0.0/16", "172.31.0.0/16", "192.0.2.0/24")]
#: eBPF host routing needs one of these, and Kubernetes 1.33; so does the nftables mode of kube-proxy.
BPF_HOST_ROUTING_OS = ("Ubuntu2404", "AzureLinux3")
NEW_ENOUGH = (1, 33)


def release(version: str) -> tuple[int, int]:
    """`1.34.2` is release (1, 34)."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def check(plan: Plan) -> Iterator[str]:
    """What is wrong, a sentence each."""
    for what, name in (("name", plan.name), *(("the name of arm", arm) for arm in plan.arms)):
        if not NAME.fullmatch(name):
            yield f"{what} {name!r}: write 2 to 20 lower-case letters, digits and dashes, a letter first"
    if not plan.arms:
        yield "no arms; write a table for each, as [arms.overlay] and [arms.cilium]"
    elif not plan.created:
        yield "every arm is `of` another one, so there is no cluster to create"
    if not 0 < plan.hours <= 24 * 14:
        yield f"hours = {plan.hours:g}: clusters live for more than 0 and at most {24 * 14} hours"
    if plan.provider == "azure":
        yield from _azure(plan)
    elif plan.provider == "kind":
        yield from _kind(plan)
    else:
        yield f"provider {plan.provider!r} is not known; write azure or kind"
    for arm in plan.arms.values():
        yield from _addresses(arm)
        if arm.of:
            yield from _move(plan, arm)


def _azure(plan: Plan) -> Iterator[str]:
    if not REGION.fullmatch(plan.region):
        yield f"region {plan.region!r}: write the name that Azure's API takes, as westeurope"
    if plan.subscription and not SUBSCRIPTION.fullmatch(plan.subscription):
        yield "subscription is no subscription id, which `az account list --output table` shows"
    for arm in plan.arms.values():
        where = f"[arms.{arm.name}]"
        yield from (f"{where}: {problem}" for problem in _pins(arm.pins))
        old = (
            VERSION.fullmatch(arm.pins.kubernetes_version)
            and release(arm.pins.kubernetes_version) < NEW_ENOUGH
        )
        if old and arm.kube_proxy == "nftables":
            yield f"{where}: kube-proxy's nftables mode needs Kubernetes 1.33 or later"
        if old and arm.is_a.bpf_host_routing:
            yield f"{where}: eBPF host routing needs Kubernetes 1.33 or later"
        if arm.is_a.bpf_host_routing and arm.pins.os_sku not in BPF_HOST_ROUTING_OS:
            yield f"{where}: eBPF host routing needs os_sku {' or '.join(BPF_HOST_ROUTING_OS)}"


def _pins(pins: Pins) -> Iterator[str]:
    if not VERSION.fullmatch(pins.kubernetes_version):
        yield f"kubernetes_version {pins.kubernetes_version!r}: write it as 1.34 or 1.34.2"
    if not pins.vm_size:
        yield "vm_size is missing: Azure would choose one by itself, and not the same one each time"
    if not 10 <= pins.max_pods <= 250:
        yield f"max_pods = {pins.max_pods}: an overlay node holds 10 to 250"
    if not 2 <= pins.nodes <= 100:
        yield f"nodes = {pins.nodes}: a path between nodes needs two; more than 100 is not a lab"
    for key, value, known in (
        ("zone", pins.zone, ("1", "2", "3", "")),
        ("os_disk_type", pins.os_disk_type, ("Managed", "Ephemeral")),
        ("tier", pins.tier, ("Free", "Standard")),
        ("local_dns", pins.local_dns, ("Disabled", "Required")),
    ):
        if value not in known:
            yield f"{key} {value!r}: write {' or '.join(repr(k) for k in known)}"


def _kind(plan: Plan) -> Iterator[str]:
    for arm in plan.arms.values():
        where = f"[arms.{arm.name}]"
        if arm.of:
            yield f"{where}: kind clusters cannot be moved to another dataplane; of is for Azure"
        if arm.policy == "azure":
            yield f"{where}: Azure's policy engine exists on AKS only; on kind write none or calico"
        if arm.is_a.dataplane == "cilium" and not plan.kind.cilium_version:
            yield f"{where}: write cilium_version in [kind]"
        if arm.policy == "calico" and not plan.kind.calico_version:
            yield f"{where}: write calico_version in [kind]"


def _addresses(arm: Arm) -> Iterator[str]:
    where, pins = f"[arms.{arm.name}]", arm.pins
    try:
        pods, services = ip_network(pins.pod_cidr), ip_network(pins.service_cidr)
        dns = ip_address(pins.dns_service_ip)
    except ValueError as error:
        yield f"{where}: {error}"
        return
    if pods.overlaps(services):
        yield f"{where}: pod_cidr {pods} and service_cidr {services} overlap"
    for name, cidr in (("pod_cidr", pods), ("service_cidr", services)):
        taken = [str(r) for r in RESERVED if r.version == cidr.version and r.overlaps(cidr)]
        if taken:
            yield f"{where}: {name} {cidr} overlaps {', '.join(taken)}, which AKS keeps for itself"
    if dns not in services or dns == services[1]:
        yield f"{where}: dns_service_ip {dns} must be an address of {services} and not its first one"
    if pods.num_addresses < 256 * pins.nodes:
        yield f"{where}: pod_cidr {pods} has no /24 for each of {pins.nodes} nodes"


def _move(plan: Plan, arm: Arm) -> Iterator[str]:
    where, before = f"[arms.{arm.name}]", plan.arms.get(arm.of)
    if before is None or before.of:
        yield f"{where}: of = {arm.of!r} must name an arm of this plan that is created"
    elif before.is_a.dataplane != "azure" or arm.kind != "cilium":
        yield f"{where}: only an overlay arm can be moved, and only to kind = 'cilium'"
    elif before.kube_proxy != "iptables":
        yield f"{where}: an arm with a preview kube-proxy cannot be moved; write iptables in [arms.{arm.of}]"
    elif arm.pins != before.pins:
        yield f"{where}: it is the same cluster as {arm.of}, so it states no settings of its own"
    elif [other.name for other in plan.moved if other.of == arm.of] != [arm.name]:
        yield f"{where}: the cluster of {arm.of} can be moved once only"
