"""NetworkPolicies of `networking.k8s.io/v1`: a row a policy, and a row for each thing a rule allows.

Meaning of the fields: Kubernetes API reference v1.36, NetworkPolicySpec. Selectors are written as kubectl
writes them (`app=backend,tier in (a,b),!legacy`), which loses nothing since label keys and values hold no
commas and no parentheses; the empty selector, which selects everything, is written `*`. A field that is
not in the reference is refused: to leave it out would make a rule allow more than it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.kubernetes import items
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

__all__ = ["NAMESPACES", "POLICIES", "RULES", "namespaces", "policies", "rules"]

TOOL = "the API server"

NAMESPACES = Schema("namespaces", "Namespaces with what namespace selectors select.", key=("namespace",), columns=(
    Column("namespace", "str", "name"),
    Column("labels", "str", "labels, key=value, comma-separated"),
))  # fmt: skip

POLICIES = Schema("network_policies", "NetworkPolicies.", key=("namespace", "policy"), columns=(
    Column("namespace", "str", "namespace: of the policy, and of the pods it selects"),
    Column("policy", "str", "name"),
    Column("pod_selector", "str", "the pods it isolates; * is every pod of the namespace"),
    Column("policy_types", "str", "Ingress, Egress or both, comma-separated"),
    Column("ingress_rules", "Int64", "rules that allow traffic to them; NA where it says nothing of ingress"),
    Column("egress_rules", "Int64", "rules that allow traffic from them; NA where it says nothing of egress"),
))  # fmt: skip

RULES = Schema(
    "network_policy_rules",
    "What NetworkPolicies allow: a row for each peer and port of each rule, and one without a rule number "
    "for a direction that a policy isolates and allows nothing in.",
    key=("namespace", "policy", "direction", "rule", "peer", "peer_namespaces", "peer_pods", "cidr", "protocol",
         "port"),
    columns=(
    Column("namespace", "str", "namespace: of the policy, and of the pods it selects"),
    Column("policy", "str", "name"),
    Column("pod_selector", "str", "the pods it isolates; * is every pod of the namespace"),
    Column("direction", "str", "ingress or egress, as those pods see it"),
    Column("rule", "Int64", "number of the rule in its direction, from 0; NA where the direction has none"),
    Column("peer", "str", "whom the rule allows: any, pods or ip-block"),
    Column("peer_namespaces", "str", "selector of the peers' namespaces; NA is the policy's own"),
    Column("peer_pods", "str", "selector of the peers; * is every pod of those namespaces"),
    Column("cidr", "str", "addresses of the peers"),
    Column("except_cidrs", "str", "addresses among them that are no peers, comma-separated"),
    Column("protocol", "str", "TCP, UDP or SCTP; NA where the rule names no ports and so is for all traffic"),
    Column("port", "str", "destination port, a number or a name; NA is every port of the protocol"),
    Column("end_port", "Int64", "last port of a range; NA where it is none"),
))  # fmt: skip

ANY: dict[str, Any] = {
    "peer": "any", "peer_namespaces": None, "peer_pods": None, "cidr": None, "except_cidrs": None,
}  # fmt: skip
EVERY_PORT: dict[str, Any] = {"protocol": None, "port": None, "end_port": None}


def namespaces(data: bytes) -> pd.DataFrame:
    """Namespaces, of `/api/v1/namespaces`: frame NAMESPACES."""
    return _frame(NAMESPACES, (
        {"namespace": item["metadata"]["name"], "labels": _equalities(item["metadata"].get("labels") or {})}
        for item in items(data)
    ))  # fmt: skip


def policies(data: bytes) -> pd.DataFrame:
    """NetworkPolicies, of `/apis/networking.k8s.io/v1/networkpolicies`: frame POLICIES."""
    return _frame(POLICIES, (
        {
            **_head(item),
            "policy_types": ",".join(_types(item["spec"])),
            **{
                f"{kind.lower()}_rules": len(item["spec"].get(kind.lower()) or ())
                if kind in _types(item["spec"])
                else None
                for kind in ("Ingress", "Egress")
            },
        }
        for item in items(data)
    ))  # fmt: skip


def rules(data: bytes) -> pd.DataFrame:
    """What they allow, of the same answer: frame RULES.

    A rule of a direction that is not among the policy's types has no effect, and no row.
    """
    return _frame(RULES, (row for item in items(data) for row in _rules(item)))


def _frame(schema: Schema, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    try:
        return schema.frame(rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise ParseError(TOOL, f"an object of {schema.name} without {error}") from None


def _head(item: dict[str, Any]) -> dict[str, Any]:
    _known(item["spec"], "podSelector", "policyTypes", "ingress", "egress")
    return {
        "namespace": item["metadata"]["namespace"],
        "policy": item["metadata"]["name"],
        "pod_selector": selector(item["spec"]["podSelector"]),
    }


def _types(spec: dict[str, Any]) -> list[str]:
    """The directions that the policy is about; where it does not say, as the API server defaults them."""
    if "policyTypes" in spec:
        _among(spec["policyTypes"], "Ingress", "Egress")
        return [kind for kind in ("Ingress", "Egress") if kind in spec["policyTypes"]]
    return ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _rules(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in _types(item["spec"]):
        head = {**_head(item), "direction": kind.lower()}
        found = item["spec"].get(kind.lower()) or []
        if not found:
            yield {**head, "rule": None, **dict.fromkeys(ANY), **EVERY_PORT}
        for number, rule in enumerate(found):
            whom = "from" if kind == "Ingress" else "to"
            _known(rule, whom, "ports")
            for peer in [_peer(p) for p in rule.get(whom) or []] or [ANY]:
                for port in [_port(p) for p in rule.get("ports") or []] or [EVERY_PORT]:
                    yield {**head, "rule": number, **peer, **port}


def _peer(peer: dict[str, Any]) -> dict[str, Any]:
    _known(peer, "podSelector", "namespaceSelector", "ipBlock")
    if set(peer) == {"ipBlock"}:
        _known(peer["ipBlock"], "cidr", "except")
        excepted = ",".join(peer["ipBlock"].get("except") or ()) or None
        return {**ANY, "peer": "ip-block", "cidr": peer["ipBlock"]["cidr"], "except_cidrs": excepted}
    if not peer or "ipBlock" in peer:
        raise ParseError(TOOL, "a peer of a NetworkPolicy that the API does not allow", excerpt=str(peer))
    return {
        **ANY,
        "peer": "pods",
        "peer_namespaces": selector(peer["namespaceSelector"]) if "namespaceSelector" in peer else None,
        "peer_pods": selector(peer.get("podSelector", {})),
    }


def _port(port: dict[str, Any]) -> dict[str, Any]:
    _known(port, "protocol", "port", "endPort")
    return {
        "protocol": port.get("protocol", "TCP"),
        "port": str(port["port"]) if "port" in port else None,
        "end_port": port.get("endPort"),
    }


def selector(value: dict[str, Any]) -> str:
    """A LabelSelector in kubectl's notation; `*` for the empty one."""
    _known(value, "matchLabels", "matchExpressions")
    written = [f"{key}={label}" for key, label in sorted((value.get("matchLabels") or {}).items())]
    written += [_expression(each) for each in value.get("matchExpressions") or []]
    return ",".join(written) or "*"


def _expression(each: dict[str, Any]) -> str:
    _known(each, "key", "operator", "values")
    key, values = each["key"], ",".join(each.get("values") or ())
    _among([each["operator"]], "In", "NotIn", "Exists", "DoesNotExist")
    written = {
        "In": f"{key} in ({values})",
        "NotIn": f"{key} notin ({values})",
        "Exists": f"{key}",
        "DoesNotExist": f"!{key}",
    }
    return written[each["operator"]]


def _equalities(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _known(value: dict[str, Any], *names: str) -> None:
    if unknown := sorted(value.keys() - set(names)):
        raise ParseError(TOOL, f"a NetworkPolicy with an unknown field {unknown[0]}", excerpt=str(value))


def _among(values: list[str], *known: str) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise ParseError(TOOL, f"a NetworkPolicy with an unknown value {unknown[0]}", excerpt=str(values))
