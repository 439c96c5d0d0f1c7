"""What a Deployment, ReplicaSet and DaemonSet ask for: the objects that they own, and their status."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from labkit.netns.store import now

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from labkit.netns.store import Item

__all__ = [
    "daemon_set_status", "deployment_status", "free_name", "is_ready", "letters", "owner_of", "pod", "replica_set",
    "replica_set_status", "template_hash",
]  # fmt: skip

#: The letters of generated names: no vowels and nothing that looks like another (k8s.io/apimachinery, rand.go).
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def letters(text: str, length: int) -> str:
    """Letters drawn from a text: the same each time."""
    digest = hashlib.sha256(text.encode()).digest()
    return "".join(LETTERS[byte % len(LETTERS)] for byte in digest[:length])


def template_hash(template: Mapping[str, Any]) -> str:
    """Which template pods were made of: ten letters."""
    return letters(json.dumps(template, sort_keys=True), 10)


def free_name(prefix: str, used: Collection[str]) -> str:
    """`prefix` and five letters that are not used."""
    number = 0
    while (name := prefix + letters(f"{prefix}{number}", 5)) in used:
        number += 1
    return name


def owner_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The reference that an object's own objects carry."""
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "name": item["metadata"]["name"],
        "uid": item["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def replica_set(deployment: Item) -> Item:
    """The ReplicaSet of a Deployment's template as it is now."""
    spec, meta = deployment["spec"], deployment["metadata"]
    code = template_hash(spec["template"])
    template = spec["template"]
    labels = {**template["metadata"]["labels"], "pod-template-hash": code}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{code}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": {
                "deployment.kubernetes.io/desired-replicas": str(spec["replicas"]),
                "deployment.kubernetes.io/revision": meta["annotations"]["deployment.kubernetes.io/revision"],
            },
            "ownerReferences": [owner_of(deployment)],
        },
        "spec": {
            "replicas": spec["replicas"],
            "selector": {
                **spec["selector"],
                "matchLabels": {**spec["selector"].get("matchLabels", {}), "pod-template-hash": code},
            },
            "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
        },
    }


def pod(owner: Item, name: str, node: str = "") -> Item:
    """A pod of an owner's template; one of a DaemonSet is for a node."""
    template, meta = owner["spec"]["template"], owner["metadata"]
    spec, labels = dict(template["spec"]), dict(template["metadata"]["labels"])
    if node:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        }
        generation = meta["annotations"]["deprecated.daemonset.template.generation"]
        labels |= {"controller-revision-hash": template_hash(template), "pod-template-generation": generation}
    made = {
        "name": name,
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "labels": labels,
        "ownerReferences": [owner_of(owner)],
    }
    if annotations := template["metadata"].get("annotations"):
        made["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec}


def is_ready(item: Mapping[str, Any]) -> bool:
    """Whether a pod's Ready condition holds, and it is not ending."""
    conditions = item.get("status", {}).get("conditions", ())
    return "deletionTimestamp" not in item["metadata"] and any(
        c["type"] == "Ready" and c["status"] == "True" for c in conditions
    )


def replica_set_status(item: Item, pods: Sequence[Item]) -> dict[str, Any]:
    """Counts of a ReplicaSet's pods that are not ending."""
    ready = sum(map(is_ready, pods))
    counts = {"replicas": len(pods), "fullyLabeledReplicas": len(pods), "readyReplicas": ready,
              "availableReplicas": ready}  # fmt: skip
    return {**counts, "observedGeneration": item["metadata"]["generation"]}


def deployment_status(
    item: Item, current: Sequence[Item], others: Sequence[Item], ending: int
) -> dict[str, Any]:
    """Counts and conditions of a Deployment, of the pods of its current template, its others, and those that end."""
    pods, wanted, name = [*current, *others], item["spec"]["replicas"], replica_set(item)["metadata"]["name"]
    ready = sum(map(is_ready, pods))
    done = len(current) == wanted == sum(map(is_ready, current)) and not others
    before = {c["type"]: c for c in item.get("status", {}).get("conditions", ())}
    enough = ready >= wanted - wanted // 4
    available = (
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        if enough
        else ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    )
    progressing = (
        ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.')
        if done
        else ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')
    )
    return {
        "observedGeneration": item["metadata"]["generation"],
        "replicas": len(pods),
        "updatedReplicas": len(current),
        "readyReplicas": ready,
        "availableReplicas": ready,
        **({"unavailableReplicas": wanted - ready} if ready < wanted else {}),
        "terminatingReplicas": ending,
        "conditions": [
            _condition(before, "Available", *available),
            _condition(before, "Progressing", *progressing),
        ],
    }


def _condition(
    before: Mapping[str, Mapping[str, Any]], kind: str, status: str, reason: str, message: str
) -> Mapping[str, Any]:
    said = {"type": kind, "status": status, "reason": reason, "message": message}
    old = before.get(kind, {})
    if {key: old.get(key) for key in said} == said:
        return old
    at = now()
    since = old["lastTransitionTime"] if old.get("status") == status else at
    return {**said, "lastUpdateTime": at, "lastTransitionTime": since}


def daemon_set_status(item: Item, pods: Sequence[Item], nodes: int) -> dict[str, Any]:
    """Counts of a DaemonSet's pods, of the nodes that it is for."""
    code = template_hash(item["spec"]["template"])
    ready = sum(map(is_ready, pods))
    updated = sum(p["metadata"]["labels"].get("controller-revision-hash") == code for p in pods)
    return {
        "currentNumberScheduled": len({p["spec"].get("nodeName") for p in pods}),
        "numberMisscheduled": 0,
        "desiredNumberScheduled": nodes,
        "numberReady": ready,
        "observedGeneration": item["metadata"]["generation"],
        "updatedNumberScheduled": updated,
        "numberAvailable": ready,
    }
