"""Which node a pod goes to. The same pods in the same order get the same nodes.

After kube-scheduler: what a pod requires leaves nodes out, what it prefers is weighed; then the node with the
fewest pods of the same owner, the fewest pods at all, and the first in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.netns.selectors import selects, term_matches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Item = Mapping[str, Any]

__all__ = ["fits", "place"]

REQUIRED, PREFERRED = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"  # fmt: skip


def place(pod: Item, nodes: Sequence[Item], pods: Sequence[Item]) -> str | None:
    """The name of the node; None where none will do. `pods` are all others that are there."""
    bound = [other for other in pods if "nodeName" in other["spec"]]
    able = [node for node in nodes if fits(pod, node) and not _kept_away(pod, node, nodes, bound)]
    if not able:
        return None
    return str(min(able, key=lambda node: _weight(pod, node, nodes, bound))["metadata"]["name"])


def fits(pod: Item, node: Item) -> bool:
    """Whether the node is one that the pod may run on by itself: nodeSelector and required node affinity."""
    labels, spec = node["metadata"].get("labels") or {}, pod["spec"]
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    terms = _affinity(pod, "nodeAffinity").get(REQUIRED, {}).get("nodeSelectorTerms")
    fields = {"metadata.name": node["metadata"]["name"]}
    return terms is None or any(
        all(term_matches(e, labels) for e in term.get("matchExpressions") or ())
        and all(term_matches(e, fields) for e in term.get("matchFields") or ())
        for term in terms
    )


def _affinity(pod: Item, kind: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return found


def _kept_away(pod: Item, node: Item, nodes: Sequence[Item], bound: Sequence[Item]) -> bool:
    """Whether required anti-affinity, affinity, or a spread constraint that must hold leaves the node out."""
    apart = _affinity(pod, "podAntiAffinity").get(REQUIRED) or ()
    beside = _affinity(pod, "podAffinity").get(REQUIRED) or ()
    return (
        any(_count(pod, term, node, nodes, bound) for term in apart)
        or any(not _count(pod, term, node, nodes, bound) for term in beside)
        or any(
            _skew(pod, c, node, nodes, bound) > c["maxSkew"]
            for c in pod["spec"].get("topologySpreadConstraints") or ()
            if c["whenUnsatisfiable"] == "DoNotSchedule"
        )
    )


def _weight(pod: Item, node: Item, nodes: Sequence[Item], bound: Sequence[Item]) -> tuple[int, ...]:
    """What speaks against a node, the heaviest first."""
    constraints = pod["spec"].get("topologySpreadConstraints") or ()
    apart = _affinity(pod, "podAntiAffinity").get(PREFERRED) or ()
    beside = _affinity(pod, "podAffinity").get(PREFERRED) or ()
    preferred = sum(t["weight"] * _count(pod, t["podAffinityTerm"], node, nodes, bound) for t in apart) - sum(
        t["weight"] * _count(pod, t["podAffinityTerm"], node, nodes, bound) for t in beside
    )
    owner = _owner(pod)
    here = [other for other in bound if other["spec"]["nodeName"] == node["metadata"]["name"]]
    return (
        preferred,
        max((_skew(pod, c, node, nodes, bound) for c in constraints), default=0),
        sum(owner is not None and _owner(other) == owner for other in here),
        len(here),
    )


def _owner(pod: Item) -> str | None:
    owners = pod["metadata"].get("ownerReferences") or ()
    return owners[0]["uid"] if owners else None


def _count(pod: Item, term: Item, node: Item, nodes: Sequence[Item], bound: Sequence[Item]) -> int:
    """How many pods that a term selects are in this node's domain of its topology key."""
    domain = {n["metadata"]["name"] for n in nodes if _value(n, term) == _value(node, term)}
    namespaces = term.get("namespaces") or [pod["metadata"]["namespace"]]
    return sum(
        other["spec"]["nodeName"] in domain
        and other["metadata"]["namespace"] in namespaces
        and selects(term.get("labelSelector"), other["metadata"].get("labels") or {})
        for other in bound
    )


def _skew(pod: Item, constraint: Item, node: Item, nodes: Sequence[Item], bound: Sequence[Item]) -> int:
    """How uneven the domains would be with the pod on this node: its domain's count less the smallest."""
    counts = {_value(n, constraint): _count(pod, constraint, n, nodes, bound) for n in nodes if fits(pod, n)}
    return counts[_value(node, constraint)] + 1 - min(counts.values())


def _value(node: Item, term: Item) -> str | None:
    value: str | None = (node["metadata"].get("labels") or {}).get(term["topologyKey"])
    return value
