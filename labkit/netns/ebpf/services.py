"""Services and EndpointSlices as entries of the maps `services` and `backends`."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from labkit.netns.ebpf import layout
from labkit.netns.kube_proxy_rules import service_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labkit.netns.kube_proxy_rules import ServicePort
    from labkit.netns.topology import Node

__all__ = ["Services", "arranged", "ports_of"]

OWNER = "kubernetes.io/service-name"


def ports_of(
    services: Iterable[Mapping[str, Any]], slices: Iterable[Mapping[str, Any]]
) -> Iterator[ServicePort]:
    """Each port of each Service with its endpoints, as the iptables topologies read them too."""
    by_owner: dict[tuple[str, str | None], list[Mapping[str, Any]]] = defaultdict(list)
    for each in slices:
        meta = each["metadata"]
        by_owner[meta["namespace"], meta.get("labels", {}).get(OWNER)].append(each)
    for service in services:
        meta = service["metadata"]
        yield from service_ports(service, by_owner[meta["namespace"], meta["name"]])


def arranged(before: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Backends by slot: those that stay keep their slot where it is still there, so that their clients do."""
    new = sorted(set(wanted))
    kept = set(new)
    slots: list[str | None] = [each if each in kept else None for each in before[: len(new)]]
    slots += [None] * (len(new) - len(slots))
    homeless = iter([each for each in new if each not in set(slots)])
    return [each or next(homeless) for each in slots]


class Services:
    """The Services of one node. A port keeps its number for good, and a number is never given again."""

    def __init__(self, node: str, nodes: Sequence[Node] = ()) -> None:
        """`nodes` are all nodes, whose addresses lead to node ports."""
        self._node, self._nodes = node, nodes
        self._numbers = count(1)
        self._known: dict[bytes, tuple[int, list[str]]] = {}

    def entries(self, ports: Iterable[ServicePort]) -> layout.Entries:
        """What `services` and `backends` are to hold."""
        services: dict[bytes, bytes] = {}
        backends: dict[bytes, bytes] = {}
        known: dict[bytes, tuple[int, list[str]]] = {}
        for port, key, reached in chain.from_iterable(map(self._frontends, ports)):
            number, before = self._known.get(key) or (next(self._numbers), [])
            slots = before if sorted(before) == reached else arranged(before, reached)
            known[key] = number, slots
            services[key] = layout.service(number, len(slots), port.affinity_s or 0)
            for at, endpoint in enumerate(slots):
                ip, _, backend_port = endpoint.rpartition(":")
                backends[layout.slot(number, at)] = layout.backend(ip, int(backend_port))
        self._known = known
        return {"backends": backends, "services": services}

    def _frontends(self, port: ServicePort) -> Iterator[tuple[ServicePort, bytes, list[str]]]:
        """The Service's own address and port, and a port of each node, with the backends that each leads to."""
        protocol = layout.PROTOCOLS[port.protocol.upper()]
        mine = [at for at, node in port.endpoints if not port.internal_local or node == self._node]
        yield port, layout.frontend(port.cluster_ip, port.port, protocol), mine
        if port.node_port:
            for each in self._nodes:
                there = [at for at, node in port.endpoints if not port.external_local or node == each.name]
                yield port, layout.frontend(each.ip, port.node_port, protocol), there
