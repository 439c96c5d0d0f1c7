"""What NetworkPolicies of `networking.k8s.io/v1` say of a flow, before anyone has tried it.

The semantics are those of the API reference (NetworkPolicySpec) and of
https://kubernetes.io/docs/concepts/services-networking/network-policies/: a pod is isolated in a direction
once a policy of its namespace selects it and names that direction; then only what some rule allows passes;
policies add up; a flow needs the egress of its source and the ingress of its destination. Replies follow.

Where the API leaves the answer open, the model says None and why, instead of guessing:

* named ports, since they resolve to another number on each pod;
* an ipBlock that covers a pod's address, since engines differ (Cilium never matches pods by address);
* host-network pods and link-local addresses such as the node-local DNS cache, since a policy may see the
  node there.

ICMP is neither TCP, UDP nor SCTP, and the API leaves it open as well. The model takes it as Cilium does:
isolation covers it, a rule without ports allows it, a rule with ports does not; `by_the_api` is then False.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["Decision", "Flow", "Peer", "decide", "labels_of", "records", "selects"]

#: The protocols that the API speaks of.
PROTOCOLS = ("TCP", "UDP", "SCTP")

Rule = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """One end of a flow. Without a namespace it is no pod: somebody outside the cluster, or a node."""

    ip: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False

    @property
    def vague(self) -> str:
        """Why policies may see a node here; empty where they do not."""
        if self.host_network:
            return "a host-network pod is seen as its node"
        return "a link-local address is the node's" if ip_address(self.ip).is_link_local else ""


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection from its first packet on: who asks whom for what. ICMP has no port."""

    source: Peer
    destination: Peer
    protocol: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the flow may pass, by which policies, and why; None where the model cannot say."""

    allowed: bool | None
    by: tuple[str, ...] = ()
    because: str = ""
    blocked_at: tuple[str, ...] = ()
    by_the_api: bool = True


def decide(rules: Iterable[Rule], flow: Flow) -> Decision:
    """What policies say of a flow. `rules` are rows of frame RULES in force (see `records`)."""
    if flow.source.ip == flow.destination.ip:
        return Decision(True, because="a pod always reaches itself")
    rules = list(rules)
    egress = _direction(rules, "egress", flow.source, flow.destination, flow)
    ingress = _direction(rules, "ingress", flow.destination, flow.source, flow)
    return _both(egress, ingress)


def _both(egress: Decision, ingress: Decision) -> Decision:
    """One is enough to block, and then it does not matter that the other cannot be told."""
    each = (egress, ingress)
    defined = all(d.by_the_api for d in each)
    for answer in (False, None):
        found = [d for d in each if d.allowed is answer]
        if found:
            return Decision(
                answer, _names(found), "; ".join(d.because for d in found), _places(found), defined
            )
    because = "; ".join(dict.fromkeys(d.because for d in each if d.by)) or "no policy isolates either end"
    return Decision(True, _names(each), because, by_the_api=defined)


def _names(decisions: Iterable[Decision]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for d in decisions for name in d.by))


def _places(decisions: Iterable[Decision]) -> tuple[str, ...]:
    return tuple(place for d in decisions for place in d.blocked_at)


def _direction(rules: list[Rule], direction: str, subject: Peer, peer: Peer, flow: Flow) -> Decision:
    isolating = [r for r in rules if r["direction"] == direction and _isolates(r, subject)]
    if not isolating:
        return Decision(True)
    defined = flow.protocol in PROTOCOLS
    if subject.host_network:
        return Decision(None, because=f"{direction}: {subject.vague}", by_the_api=defined)
    matches = [(rule, *_matches(rule, peer, flow)) for rule in isolating if rule["rule"] is not None]
    allowing = _policies(rule for rule, answer, _ in matches if answer)
    if allowing:
        return Decision(True, allowing, f"{', '.join(allowing)} allows {direction}", by_the_api=defined)
    vague = [(rule, why) for rule, answer, why in matches if answer is None]
    if vague:
        because = f"{direction}: {vague[0][1]}"
        return Decision(None, _policies(rule for rule, _ in vague), because, by_the_api=defined)
    names = _policies(isolating)
    return Decision(False, names, f"no rule of {', '.join(names)} allows {direction}", (direction,), defined)


def _isolates(rule: Rule, subject: Peer) -> bool:
    return bool(subject.namespace == rule["namespace"] and selects(rule["pod_selector"], subject.labels))


def _policies(rules: Iterable[Rule]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{rule['namespace']}/{rule['policy']}" for rule in rules))


def _matches(rule: Rule, peer: Peer, flow: Flow) -> tuple[bool | None, str]:
    """Whether a rule allows it: True, False, or None and why not."""
    answers = (_matches_peer(rule, peer), _matches_port(rule, flow))
    for answer in (False, None):
        found = [why for got, why in answers if got is answer]
        if found:
            return answer, found[0]
    return True, ""


def _matches_peer(rule: Rule, peer: Peer) -> tuple[bool | None, str]:
    if rule["peer"] == "any":
        return True, ""
    if peer.vague:
        return None, peer.vague
    if rule["peer"] == "ip-block":
        covered = _covers(rule, peer.ip)
        return (None, "an ipBlock covers a pod") if covered and peer.namespace else (covered, "")
    if not peer.namespace:
        return False, ""
    selector = rule["peer_namespaces"]
    here = (
        peer.namespace == rule["namespace"] if selector is None else selects(selector, peer.namespace_labels)
    )
    return here and selects(rule["peer_pods"], peer.labels), ""


def _covers(rule: Rule, ip: str) -> bool:
    excepted = (rule["except_cidrs"] or "").split(",")
    return ip_address(ip) in ip_network(rule["cidr"]) and not any(
        ip_address(ip) in ip_network(cidr) for cidr in excepted if cidr
    )


def _matches_port(rule: Rule, flow: Flow) -> tuple[bool | None, str]:
    if rule["protocol"] is None:
        return True, ""
    if rule["protocol"] != flow.protocol or flow.port is None:
        return False, ""
    if rule["port"] is None:
        return True, ""
    if not rule["port"].isdigit():
        return None, f"the named port {rule['port']} is not modelled"
    return int(rule["port"]) <= flow.port <= int(rule["end_port"] or rule["port"]), ""


_TERM = re.compile(
    r"(?P<absent>!)?(?P<key>[^\s,=!()]+)(?:=(?P<value>[^,()]*)| (?P<set>in|notin) \((?P<values>[^)]*)\))?(?:,|$)"
)


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a selector in kubectl's notation selects these labels; `*` selects everything.

    `notin` is also true where the key is missing (labels.Requirement.Matches of apimachinery).
    """
    return all(_holds(term, labels) for term in _terms(selector))


@cache
def _terms(selector: str) -> tuple[re.Match[str], ...]:
    if selector == "*":
        return ()
    terms = tuple(_TERM.finditer(selector))
    if "".join(term[0] for term in terms) != selector:
        raise ValueError(f"no label selector: {selector!r}")
    return terms


def _holds(term: re.Match[str], labels: Mapping[str, str]) -> bool:
    here = labels.get(term["key"])
    if term["value"] is not None:
        return here == term["value"]
    if term["set"]:
        return (here in term["values"].split(",")) == (term["set"] == "in")
    return (here is None) == bool(term["absent"])


def labels_of(written: str) -> dict[str, str]:
    """Labels of `key=value,key=value`, as the frames of pods and namespaces hold them."""
    return dict(label.split("=", 1) for label in written.split(",") if label)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dictionaries, with None for what is missing."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
