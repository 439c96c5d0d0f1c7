"""Services by iptables: what kube-proxy's rules need done on every node as Services and endpoints change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from labkit.netns import kube_proxy_rules as rules
from labkit.netns.iptables_restore import changes, first, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labkit.netns.kube_proxy_rules import PortRules, ServicePort, Tables
    from labkit.netns.machines import Machines
    from labkit.netns.topology import Node

__all__ = ["KubeProxy", "stale_connections"]


class KubeProxy:
    """A Dataplane. NetworkPolicies are not its business: nobody enforces them here.

    Each sync writes the chains that differ and leaves all others, so their counters go on. Whoever calls it
    gathers changes for a moment first; kube-proxy does so for 1 s (`minSyncPeriod`).
    """

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._loaded: dict[str, Tables] = {}
        self._ports: dict[tuple[str, str], ServicePort] = {}
        self._rules: dict[tuple[ServicePort, str], PortRules] = {}

    def sync(self, objects: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Program every node. Raises ProvisionError where iptables refuses."""
        before, self._ports = self._ports, _ports(objects["Service"], objects["EndpointSlice"])
        nodes = self._machines.topology.nodes
        wanted = self._generated(nodes)
        stale = stale_connections(before, self._ports)
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: self._program(node, wanted[node.name], stale), nodes))

    def _generated(self, nodes: Sequence[Node]) -> dict[str, Tables]:
        """The chains of every node. Those of an unchanged port stay as they were written, with or without comments."""
        comments = sum(len(port.endpoints) for port in self._ports.values()) <= rules.LARGE_CLUSTER
        kept, self._rules = self._rules, {}
        made = {}
        for node in nodes:
            mine = []
            for port in self._ports.values():
                # what is the same on every node is generated once
                key = port, node.name if port.internal_local or port.external_local else ""
                if key not in self._rules:
                    self._rules[key] = kept.get(key) or rules.of_port(
                        port, node.name, self._machines.topology.pod_cidr, comments=comments
                    )
                mine.append(self._rules[key])
            made[node.name] = rules.tables(mine)
        return made

    def _program(self, node: Node, wanted: Tables, stale: Sequence[Sequence[str]]) -> None:
        for piece in changes(self._loaded.get(node.name, {}), wanted):
            load(self._machines, node.name, piece)
        if node.name not in self._loaded:
            load(self._machines, node.name, first(rules.JUMPS))
        self._loaded[node.name] = wanted
        for argv in stale:  # it exits with 1 where there was none to delete
            self._machines.run(f"node/{node.name}", argv)


def stale_connections(
    before: Mapping[tuple[str, str], ServicePort], after: Mapping[tuple[str, str], ServicePort]
) -> list[tuple[str, ...]]:
    """`conntrack` commands that forget UDP flows to endpoints that have gone, as kube-proxy does.

    TCP finds out by itself; a UDP flow would go on to nobody for as long as it is sent.
    """
    commands: list[tuple[str, ...]] = []
    for key, port in before.items():
        if port.protocol != "udp" or after.get(key) == port:
            continue
        kept = {at for at, _ in after[key].endpoints} if key in after else set()
        for gone in sorted({at for at, _ in port.endpoints} - kept):
            match = ("--orig-dst", port.cluster_ip, "--orig-port-dst", str(port.port))
            commands.append(("conntrack", "-D", "-p", "udp", *match, "--reply-src", gone.rpartition(":")[0]))
    return commands


def _ports(
    services: Iterable[Mapping[str, Any]], slices: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, str], ServicePort]:
    """The Service ports by name and protocol."""
    pieces: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for piece in slices:
        meta = piece["metadata"]
        owner = meta["namespace"], meta["labels"].get("kubernetes.io/service-name", "")
        pieces.setdefault(owner, []).append(piece)
    return {(port.name, port.protocol): port for port in _all(services, pieces)}


def _all(
    services: Iterable[Mapping[str, Any]], pieces: Mapping[tuple[str, str], list[Mapping[str, Any]]]
) -> Iterator[ServicePort]:
    for service in services:
        meta = service["metadata"]
        yield from rules.service_ports(service, pieces.get((meta["namespace"], meta["name"]), ()))
