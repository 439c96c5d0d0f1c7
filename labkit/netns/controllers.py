"""What makes a cluster of objects: who owns what, where pods go, and which endpoints Services have.

One thread goes through the changes in their order and does for each all that follows from it, so that the same
objects, applied in the same order, come to the same pods on the same nodes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from labkit.errors import LabError
from labkit.netns import endpoints
from labkit.netns.kinds import KINDS
from labkit.netns.owners import OWNERS, Owners
from labkit.netns.placing import Placing
from labkit.netns.store import Change, Expired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.netns.kubelet import Kubelet
    from labkit.netns.store import Item, Store

__all__ = ["Controllers"]

log = logging.getLogger(__name__)

#: The longest wait for a change before it is looked whether the lab is being closed.
LOOK_S = 0.2
#: A change is followed together with those that come right after it.
GATHER_S = 0.005
ZONE = "topology.kubernetes.io/zone"


class Controllers:
    """Follows a store in a thread, from when it is made until it is closed. `seen` is the last change it has followed."""

    def __init__(self, store: Store, kubelet: Kubelet) -> None:
        self._store, self._kubelet = store, kubelet
        self._placing = Placing(store, kubelet)
        self._owners = Owners(store, self._placing.schedule)
        self.seen, self._closed = 0, False
        #: What has to be looked at when the changes that are there have been gone through: Services whose endpoints
        #: may be others, and namespaces whose pods are.
        self._services: dict[str, Item] = {}
        self._crowded: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="controllers", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why it follows no more; empty while it does."""
        ended = not self._thread.is_alive() and not self._closed
        return "their thread has ended; the log says why" if ended else ""

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            changes = self._changes()
            for change in changes:
                try:
                    self._follow(change)
                except LabError:  # an object or its namespace went meanwhile: its own change comes
                    log.info("following %s", change.item["metadata"]["name"], exc_info=True)
            self._finish()
            if changes:
                self.seen = changes[-1].version

    def _changes(self) -> list[Change]:
        try:
            if self._store.watch(self.seen, LOOK_S):
                time.sleep(GATHER_S)
            return self._store.watch(self.seen, 0)
        except Expired:  # look at everything, and delete what has lost its owner
            version = self._store.version
            items = [item for kind in KINDS for item in self._store.list(kind)]
            for item in items:
                if item["metadata"].get("ownerReferences") and self._owners.owner(item) is None:
                    self._delete(item)
            return [Change("MODIFIED", item, version) for item in items]

    def _follow(self, change: Change) -> None:
        kind, item = change.item["kind"], change.item
        meta = item["metadata"]
        if kind == "Pod":
            self._crowded.add(meta["namespace"])
        there = self._store.get(kind, meta.get("namespace", ""), meta["name"])
        if change.type == "DELETED":
            for owned in self._store.owned(meta["uid"]):
                self._delete(owned)
        elif there is None or there["metadata"]["uid"] != meta["uid"]:
            return
        elif "deletionTimestamp" in there["metadata"]:
            self._end(there)
        elif kind in OWNERS:
            self._owners.reconcile(there)
        elif kind == "Pod":
            self._placing.schedule(there)
        elif kind == "Service":
            self._services[meta["uid"]] = there
        if kind == "Pod":
            self._owners.pod_changed(item)
            if change.type == "DELETED":
                self._placing.again()

    def _end(self, item: Item) -> None:
        if item["kind"] == "Pod":
            self._placing.forget(item)
            self._kubelet.stop(item)
        elif self._emptied(item["metadata"]["name"]):
            self._store.delete("Namespace", "", item["metadata"]["name"], at_once=True)

    def _emptied(self, namespace: str) -> bool:
        """Delete all that is in a namespace; whether no pod is left, since all else goes at once."""
        inside = [kind.name for kind in KINDS.values() if kind.namespaced]
        left = [item for kind in inside for item in self._store.list(kind, namespace)]
        for item in left:
            self._delete(item)
        return all(item["kind"] != "Pod" for item in left)

    def _finish(self) -> None:
        """What follows from all changes together: endpoints, counts, and namespaces that are empty now."""
        crowded, self._crowded = self._crowded, set()
        for namespace in sorted(crowded):
            for service in self._store.list("Service", namespace):
                self._services[service["metadata"]["uid"]] = service
            around = self._store.get("Namespace", "", namespace)
            if around is not None and "deletionTimestamp" in around["metadata"]:
                self._end(around)
        services, self._services = self._services, {}
        if services:
            self._endpoints(list(services.values()))
        self._owners.count()

    def _endpoints(self, services: Sequence[Item]) -> None:
        """Write the slices that are not as they should be."""
        zones = {
            n["metadata"]["name"]: n["metadata"]["labels"].get(ZONE, "") for n in self._store.list("Node")
        }
        namespaces = {service["metadata"]["namespace"] for service in services}
        pods = {namespace: self._store.list("Pod", namespace) for namespace in namespaces}
        changed = []
        for service in services:
            there = self._store.get("Service", service["metadata"]["namespace"], service["metadata"]["name"])
            if there is None:
                continue
            left = {item["metadata"]["name"]: item for item in self._store.owned(there["metadata"]["uid"])}
            for wanted in endpoints.slices(there, pods[there["metadata"]["namespace"]], zones):
                before = left.pop(wanted["metadata"]["name"], None)
                if before is None or not endpoints.alike(wanted, before):
                    changed.append(wanted)
            for item in left.values():
                self._delete(item)
        try:
            self._store.apply_all(changed)
        except LabError:  # a namespace is being terminated: what is in the others is applied
            log.info("applying endpoints", exc_info=True)
            for wanted in changed:
                with contextlib.suppress(LabError):
                    self._store.apply(wanted)

    def _delete(self, item: Item) -> None:
        self._store.delete(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
