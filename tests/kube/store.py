"""Objects as the API server keeps them: resource versions, watches from any of them, 410 for what was compacted."""

from __future__ import annotations

import copy
import datetime as dt
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """A kind, as discovery tells it."""

    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def prefix(self) -> str:
        return f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"


SERVED = (
    Served("v1", "namespaces", "Namespace", namespaced=False),
    Served("v1", "nodes", "Node", namespaced=False),
    Served("v1", "pods", "Pod"),
    Served("v1", "services", "Service"),
    Served("v1", "configmaps", "ConfigMap"),
    Served("v1", "events", "Event"),
    Served("apps/v1", "deployments", "Deployment"),
    Served("apps/v1", "daemonsets", "DaemonSet"),
    Served("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    Served("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    Served("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", namespaced=False),
)


class Gone(Exception):
    """This resource version has been compacted."""


class Store:
    """All objects. `lingers_s` is how long a deleted one stays, with its deletionTimestamp."""

    def __init__(self, lingers_s: float = 0.0):
        self.lingers_s = lingers_s
        self.version = 100
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._events: list[tuple[int, str, str, Object]] = []
        self._compacted = 0
        self._changed = threading.Condition()

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        with self._changed:
            return copy.deepcopy(self._objects.get((kind, namespace, name)))

    def list(self, kind: str, namespace: str = "") -> tuple[list[Object], int]:
        """Objects of a kind by namespace and name, of all namespaces where none is given; and the version."""
        with self._changed:
            found = [
                one
                for key, one in sorted(self._objects.items())
                if key[0] == kind and namespace in ("", key[1])
            ]
            return copy.deepcopy(found), self.version

    def apply(self, manifest: Object) -> tuple[Object, bool]:
        """Create or replace (a merge of fields is not needed here); the object, and whether it is new."""
        one = copy.deepcopy(manifest)
        meta = one["metadata"]
        key = (one["kind"], meta.get("namespace", ""), meta["name"])
        with self._changed:
            old = self._objects.get(key)
            meta["uid"] = old["metadata"]["uid"] if old else str(uuid.uuid4())
            meta["creationTimestamp"] = old["metadata"]["creationTimestamp"] if old else now()
            self._note("MODIFIED" if old else "ADDED", key, one)
            return copy.deepcopy(one), old is None

    def delete(self, kind: str, namespace: str, name: str) -> Object | None:
        """Delete at once, or mark it and delete it a little later; what was there."""
        with self._changed:
            one = self._objects.get((kind, namespace, name))
            if one is None:
                return None
            if not self.lingers_s:
                self._remove((kind, namespace, name))
            elif "deletionTimestamp" not in one["metadata"]:
                one["metadata"]["deletionTimestamp"] = now()
                self._note("MODIFIED", (kind, namespace, name), one)
                later = threading.Timer(self.lingers_s, self._remove, [(kind, namespace, name)])
                later.daemon = True
                later.start()
            return copy.deepcopy(one)

    def compact(self) -> None:
        """Forget the past: who watches from before now is told 410."""
        with self._changed:
            self.version += 1
            self._compacted = self.version
            self._events.clear()
            self._changed.notify_all()

    def events(
        self, kind: str, namespace: str, since: int, limit_s: float
    ) -> Iterator[tuple[str, Object] | None]:
        """What happened since a version, and what happens; None now and then. Ends when the limit has passed."""
        end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=limit_s)
        while dt.datetime.now(dt.UTC) < end:
            with self._changed:
                if since < self._compacted:
                    raise Gone
                new = [e for e in self._events if e[0] > since]
                if not new:
                    self._changed.wait(0.05)
            for version, type_, of_kind, one in new:
                since = version
                if of_kind == kind and namespace in ("", one["metadata"].get("namespace", "")):
                    yield type_, one
            yield None

    def _remove(self, key):
        with self._changed:
            one = self._objects.pop(key, None)
            if one:
                self._note("DELETED", key, one)
                self._objects.pop(key)
                if key[0] == "Namespace":
                    for inside in [k for k in self._objects if k[1] == key[2]]:
                        self._remove(inside)

    def _note(self, type_, key, one):
        with self._changed:
            self.version += 1
            one["metadata"]["resourceVersion"] = str(self.version)
            self._objects[key] = one
            self._events.append((self.version, type_, key[0], copy.deepcopy(one)))
            self._changed.notify_all()


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
