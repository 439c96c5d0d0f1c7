"""What an API server adds to an object before it keeps it: defaults and addresses.

Defaults: Kubernetes API reference v1.36, as far as a lab has use for the fields. Addresses are drawn from the
Service's name, so that the same objects get the same ones each time; as on a cluster, the first 256 addresses
and the first 86 node ports are left to those who ask for one by name.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError
from labkit.netns.kinds import KINDS, kind_of
from labkit.netns.pod_defaults import pod_spec
from labkit.netns.selectors import selects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.netns.store import Item, Store
    from labkit.netns.topology import Topology

__all__ = ["Admission"]

STATIC_IPS, STATIC_PORTS = 256, 86
NODE_PORTS = range(30000, 32768)
ROLLING = {"maxUnavailable": "25%", "maxSurge": "25%"}


class Admission:
    """Completes objects of a topology; the `admission` of a Store."""

    def __init__(self, topology: Topology) -> None:
        self._services = ipaddress.ip_network(topology.service_cidr)
        self._holders: dict[str | int, tuple[str, str]] = {}

    def admit(self, store: Store, wanted: Item, there: Item | None) -> Item:
        """The whole object. Raises ParameterError where it cannot be."""
        kind = kind_of(wanted)
        item = {**wanted, "metadata": _metadata(wanted, store)}
        match kind.name:
            case "Namespace":
                item.setdefault("spec", {"finalizers": ["kubernetes"]})
                item["metadata"]["labels"] = {
                    **item["metadata"].get("labels", {}),
                    "kubernetes.io/metadata.name": item["metadata"]["name"],
                }
                item["status"] = {"phase": "Active"}
            case "Pod":
                _pod(item, there)
            case "Deployment" | "ReplicaSet" | "DaemonSet":
                _workload(item, there)
            case "Service":
                self._service(store, item, there)
            case "NetworkPolicy":
                item["spec"] = _policy(item["spec"])
        return item

    def _service(self, store: Store, item: Item, there: Item | None) -> None:
        spec = item["spec"] = {"type": "ClusterIP", "sessionAffinity": "None", **item.get("spec", {})}
        item["status"] = {"loadBalancer": {}}
        spec["ports"] = [
            {"protocol": "TCP", "targetPort": port["port"], **port} for port in spec.get("ports") or ()
        ]
        if spec["type"] == "ExternalName":
            return
        spec.update({"internalTrafficPolicy": "Cluster", **spec})
        if spec["sessionAffinity"] == "ClientIP":
            spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
        place = item["metadata"]["namespace"], item["metadata"]["name"]
        had = there["spec"] if there else {}
        spec["clusterIP"] = self._address(store, place, spec.get("clusterIP") or had.get("clusterIP"))
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.update(ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
        if spec["type"] in ("NodePort", "LoadBalancer"):
            spec.setdefault("externalTrafficPolicy", "Cluster")
            before = {(p["port"], p["protocol"]): p.get("nodePort") for p in had.get("ports", ())}
            for port in spec["ports"]:
                asked = port.get("nodePort") or before.get((port["port"], port["protocol"]))
                port["nodePort"] = self._node_port(store, place, port, asked)

    def _address(self, store: Store, place: tuple[str, str], asked: str | None) -> str:
        if asked == "None":
            return asked
        if asked:
            if ipaddress.ip_address(asked) not in self._services:
                raise ParameterError(
                    f"Service {place[1]}: {asked} is not in the Service range {self._services}"
                )
            self._hold(store, place, asked)
            return asked
        size = self._services.num_addresses - 1 - STATIC_IPS
        start = _number("/".join(place), size)
        for step in range(size):
            address = str(self._services[STATIC_IPS + (start + step) % size])
            if self._free(store, place, address):
                self._hold(store, place, address)
                return address
        raise ParameterError(f"Service {place[1]}: the Service range {self._services} is used up")

    def _node_port(
        self, store: Store, place: tuple[str, str], port: Mapping[str, Any], asked: int | None
    ) -> int:
        if asked:
            if asked not in NODE_PORTS:
                raise ParameterError(f"Service {place[1]}: node port {asked} is not in 30000-32767")
            self._hold(store, place, asked)
            return asked
        dynamic = NODE_PORTS[STATIC_PORTS:]
        start = _number(f"{'/'.join(place)}:{port['port']}/{port['protocol']}", len(dynamic))
        for step in range(len(dynamic)):
            number = dynamic[(start + step) % len(dynamic)]
            if place != self._holders.get(number) and self._free(store, place, number):
                self._hold(store, place, number)
                return number
        raise ParameterError(f"Service {place[1]}: all node ports are used")

    def _hold(self, store: Store, place: tuple[str, str], what: str | int) -> None:
        if not self._free(store, place, what):
            holder = "/".join(self._holders[what])
            raise ParameterError(f"Service {place[1]}: {what} belongs to Service {holder}")
        self._holders[what] = place

    def _free(self, store: Store, place: tuple[str, str], what: str | int) -> bool:
        holder = self._holders.get(what, place)
        return holder == place or store.get("Service", *holder) is None


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % size


def _metadata(wanted: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """Name and namespace, which has to be there. Raises ParameterError."""
    kind, meta = kind_of(wanted), dict(wanted.get("metadata") or {})
    if not meta.get("name"):
        raise ParameterError(f"a {kind.name} without a name")
    if not kind.namespaced:
        meta.pop("namespace", None)
        return meta
    meta.setdefault("namespace", "default")
    around = store.get("Namespace", "", meta["namespace"])
    if around is None:
        raise ParameterError(f'{kind.name} {meta["name"]}: namespaces "{meta["namespace"]}" not found')
    new = store.get(kind.name, meta["namespace"], meta["name"]) is None
    if new and kind.name != "Event" and "deletionTimestamp" in around["metadata"]:
        raise ParameterError(f"{kind.name} {meta['name']}: namespace {meta['namespace']} is being terminated")
    return meta


def _pod(item: Item, there: Item | None) -> None:
    spec = item["spec"] = pod_spec(item["spec"], alone=True)
    item.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})
    if there is None:
        return
    if "nodeName" in there["spec"]:
        spec.setdefault("nodeName", there["spec"]["nodeName"])
    if {**spec, **there["spec"]} != spec or spec.keys() - there["spec"].keys() - {"nodeName"}:
        raise ParameterError(
            f"Pod {item['metadata']['name']}: a pod's spec cannot be changed; delete it first, or use a Deployment"
        )


def _workload(item: Item, there: Item | None) -> None:
    kind, meta = KINDS[item["kind"]], item["metadata"]
    spec = item["spec"] = {"revisionHistoryLimit": 10, **item["spec"]}
    template = spec["template"]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selects(spec.get("selector"), labels):
        raise ParameterError(f"{kind.name} {meta['name']}: its selector does not select its own pods")
    spec["template"] = {**template, "spec": pod_spec(template["spec"])}
    item.setdefault("status", {})
    changed = there is not None and there["spec"]["template"] != spec["template"]
    if kind.name == "ReplicaSet":
        del spec["revisionHistoryLimit"]
        return
    name = "deployment.kubernetes.io/revision"
    if kind.name == "Deployment":
        spec.update({"replicas": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": ROLLING},
                     "progressDeadlineSeconds": 600, **spec})  # fmt: skip
    else:
        name = "deprecated.daemonset.template.generation"
        update = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
        spec.setdefault("updateStrategy", update)
    before = int(there["metadata"]["annotations"][name]) if there else 1
    meta["annotations"] = {**(meta.get("annotations") or {}), name: str(before + changed)}


def _policy(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Ports are TCP and types follow from the rules where nothing is said."""
    made = {"podSelector": {}, **spec}
    for way in ("ingress", "egress"):
        if made.get(way):
            made[way] = [
                {**rule, "ports": [{"protocol": "TCP", **port} for port in rule["ports"]]}
                if rule.get("ports") else dict(rule)
                for rule in made[way]
            ]  # fmt: skip
    made.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    return made
