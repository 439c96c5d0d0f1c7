"""Pods get their nodes, and are started there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.netns.events import event
from labkit.netns.pod_status import scheduled
from labkit.netns.scheduler import place

if TYPE_CHECKING:
    from labkit.netns.kubelet import Kubelet
    from labkit.netns.store import Item, Store

__all__ = ["Placing"]

BY = "default-scheduler"


class Placing:
    """For one thread. A pod that no node will do for waits for the next one that is placed, or goes."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self._store, self._kubelet = store, kubelet
        self._homeless: dict[str, Item] = {}

    def schedule(self, pod: Item) -> None:
        """Find the pod a node, where it has none yet, and have it started there."""
        there = self._store.get("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
        if there is None or there["metadata"]["uid"] != pod["metadata"]["uid"]:
            return
        placed = "nodeName" not in there["spec"]
        if placed:
            bound = self._bound(there)
            if bound is None:
                return
            there = bound
        if not self._kubelet.knows(there):
            self._kubelet.start(self._store.set_status(there, scheduled(there)) or there)
        if placed:
            self.again()

    def again(self) -> None:
        """Try those that have waited: where pods are has changed."""
        for pod in list(self._homeless.values()):
            if pod["metadata"]["uid"] in self._homeless:
                self.schedule(pod)

    def forget(self, pod: Item) -> None:
        """A pod that is ending needs no node."""
        self._homeless.pop(pod["metadata"]["uid"], None)

    def _bound(self, pod: Item) -> Item | None:
        nodes, uid = self._store.list("Node"), pod["metadata"]["uid"]
        others = [other for other in self._store.list("Pod") if other["metadata"]["uid"] != uid]
        node = place(pod, nodes, others)
        if node is None:
            self._homeless[uid] = pod
            why = f"0/{len(nodes)} nodes are available: no node is as the pod requires."
            if "conditions" not in pod["status"]:
                self._store.set_status(pod, scheduled(pod, why))
                self._store.apply(event(pod, "FailedScheduling", why, BY, warning=True))
            return None
        self._homeless.pop(uid, None)
        bound = self._store.apply({**pod, "spec": {**pod["spec"], "nodeName": node}})
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self._store.apply(event(bound, "Scheduled", f"Successfully assigned {name} to {node}", BY))
        return bound
