"""Objects of a cluster: server-side apply and deletion, of what labkit owns and nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.errors import ApiError, ConnectionLost, MissingFeature, OwnershipError, RequestError
from labkit.exec.live_api import NAMES_ONLY, PASSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labkit.exec.live_api import Api
    from labkit.exec.request import Apply, Delete, Request

__all__ = ["MANAGED_BY", "Objects"]

#: The label of a namespace that labkit may change things in.
MANAGED_BY = ("app.kubernetes.io/managed-by", "labkit")
AT_ONCE = 16
#: Kinds whose pods have to be gone before they count as deleted; of others nothing is waited for but themselves.
WITH_PODS = frozenset({"DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"})
#: How long what a new namespace lacks may take to come: its default service account.
SETTLING_S = 15.0

Object = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Resource:
    """What the API serves a kind as."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """Of an object, or of the list it is in."""
        inside = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{self.prefix}{inside}/{self.plural}" + (f"/{name}" if name else "")


class Objects:
    """Applies and deletes. Safe in threads."""

    def __init__(self, api: Api, arm: str) -> None:
        self._api, self._arm = api, arm
        self._served: dict[str, list[Object]] = {}
        self._discovering = threading.Lock()

    def apply(self, request: Apply) -> bytes:
        """Apply all objects, namespaces first and the rest many at once; a line each, as kubectl prints it."""
        objects = _manifest(request)
        spaces = [one for one in objects if one["kind"] == "Namespace"]
        for space in spaces:
            self._own(space, request)
            self._apply(space, request)
        rest = [one for one in objects if one["kind"] != "Namespace"]
        self._check(rest, request)
        _at_once(lambda one: self._apply(one, request), rest)
        return "".join(f"{_called(one)}/{_name(one)} serverside-applied\n" for one in objects).encode()

    def delete(self, request: Delete, limit_s: float) -> tuple[bytes, list[str]]:
        """Delete all objects and wait until they are gone; the lines, and what is still there at the limit."""
        objects = _manifest(request)
        spaces = [one for one in objects if one["kind"] == "Namespace"]
        rest = [one for one in objects if one["kind"] != "Namespace"]
        known = {id(space): self._own(space, request) for space in spaces}
        self._check(rest, request)
        known |= {id(one): str(one["metadata"].get("uid", "")) for one in rest}
        gone = _at_once(lambda one: self._delete(one, request, known[id(one)]), rest)
        uids = dict(zip(map(id, rest), gone, strict=True))
        uids |= {id(space): self._delete(space, request, known[id(space)]) for space in spaces}
        deleted = [one for one in objects if uids[id(one)]]
        lines = "".join(f'{_called(one)} "{_name(one)}" deleted\n' for one in deleted)
        left = self._until_gone({uids[id(one)]: one for one in deleted}, request, limit_s)
        return lines.encode(), [f"{one['kind']}/{_name(one)}" for one in left]

    def _apply(self, one: Object, request: Request) -> None:
        path = self._path(one, request)
        end = time.monotonic() + SETTLING_S
        while True:
            try:
                self._api.apply(path, one, request)
            except ApiError as error:
                settling = error.status == 409 or (error.status == 403 and "serviceaccount" in str(error))
                if not settling or time.monotonic() > end:
                    raise
                time.sleep(0.2)
            else:
                return

    def _delete(self, one: Object, request: Request, uid: str) -> str:
        """The uid of what is being deleted; empty where there is no such object. `uid` is the one that is meant, if known."""
        how = "Foreground" if one["kind"] in WITH_PODS else "Background"
        try:
            told = json.loads(self._api.delete(self._path(one, request), how, request, uid))
        except ApiError as error:
            if error.status == 404:
                return ""
            if error.status == 409 and "precondition" in str(error).lower():
                raise OwnershipError(
                    f"{one['kind']}/{_name(one)} is another now than was looked at; it stays"
                ) from None
            if error.status == 409 and uid:
                return uid  # a namespace that is being emptied already (before Kubernetes 1.26)
            raise
        return str(told.get("details", {}).get("uid") or told["metadata"]["uid"])

    def _until_gone(self, wanted: dict[str, Object], request: Request, limit_s: float) -> list[Object]:
        """Wait for these uids to be gone, a list and a watch for each kind; what is left at the limit."""
        lists: dict[str, set[str]] = defaultdict(set)
        for uid, one in wanted.items():
            lists[self._path(one, request).rpartition("/")[0]].add(uid)
        end = time.monotonic() + limit_s
        left = _at_once(lambda item: self._until_left(*item, request, end), lists.items())
        return [wanted[uid] for uids in left for uid in sorted(uids)]

    def _until_left(self, path: str, uids: set[str], request: Request, end: float) -> set[str]:
        while True:
            listed = self._api.read_json(path, request, accept=NAMES_ONLY)
            uids &= {str(item["metadata"]["uid"]) for item in listed["items"]}
            left = end - time.monotonic()
            if not uids or left <= 0:
                return uids
            try:
                for event in self._api.watch(path, listed["metadata"]["resourceVersion"], request, left):
                    if event["type"] == "DELETED":
                        uids.discard(str(event["object"]["metadata"]["uid"]))
                    if not uids:
                        return uids
            except (ApiError, ConnectionLost) as error:
                if isinstance(error, ApiError) and error.status not in (410, *PASSING):
                    raise
            time.sleep(min(0.2, left))  # the watch ended, or its version is too old: read the list again

    def _check(self, objects: Iterable[Object], request: Request) -> None:
        """Refuse what is outside the namespaces that carry labkit's label."""
        for one in objects:
            if not self._resource(one, request).namespaced:
                raise OwnershipError(
                    f"{one['kind']}/{_name(one)} belongs to the whole cluster; labkit changes only what is in "
                    "its own namespaces"
                )
        for name in sorted({_namespace(one) for one in objects}):
            space = self._space(name, request)
            if space is None or not _is_ours(space):
                raise OwnershipError(_not_ours(name))

    def _own(self, space: Object, request: Request) -> str:
        """The uid of a namespace, empty where there is none yet.

        Refuses one that exists without labkit's label, and one that would be made without it.
        """
        there = self._space(_name(space), request)
        if not (_is_ours(there) if there else request.kind == "delete" or _is_ours(space)):
            raise OwnershipError(_not_ours(_name(space)))
        return str(there["metadata"]["uid"]) if there else ""

    def _space(self, name: str, request: Request) -> Object | None:
        try:
            return self._api.read_json(f"/api/v1/namespaces/{name}", request)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _path(self, one: Object, request: Request) -> str:
        return self._resource(one, request).path(_namespace(one), _name(one))

    def _resource(self, one: Object, request: Request) -> Resource:
        version, kind = one["apiVersion"], one["kind"]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        with self._discovering:
            if version not in self._served:
                try:
                    self._served[version] = self._api.read_json(prefix, request)["resources"]
                except ApiError as error:
                    if error.status != 404:
                        raise
                    self._served[version] = []
        for served in self._served[version]:
            if served["kind"] == kind and "/" not in served["name"]:
                return Resource(prefix, served["name"], bool(served["namespaced"]))
        self._served.pop(version, None)  # a resource may be served later, when its definition is applied
        raise MissingFeature(self._arm, f"the API server does not serve {kind} of {version}")


def _manifest(request: Apply | Delete) -> list[Object]:
    objects = json.loads(request.manifest)
    if len(objects) != len(request.objects):
        raise RequestError(
            f"{request.words[:200]}: the request names {len(request.objects)} objects and carries "
            f"{len(objects)}; one read from a recording carries none and cannot be sent",
            request,
        )
    return list(objects)


def _at_once(work: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """The results in order; after the first error nothing new is begun."""
    listed = list(things)
    if not listed:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(listed))) as pool:
        return list(pool.map(work, listed))


def _name(one: Object) -> str:
    return str(one["metadata"]["name"])


def _namespace(one: Object) -> str:
    return str(one["metadata"].get("namespace", "default"))


def _called(one: Object) -> str:
    """The kind as kubectl prints it: `deployment.apps`."""
    group = one["apiVersion"].rpartition("/")[0]
    return ".".join(filter(None, (one["kind"].lower(), group)))


def _is_ours(space: Object) -> bool:
    key, value = MANAGED_BY
    return (space["metadata"].get("labels") or {}).get(key) == value


def _not_ours(name: str) -> str:
    return (
        f"namespace {name} does not carry the label {'='.join(MANAGED_BY)}, so it is someone else's (or not there); "
        "labkit changes nothing in it"
    )
