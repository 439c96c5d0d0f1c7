"""EndpointSlices of a Service: the addresses of the pods that it selects, a hundred a slice."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from labkit.netns.store import now
from labkit.netns.workloads import is_ready, letters, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labkit.netns.store import Item

__all__ = ["LIMIT", "alike", "slices"]

#: Endpoints of a slice (kube-controller-manager --max-endpoints-per-slice).
LIMIT = 100
MANAGED = "endpointslice-controller.k8s.io"
Ports = tuple[tuple[str, str, int], ...]


def slices(service: Item, pods: Iterable[Item], zones: Mapping[str, str]) -> Iterator[Item]:
    """The slices of a Service among the pods of its namespace; one without endpoints where there is none.

    Pods that give a named port another number are in slices of their own. None for a Service without selector.
    """
    selector = service["spec"].get("selector")
    if not selector:
        return
    groups: dict[Ports, list[Item]] = {}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        up = pod["status"].get("podIP") and pod["status"]["phase"] == "Running"
        if up and all(labels.get(k) == v for k, v in selector.items()):
            groups.setdefault(_ports(service, pod), []).append(pod)
    number = 0
    for ports, members in sorted(groups.items()) or [((), [])]:
        members.sort(key=lambda pod: ipaddress.ip_address(pod["status"]["podIP"]))
        for start in range(0, len(members) or 1, LIMIT):
            yield _slice(service, number, ports, members[start : start + LIMIT], zones)
            number += 1


def alike(wanted: Item, there: Item) -> bool:
    """Whether two slices say the same."""
    return all(wanted[key] == there.get(key) for key in ("endpoints", "ports")) and (
        wanted["metadata"]["labels"] == there["metadata"]["labels"]
    )


def _ports(service: Item, pod: Item) -> Ports:
    """Name, protocol and number at the pod of each port; a named one that the pod does not have is left out."""
    found = []
    for port in service["spec"]["ports"]:
        target = port["targetPort"]
        numbers = [target] if isinstance(target, int) else [
            each["containerPort"]
            for container in pod["spec"]["containers"]
            for each in container.get("ports", ())
            if (each.get("name"), each["protocol"]) == (target, port["protocol"])
        ]  # fmt: skip
        found += [(port.get("name", ""), port["protocol"], number) for number in numbers[:1]]
    return tuple(found)


def _slice(service: Item, number: int, ports: Ports, pods: Sequence[Item], zones: Mapping[str, str]) -> Item:
    meta = service["metadata"]
    labels = {**(meta.get("labels") or {}), "endpointslice.kubernetes.io/managed-by": MANAGED,
              "kubernetes.io/service-name": meta["name"]}  # fmt: skip
    if service["spec"].get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    place = f"{meta['namespace']}/{meta['name']}/{number}"
    always = bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-{letters(place, 5)}",
            "generateName": f"{meta['name']}-",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": now()},
            "ownerReferences": [owner_of(service)],
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(pod, zones, always=always) for pod in pods] or None,
        "ports": [{"name": name, "protocol": protocol, "port": at} for name, protocol, at in ports] or None,
    }


def _endpoint(pod: Item, zones: Mapping[str, str], *, always: bool) -> dict[str, Any]:
    ending = "deletionTimestamp" in pod["metadata"]
    ready = is_ready(pod)
    made = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready or always, "serving": ready or always, "terminating": ending},
        "targetRef": {
            "kind": "Pod",
            "namespace": pod["metadata"]["namespace"],
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
        "nodeName": pod["spec"]["nodeName"],
    }
    if zone := zones.get(pod["spec"]["nodeName"]):
        made["zone"] = zone
    return made
