"""Deployments, ReplicaSets and DaemonSets: they make the pods that they ask for, and count them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.netns import workloads
from labkit.netns.events import event
from labkit.netns.scheduler import fits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.netns.store import Item, Store

__all__ = ["OWNERS", "Owners"]

#: The kinds, and who looks after each.
OWNERS = {
    "Deployment": "deployment-controller",
    "ReplicaSet": "replicaset-controller",
    "DaemonSet": "daemonset-controller",
}


class Owners:
    """For one thread. `schedule` gets every pod that is made."""

    def __init__(self, store: Store, schedule: Callable[[Item], None]) -> None:
        self._store, self._schedule = store, schedule
        self._touched: dict[str, Item] = {}

    def reconcile(self, item: Item) -> None:
        """Make what an owner asks for, and delete what it does not."""
        self._touched[item["metadata"]["uid"]] = item
        match item["kind"]:
            case "Deployment":
                self._deployment(item)
            case "ReplicaSet":
                self._replica_set(item)
            case "DaemonSet":
                self._daemon_set(item)

    def pod_changed(self, pod: Item) -> None:
        """Its owner, and the owner of that, look at their pods again."""
        item: Item | None = pod
        while item is not None and (item := self.owner(item)) is not None:
            self.reconcile(item)

    def owner(self, item: Item) -> Item | None:
        """The owner of an object, where it is there."""
        for owner in item["metadata"].get("ownerReferences") or ():
            there = self._store.get(owner["kind"], item["metadata"]["namespace"], owner["name"])
            if there is not None and there["metadata"]["uid"] == owner["uid"]:
                return there
        return None

    def count(self) -> None:
        """Write the status of the owners that were looked at."""
        touched, self._touched = self._touched, {}
        for item in touched.values():
            if (there := self._get(item)) is not None:
                self._store.set_status(there, self._status(there))

    def _status(self, item: Item) -> Item:
        match item["kind"]:
            case "Deployment":
                name, sets = workloads.replica_set(item)["metadata"]["name"], self._owned(item)
                current = [p for s in sets if s["metadata"]["name"] == name for p in self._living(s)]
                others = [p for s in sets if s["metadata"]["name"] != name for p in self._living(s)]
                ending = sum(len(self._owned(s)) for s in sets) - len(current) - len(others)
                return workloads.deployment_status(item, current, others, ending)
            case "ReplicaSet":
                return workloads.replica_set_status(item, self._living(item))
            case _:
                return workloads.daemon_set_status(item, self._living(item), len(self._nodes(item)))

    def _deployment(self, item: Item) -> None:
        """The ReplicaSet of the template as it is; older ones go to 0.

        They do so when its pods are ready, or before it has any, as the strategy says.
        """
        current, first = workloads.replica_set(item), item["spec"]["strategy"]["type"] == "Recreate"
        others = [
            other
            for other in self._owned(item)
            if other["metadata"]["name"] != current["metadata"]["name"] and self._owned(other)
        ]
        if first and others:
            self._shrink(others)
            return
        there = self._get(current)
        made = self._store.apply(current)
        if there is None:
            name, count = made["metadata"]["name"], item["spec"]["replicas"]
            self._tell(item, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {count}")
        self._replica_set(made)
        if sum(map(workloads.is_ready, self._living(made))) >= item["spec"]["replicas"]:
            self._shrink(others)

    def _shrink(self, sets: Sequence[Item]) -> None:
        for each in sets:
            if each["spec"]["replicas"]:
                self._replica_set(self._store.apply({**each, "spec": {**each["spec"], "replicas": 0}}))

    def _replica_set(self, item: Item) -> None:
        """As many pods as it wants; the youngest go first."""
        self._touched[item["metadata"]["uid"]] = item
        living, wanted = self._living(item), item["spec"]["replicas"]
        for _ in range(wanted - len(living)):
            self._create(item)
        living.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
        for pod in living[wanted:]:
            self._tell(item, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
            self._delete(pod)

    def _daemon_set(self, item: Item) -> None:
        """A pod of the template as it is on every node that it is for; an old one goes first."""
        code, pods = workloads.template_hash(item["spec"]["template"]), self._owned(item)
        meant = {node["metadata"]["name"] for node in self._nodes(item)}
        for pod in pods:
            old = pod["metadata"]["labels"]["controller-revision-hash"] != code
            if old or pod["spec"].get("nodeName") not in meant:
                self._delete(pod)
        for name in sorted(meant - {pod["spec"].get("nodeName") for pod in pods}):
            self._create(item, name)

    def _nodes(self, item: Item) -> list[Item]:
        """The nodes that a DaemonSet is for."""
        nodes = self._store.list("Node")
        return [node for node in nodes if fits(workloads.pod(item, "", node["metadata"]["name"]), node)]

    def _create(self, owner: Item, node: str = "") -> None:
        used = {pod["metadata"]["name"] for pod in self._store.list("Pod", owner["metadata"]["namespace"])}
        name = workloads.free_name(f"{owner['metadata']['name']}-", used)
        pod = self._store.apply(workloads.pod(owner, name, node))
        self._tell(owner, "SuccessfulCreate", f"Created pod: {name}")
        self._schedule(pod)

    def _owned(self, item: Item) -> list[Item]:
        return self._store.owned(item["metadata"]["uid"])

    def _living(self, item: Item) -> list[Item]:
        return [pod for pod in self._owned(item) if "deletionTimestamp" not in pod["metadata"]]

    def _get(self, item: Item) -> Item | None:
        return self._store.get(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"])

    def _delete(self, pod: Item) -> None:
        self._store.delete("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _tell(self, about: Item, reason: str, message: str) -> None:
        self._store.apply(event(about, reason, message, OWNERS[about["kind"]]))
