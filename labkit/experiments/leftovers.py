"""What labkit made on a cluster and is still there: found by its label, and removed, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import CommandError, OwnershipError, TimeLimit
from labkit.experiments.changes import deletes
from labkit.experiments.waits import Limits, View, until
from labkit.parse.objects import MANAGED_BY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labkit.exec.executor import Executor
    from labkit.exec.request import Delete, Reply
    from labkit.experiments.manifests import Object

__all__ = ["CREATED_BY", "KINDS", "Leftover", "delete", "is_ours", "leftovers", "present", "remove"]

#: The label of a namespace that labkit made, and so may delete; one that carries MANAGED_BY only was given to it.
CREATED_BY = "app.kubernetes.io/created-by"
#: The kinds of which labkit makes objects in a namespace: their apiVersion, and where the API server lists them.
KINDS = {
    "NetworkPolicy": ("networking.k8s.io/v1", "/apis/networking.k8s.io/v1", "networkpolicies"),
    "Service": ("v1", "/api/v1", "services"),
    "Pod": ("v1", "/api/v1", "pods"),
    "Deployment": ("apps/v1", "/apis/apps/v1", "deployments"),
    "DaemonSet": ("apps/v1", "/apis/apps/v1", "daemonsets"),
}
NAMESPACES = "/api/v1/namespaces"


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object that labkit made. A namespace stands for all that is in it."""

    kind: str
    namespace: str
    name: str
    created_at: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + ("" if self.kind == "Namespace" else f" in {self.namespace}")


def is_ours(one: Mapping[str, Any], label: str = MANAGED_BY) -> bool:
    """Whether an object carries labkit's label."""
    return (one["metadata"].get("labels") or {}).get(label) == "labkit"


def leftovers(inner: Executor) -> list[Leftover]:
    """What labkit made on the arm behind this executor: namespaces, and objects in those that it was given.

    Only objects with the label in namespaces with the label, and of these none that a controller made.
    """
    view = View(inner, "")
    found: list[Leftover] = []
    for space in filter(is_ours, view.items(NAMESPACES)):
        name = space["metadata"]["name"]
        if is_ours(space, CREATED_BY):
            found.append(_leftover("Namespace", name, space))
            continue
        found += [_leftover(one["kind"], name, one) for one in present(View(inner, name)).values()]
    return found


def remove(inner: Executor, found: Iterable[Leftover], limits: Limits | None = None) -> list[str]:
    """Delete what `leftovers` found, and wait until it is gone; what was removed, as one would name it.

    Looks again first: raises OwnershipError where something of it is no longer labkit's, and NotReady where it
    is still there at the limit.
    """
    wanted = set(found)
    still = set(leftovers(inner))
    if strange := {one for one in wanted - still if _exists(inner, one)}:
        named = ", ".join(sorted(map(str, strange)))
        raise OwnershipError(f"{named}: there, and not labkit's (any more); nothing was removed")
    going = [one for one in still if one in wanted]
    objects = [_object(one) for one in sorted(going, key=str)]
    for request in deletes(objects, "cleanup", lambda _: False):
        delete(inner, request)
    view = View(inner, "")
    until(
        view,
        lambda: ", ".join(sorted(str(one) for one in set(leftovers(inner)) & set(going))),
        (limits or Limits()).gone_s,
        awaited="what labkit made to be gone",
    )
    return sorted(map(str, going))


def delete(executor: Executor, request: Delete) -> Reply:
    """Send a deletion. Raises CommandError or TimeLimit where it did not go through."""
    reply = executor.run(request)
    if reply.exit_code is None:
        raise TimeLimit(reply)
    if reply.exit_code != 0:
        raise CommandError(reply)
    return reply


def present(view: View, names: Sequence[str] = ()) -> dict[str, Object]:
    """The objects of KINDS in a namespace by `Kind/name`: those with labkit's label and without an owner.

    Also those of `names` (`Kind/name`), whosever they are.
    """
    found = {}
    for kind, (version, prefix, plural) in KINDS.items():
        for one in view.mine(f"{prefix} {plural}"):
            called = f"{kind}/{one['metadata']['name']}"
            mine = is_ours(one) and not one["metadata"].get("ownerReferences")
            if (mine or called in names) and "deletionTimestamp" not in one["metadata"]:
                found[called] = {"apiVersion": version, "kind": kind, "metadata": one["metadata"]}
    return found


def _exists(inner: Executor, one: Leftover) -> bool:
    if one.kind == "Namespace":
        return any(space["metadata"]["name"] == one.name for space in View(inner, "").items(NAMESPACES))
    called = f"{one.kind}/{one.name}"
    return called in present(View(inner, one.namespace), [called])


def _leftover(kind: str, namespace: str, one: Mapping[str, Any]) -> Leftover:
    metadata = one["metadata"]
    return Leftover(
        kind, namespace, metadata["name"], metadata.get("creationTimestamp", ""), metadata.get("uid", "")
    )


def _object(one: Leftover) -> Object:
    version = "v1" if one.kind == "Namespace" else KINDS[one.kind][0]
    place = {} if one.kind == "Namespace" else {"namespace": one.namespace}
    which = {"uid": one.uid} if one.uid else {}
    return {"apiVersion": version, "kind": one.kind, "metadata": {"name": one.name, **place, **which}}
