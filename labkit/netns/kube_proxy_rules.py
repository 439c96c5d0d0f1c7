"""The rules that kube-proxy of Kubernetes 1.36 writes in iptables mode, of Services and EndpointSlices.

Chains, comments, order and hashes after `pkg/proxy/iptables/proxier.go`; each rule is written as
`iptables-save` prints it, so that what is loaded and what is wanted are the same text. Left out: external
addresses and load balancers, which a lab has none of, and the counters of nfacct, which kube-proxy too leaves
out where a kernel has none.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "BASE", "JUMPS", "LARGE_CLUSTER", "PortRules", "ServicePort", "Tables",
    "chain_name", "of_port", "service_ports", "tables",
]  # fmt: skip

#: Table, chain, and its rules without `-A chain`.
Tables = dict[str, dict[str, tuple[str, ...]]]

#: With more endpoints than this, kube-proxy leaves the comments of balancing and translating rules out.
LARGE_CLUSTER = 1000
AFFINITY_S = 10800
NEW = "-m conntrack --ctstate NEW "
PORTALS = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
EXTERNAL = '-m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES'
BALANCER = '-m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'
HEALTH = '-m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS'
FORWARDING = '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'
POSTROUTING = '-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'
LOCALNET = '-m comment --comment "block incoming localnet connections"'
KNOWN = '-m comment --comment "kubernetes forwarding conntrack rule"'
FIREWALL = "-j KUBE-FIREWALL"
REJECT = "REJECT --reject-with icmp-port-unreachable"

#: What the kernel's own chains jump to, in this order and before the rules of others.
JUMPS: Tables = {
    "filter": {
        "INPUT": (NEW + BALANCER, HEALTH, NEW + EXTERNAL, FIREWALL),
        "FORWARD": (NEW + BALANCER, FORWARDING, NEW + PORTALS, NEW + EXTERNAL),
        "OUTPUT": (NEW + BALANCER, NEW + PORTALS, FIREWALL),
    },
    "nat": {"PREROUTING": (PORTALS,), "OUTPUT": (PORTALS,), "POSTROUTING": (POSTROUTING,)},
}
#: Chains that do not depend on any Service. The canaries tell kube-proxy that someone flushed a table.
BASE: Tables = {
    "mangle": {"KUBE-PROXY-CANARY": ()},
    "filter": {
        "KUBE-FIREWALL": (
            f"! -s 127.0.0.0/8 -d 127.0.0.0/8 {LOCALNET} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
        ),
        "KUBE-FORWARD": (
            "-m conntrack --ctstate INVALID -j DROP",
            '-m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
            f"{KNOWN} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ),
        "KUBE-NODEPORTS": (),
        "KUBE-PROXY-CANARY": (),
        "KUBE-PROXY-FIREWALL": (),
    },
    "nat": {
        "KUBE-MARK-MASQ": ("-j MARK --set-xmark 0x4000/0x4000",),
        "KUBE-POSTROUTING": (
            "-m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-j MARK --set-xmark 0x4000/0x0",
            '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
        ),
        "KUBE-PROXY-CANARY": (),
    },
}
LAST = (
    '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" '
    "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service, with its endpoints: `address:port` and node. `affinity_s` where clients are kept."""

    name: str
    protocol: str
    cluster_ip: str
    port: int
    node_port: int | None
    affinity_s: int | None
    internal_local: bool
    external_local: bool
    endpoints: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class PortRules:
    """What one port puts into the shared chains, by table and chain, and chains of its own (in `nat`)."""

    shared: tuple[tuple[str, str, str], ...]
    chains: Mapping[str, tuple[str, ...]]


def chain_name(prefix: str, port: ServicePort, endpoint: str = "") -> str:
    """`KUBE-SVC-` and the like with kube-proxy's hash of the port's name, protocol and endpoint."""
    digest = hashlib.sha256(f"{port.name}{port.protocol}{endpoint}".encode()).digest()
    return prefix + base64.b32encode(digest[:10]).decode()


def service_ports(service: Mapping[str, Any], slices: Iterable[Mapping[str, Any]]) -> Iterator[ServicePort]:
    """The ports of a Service with the endpoints of its EndpointSlices; none for a headless Service."""
    spec, meta = service["spec"], service["metadata"]
    if spec.get("clusterIP") in (None, "", "None"):
        return
    found = list(slices)
    affinity = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds", AFFINITY_S)
    for port in spec.get("ports") or ():
        name = port.get("name") or ""
        yield ServicePort(
            name=f"{meta['namespace']}/{meta['name']}" + (f":{name}" if name else ""),
            protocol=port.get("protocol", "TCP").lower(),
            cluster_ip=spec["clusterIP"],
            port=port["port"],
            node_port=port.get("nodePort"),
            affinity_s=affinity if spec.get("sessionAffinity") == "ClientIP" else None,
            internal_local=spec.get("internalTrafficPolicy") == "Local",
            external_local=spec.get("externalTrafficPolicy") == "Local",
            endpoints=_endpoints(found, name, port.get("protocol", "TCP")),
        )


def _endpoints(
    slices: Sequence[Mapping[str, Any]], name: str, protocol: str
) -> tuple[tuple[str, str | None], ...]:
    """Ready ones; where there is none, those that still serve while they end."""
    ready, ending = {}, {}
    for piece in slices:
        for port in piece.get("ports") or ():
            if (port.get("name") or "", port.get("protocol", "TCP")) != (name, protocol):
                continue
            for endpoint in piece.get("endpoints") or ():
                conditions = endpoint.get("conditions", {})
                at = f"{endpoint['addresses'][0]}:{port['port']}", endpoint.get("nodeName")
                if conditions.get("ready", True):
                    ready[at[0]] = at
                elif conditions.get("serving") and conditions.get("terminating"):
                    ending[at[0]] = at
    return tuple(at for _, at in sorted((ready or ending).items()))


def of_port(port: ServicePort, node: str, pod_cidr: str, *, comments: bool = True) -> PortRules:
    """The rules of one Service port on one node. `comments` says whether balancing rules carry theirs."""
    everywhere = [at for at, _ in port.endpoints]
    here = [at for at, where in port.endpoints if where == node]
    cluster, local = chain_name("KUBE-SVC-", port), chain_name("KUBE-SVL-", port)
    external = chain_name("KUBE-EXT-", port)
    inside, outside = (
        (here if port.internal_local else everywhere),
        (here if port.external_local else everywhere),
    )
    shared = [_portal(port, local if port.internal_local else cluster, inside, everywhere)]
    chains: dict[str, list[str]] = {}
    if everywhere and (not port.internal_local or port.node_port):
        chains[cluster] = []
    if here and (port.internal_local or (port.external_local and port.node_port)):
        chains[local] = []
    if port.node_port:
        shared += _node_port(port, external, outside, everywhere)
        if everywhere:
            chains[external] = list(_external(port, pod_cidr, cluster, local if here else None))
    if inside:
        chains[local if port.internal_local else cluster].append(
            f"! -s {pod_cidr} -d {port.cluster_ip}/32 -p {port.protocol} "
            f'-m comment --comment "{port.name} cluster IP" -m {port.protocol} --dport {port.port} '
            "-j KUBE-MARK-MASQ"
        )
    used = everywhere if cluster in chains else here if local in chains else []
    names = {endpoint: chain_name("KUBE-SEP-", port, endpoint) for endpoint in used}
    for chain, balanced in ((cluster, everywhere), (local, here)):
        if chain in chains:
            chains[chain] += _balance(port, [(e, names[e]) for e in balanced], comments=comments)
    for endpoint, chain in names.items():
        chains[chain] = list(_translate(port, endpoint, chain, comments=comments))
    return PortRules(tuple(shared), {chain: tuple(rules) for chain, rules in chains.items()})


def _portal(
    port: ServicePort, chain: str, reached: Sequence[str], everywhere: Sequence[str]
) -> tuple[str, str, str]:
    """The rule at the Service's address: to its chain, or the refusal where nothing is behind it."""
    match, dport = f"-d {port.cluster_ip}/32 -p {port.protocol}", f"-m {port.protocol} --dport {port.port}"
    if reached:
        return (
            "nat",
            "KUBE-SERVICES",
            f'{match} -m comment --comment "{port.name} cluster IP" {dport} -j {chain}',
        )
    word, target = _refusal(everywhere)
    return "filter", "KUBE-SERVICES", f'{match} -m comment --comment "{port.name} {word}" {dport} -j {target}'


def _refusal(everywhere: Sequence[str]) -> tuple[str, str]:
    return ("has no local endpoints", "DROP") if everywhere else ("has no endpoints", REJECT)


def _node_port(
    port: ServicePort, chain: str, reached: Sequence[str], everywhere: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    dport = f"-m {port.protocol} --dport {port.node_port}"
    if everywhere:
        comment = f'-m comment --comment "{port.name}"'
        yield "nat", "KUBE-NODEPORTS", f"-p {port.protocol} {comment} {dport} -j {chain}"
    if not reached:
        word, target = _refusal(everywhere)
        match = f'-p {port.protocol} -m comment --comment "{port.name} {word}" -m addrtype --dst-type LOCAL'
        yield "filter", "KUBE-EXTERNAL-SERVICES", f"{match} {dport} -j {target}"


def _external(port: ServicePort, pod_cidr: str, cluster: str, local: str | None) -> Iterator[str]:
    """What comes from outside: masqueraded, unless it stays on the node (externalTrafficPolicy Local)."""
    of = f"{port.name} external destinations"
    if not port.external_local:
        yield f'-m comment --comment "masquerade traffic for {of}" -j KUBE-MARK-MASQ'
        yield f"-j {cluster}"
        return
    here = "-m addrtype --src-type LOCAL"
    yield f'-s {pod_cidr} -m comment --comment "pod traffic for {of}" -j {cluster}'
    yield f'-m comment --comment "masquerade LOCAL traffic for {of}" {here} -j KUBE-MARK-MASQ'
    yield f'-m comment --comment "route LOCAL traffic for {of}" {here} -j {cluster}'
    if local:
        yield f"-j {local}"


def _balance(port: ServicePort, endpoints: Sequence[tuple[str, str]], *, comments: bool) -> Iterator[str]:
    """To the endpoint that a client had, then to one of n with chance 1/n, 1/(n-1), … 1."""
    said = [f'-m comment --comment "{port.name} -> {at}" ' if comments else "" for at, _ in endpoints]
    if port.affinity_s is not None:
        for comment, (_, chain) in zip(said, endpoints, strict=True):
            yield (
                f"{comment}-m recent --rcheck --seconds {port.affinity_s} --reap --name {chain} "
                f"--mask 255.255.255.255 --rsource -j {chain}"
            )
    for left, comment, (_, chain) in zip(range(len(endpoints), 0, -1), said, endpoints, strict=True):
        chance = f"-m statistic --mode random --probability {_probability(left)} " if left > 1 else ""
        yield f"{comment}{chance}-j {chain}"


def _probability(left: int) -> str:
    """1/left as kube-proxy writes it (10 digits), the kernel keeps it (31 bits) and iptables-save prints it."""
    return f"{round(round(1 / left, 10) * 2**31) / 2**31:.11f}"


def _translate(port: ServicePort, endpoint: str, chain: str, *, comments: bool) -> Iterator[str]:
    """A pod that reaches itself is masqueraded; the destination becomes the endpoint."""
    comment = f'-m comment --comment "{port.name}" ' if comments else ""
    keep = f"-m recent --set --name {chain} --mask 255.255.255.255 --rsource "
    yield f"-s {endpoint.rpartition(':')[0]}/32 {comment}-j KUBE-MARK-MASQ"
    yield (
        f"-p {port.protocol} {comment}{keep if port.affinity_s is not None else ''}-m {port.protocol} "
        f"-j DNAT --to-destination {endpoint}"
    )


def tables(ports: Iterable[PortRules]) -> Tables:
    """All chains of a node. The order in KUBE-SERVICES is kube-proxy's own to choose: here that of the hashes."""
    shared: dict[tuple[str, str], list[str]] = {
        ("filter", "KUBE-SERVICES"): [], ("filter", "KUBE-EXTERNAL-SERVICES"): [],
        ("nat", "KUBE-SERVICES"): [], ("nat", "KUBE-NODEPORTS"): [],
    }  # fmt: skip
    result = {table: dict(chains) for table, chains in BASE.items()}
    for port in ports:
        for table, chain, rule in port.shared:
            shared[table, chain].append(rule)
        result["nat"].update(port.chains)
    for (table, chain), rules in shared.items():
        rules.sort(key=lambda rule: rule.rpartition("-j ")[2])
        result[table][chain] = tuple(rules)
    result["nat"]["KUBE-SERVICES"] += (LAST,)
    return result
