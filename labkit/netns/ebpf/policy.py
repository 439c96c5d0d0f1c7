"""NetworkPolicies as entries of the maps `isolated`, `policy_peers` and `policy_ports`.

Semantics: Kubernetes API reference, NetworkPolicySpec. What it leaves open is here: a selector never means a
host-network pod; an ipBlock means pods too, by their addresses; a node always reaches its own pods and they
it; a rule without ports allows all traffic, one with ports no ICMP.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import count
from typing import TYPE_CHECKING, Any

from labkit.netns.ebpf import layout
from labkit.netns.selectors import selects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Opening", "Pod", "Policies", "Verdicts", "pods", "prefixes", "verdicts"]

#: Protocol (None: all traffic), port and how many of its 16 bits count.
Opening = tuple[int | None, int, int]
#: By endpoint and direction (`Ingress`, `Egress`) the peers and what is open to them. A longer prefix
#: overrules a shorter one, and a peer in none of them has nothing open.
Verdicts = dict[tuple[str, str], dict[IPv4Network, frozenset[Opening]]]

EVERYTHING: frozenset[Opening] = frozenset({(None, 0, 0)})
EVERYWHERE = IPv4Network("0.0.0.0/0")
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod with an address of its own."""

    namespace: str
    name: str
    uid: str
    ip: str
    node: str
    labels: Mapping[str, str] = field(compare=False)
    ports: Mapping[tuple[str, str], int] = field(compare=False)


def pods(objects: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """Those that are on the pod network and have not ended."""
    return [
        Pod(
            each["metadata"]["namespace"],
            each["metadata"]["name"],
            each["metadata"].get("uid", ""),
            each["status"]["podIP"],
            each["spec"]["nodeName"],
            each["metadata"].get("labels") or {},
            _named_ports(each["spec"]),
        )
        for each in objects
        if each.get("status", {}).get("podIP")
        and not each["spec"].get("hostNetwork")
        and each["status"].get("phase") not in ENDED
    ]


def _named_ports(spec: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    return {
        (port["name"], port.get("protocol", "TCP")): port["containerPort"]
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if "name" in port
    }


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one rule opens to one network."""

    network: IPv4Network
    excepted: tuple[IPv4Network, ...]
    openings: frozenset[Opening]

    def covers(self, prefix: IPv4Network) -> bool:
        """Whether it is about these addresses."""
        return prefix.subnet_of(self.network) and not any(prefix.subnet_of(each) for each in self.excepted)


class Cluster:
    """What selectors select from."""

    def __init__(self, every: Iterable[Pod], namespaces: Iterable[Mapping[str, Any]]) -> None:
        self.pods = list(every)
        self._labels = {each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in namespaces}

    def selected(self, peer: Mapping[str, Any], namespace: str) -> list[Pod]:
        """The pods that a peer of a policy in this namespace means."""
        among = peer.get("namespaceSelector")
        return [
            pod
            for pod in self.pods
            if selects(peer.get("podSelector") or {}, pod.labels)
            and (
                pod.namespace == namespace
                if among is None
                else selects(among, self._labels.get(pod.namespace, {}))
            )
        ]


def verdicts(
    policies: Iterable[Mapping[str, Any]],
    every: Iterable[Pod],
    namespaces: Iterable[Mapping[str, Any]],
    node: str,
    node_ip: str,
) -> Verdicts:
    """What is open to whom, for each pod of a node that some policy isolates."""
    cluster = Cluster(every, namespaces)
    allowances: dict[tuple[str, str], list[Allowance]] = defaultdict(list)
    own = Allowance(IPv4Network(node_ip), (), EVERYTHING)
    for policy in policies:
        for pod in cluster.pods:
            if pod.node == node and _isolates(policy, pod):
                for kind in types(policy["spec"]):
                    allowances[pod.ip, kind] += [own, *_allowances(policy, kind, pod, cluster)]
    return {endpoint: _resolved(found) for endpoint, found in allowances.items()}


def _isolates(policy: Mapping[str, Any], pod: Pod) -> bool:
    in_namespace = policy["metadata"]["namespace"] == pod.namespace
    return in_namespace and selects(policy["spec"].get("podSelector") or {}, pod.labels)


def types(spec: Mapping[str, Any]) -> list[str]:
    """The directions that a policy is about; where it does not say, as the API server defaults them."""
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _allowances(policy: Mapping[str, Any], kind: str, pod: Pod, cluster: Cluster) -> Iterator[Allowance]:
    namespace = policy["metadata"]["namespace"]
    for rule in policy["spec"].get(kind.lower()) or ():
        ports = rule.get("ports") or ()
        numbered = [port for port in ports if not isinstance(port.get("port"), str)]
        everyone = _openings(numbered) if ports else EVERYTHING
        at_pod = everyone | _named(ports, pod)
        for peer in rule.get("from" if kind == "Ingress" else "to") or [None]:
            if peer is None or "ipBlock" in peer:
                network, excepted = _block(peer)
                yield Allowance(network, excepted, at_pod if kind == "Ingress" else everyone)
                chosen = cluster.pods if kind == "Egress" and len(numbered) < len(ports) else []
                chosen = [p for p in chosen if Allowance(network, excepted, everyone).covers(_host(p))]
            else:
                chosen = cluster.selected(peer, namespace)
            for other in chosen:
                opened = at_pod if kind == "Ingress" else everyone | _named(ports, other)
                yield Allowance(_host(other), (), opened)


def _host(pod: Pod) -> IPv4Network:
    return IPv4Network(pod.ip)


def _block(peer: Mapping[str, Any] | None) -> tuple[IPv4Network, tuple[IPv4Network, ...]]:
    if peer is None:
        return EVERYWHERE, ()
    block = peer["ipBlock"]
    return IPv4Network(block["cidr"]), tuple(IPv4Network(each) for each in block.get("except") or ())


def _openings(ports: Iterable[Mapping[str, Any]]) -> frozenset[Opening]:
    return frozenset(
        (layout.PROTOCOLS[port.get("protocol", "TCP")], *prefix)
        for port in ports
        for prefix in (
            prefixes(port["port"], port.get("endPort", port["port"])) if "port" in port else [(0, 0)]
        )
    )


def _named(ports: Iterable[Mapping[str, Any]], pod: Pod) -> frozenset[Opening]:
    """The named ports of a rule as the numbers that they have on a pod."""
    wanted = (
        (port["port"], port.get("protocol", "TCP")) for port in ports if isinstance(port.get("port"), str)
    )
    return frozenset((layout.PROTOCOLS[key[1]], pod.ports[key], 16) for key in wanted if key in pod.ports)


def prefixes(first: int, last: int) -> list[tuple[int, int]]:
    """A range of ports as (port, length of prefix in bits), as few as there can be."""
    found = []
    while first <= last:
        free = 16 if first == 0 else (first & -first).bit_length() - 1
        bits = min(free, (last - first + 1).bit_length() - 1)
        found.append((first, 16 - bits))
        first += 1 << bits
    return found


def _resolved(allowances: list[Allowance]) -> dict[IPv4Network, frozenset[Opening]]:
    """For each prefix that a rule names, or excepts, all that is open there."""
    by_network: dict[tuple[IPv4Network, tuple[IPv4Network, ...]], set[Opening]] = defaultdict(set)
    for each in allowances:
        by_network[each.network, each.excepted] |= each.openings
    merged = [Allowance(network, excepted, frozenset(o)) for (network, excepted), o in by_network.items()]
    wide = [each for each in merged if each.network.prefixlen < 32]
    named = {each.network for each in merged} | {cidr for each in merged for cidr in each.excepted}
    hosts = {each.network: each.openings for each in merged if each.network.prefixlen == 32}
    return {
        prefix: hosts.get(prefix, frozenset()).union(*(a.openings for a in wide if a.covers(prefix)))
        for prefix in named
    }


class Policies:
    """The policies of one node. Equal sets of ports have one number, which is never given to another set."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._sets: dict[frozenset[Opening], int] = {}

    def entries(self, found: Verdicts) -> layout.Entries:
        """What `policy_ports`, `policy_peers` and `isolated` are to hold."""
        used = {openings for peers in found.values() for openings in peers.values()}
        self._sets = {openings: self._sets.get(openings) or next(self._numbers) for openings in used}
        return {
            "policy_ports": {
                layout.opening(number, *opening): layout.ONE
                for openings, number in self._sets.items()
                for opening in openings
            },
            "policy_peers": {
                layout.peer(ip, layout.direction_of(kind), network): layout.number(self._sets[openings])
                for (ip, kind), peers in found.items()
                for network, openings in peers.items()
            },
            "isolated": {layout.isolation(ip, layout.direction_of(kind)): layout.ONE for ip, kind in found},
        }
