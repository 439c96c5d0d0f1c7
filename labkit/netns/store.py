"""The objects of a lab, as plain dicts: what an API server and its etcd are to a cluster.

An object in the store is never changed in place, so whoever gets one may read it for as long as he likes
and must not write to it. Each change has a number, `resourceVersion`, which watchers go on from.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from labkit.errors import LabError
from labkit.netns.kinds import KINDS, kind_of
from labkit.netns.selectors import by_fields, by_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.netns.admission import Admission

__all__ = ["Change", "Expired", "Item", "Store", "now"]

Item = dict[str, Any]
Items = list[Item]
Key = tuple[str, str, str]

#: Changes that are kept for watchers who come late.
REMEMBERED = 100_000
#: What many changes together hold the others up for is as long as this many take.
TOGETHER = 500
#: Their deletion takes time: it is asked for, something is ended, then they are gone.
ENDING = ("Namespace", "Pod")


class Expired(LabError):
    """The changes since then are no longer known (410 Gone): list again, and watch from there."""


@dataclass(frozen=True, slots=True)
class Change:
    """ADDED, MODIFIED or DELETED, and the object as it is since, or was last. `version` counts changes."""

    type: str
    item: Item
    version: int


Changes = list[Change]


def now() -> str:
    """The time as API objects carry it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects by kind, namespace and name. Safe in threads.

    `admission` completes an object before it is kept (defaults, addresses).
    """

    def __init__(self, admission: Admission | None = None, *, remembered: int = REMEMBERED) -> None:
        self._admission = admission
        self._items: dict[str, dict[tuple[str, str], Item]] = {kind: {} for kind in KINDS}
        self._owned: dict[str, set[Key]] = {}
        self._changes: deque[Change] = deque(maxlen=remembered)
        self._version = 0
        self._changed = threading.Condition(threading.RLock())

    @property
    def version(self) -> int:
        """The number of the last change."""
        with self._changed:
            return self._version

    def apply(self, wanted: Mapping[str, Any]) -> Item:
        """Create an object, or make its labels, annotations and spec these; its status stays.

        A server-side apply of one owner: what the object had before and is not wanted now goes. Nothing changes
        where it is so already. Raises ParameterError for an unknown kind, or without a name.
        """
        kind = kind_of(wanted)
        with self._changed:
            there = self.get(kind.name, *_place(wanted))
            item = self._admission.admit(self, dict(wanted), there) if self._admission else dict(wanted)
            item["metadata"] = dict(item["metadata"])
            if there is None:
                return self._create(item)
            for name in ("uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp"):
                item["metadata"].pop(name, None)
                if name in there["metadata"]:
                    item["metadata"][name] = there["metadata"][name]
            if "status" in there:
                item["status"] = there["status"]
            if item == there:
                return there
            if kind.generation and _body(item) != _body(there):
                item["metadata"]["generation"] = there["metadata"]["generation"] + 1
            self._disown(there)
            self._own(item)
            return self._keep("MODIFIED", item)

    def apply_all(self, wanted: Iterable[Mapping[str, Any]]) -> Items:
        """Apply many; quicker than one by one, since watchers are woken more rarely."""
        left, made = iter(wanted), []
        while some := list(islice(left, TOGETHER)):
            with self._changed:
                made += [self.apply(item) for item in some]
        return made

    def set_status(self, item: Mapping[str, Any], status: Mapping[str, Any]) -> Item | None:
        """Give an object a status; None where it is gone, or another has its name."""
        with self._changed:
            there = self.get(item["kind"], *_place(item))
            if there is None or there["metadata"]["uid"] != item["metadata"]["uid"]:
                return None
            if there.get("status") == status:
                return there
            return self._keep("MODIFIED", {**there, "status": dict(status)})

    def delete(self, kind: str, namespace: str, name: str, *, at_once: bool = False) -> Item | None:
        """Delete an object; None where there is none.

        A Pod or Namespace only gets a `deletionTimestamp` until someone has ended what it stands for and
        deletes it `at_once`.
        """
        with self._changed:
            there = self.get(kind, namespace, name)
            if there is None:
                return None
            if kind in ENDING and not at_once:
                return there if "deletionTimestamp" in there["metadata"] else self._end(there)
            del self._items[kind][namespace, name]
            self._disown(there)
            return self._note("DELETED", _numbered(there, self._version + 1))

    def get(self, kind: str, namespace: str, name: str) -> Item | None:
        """One object; `namespace` is empty for what belongs to none."""
        with self._changed:
            return self._items[kind].get((namespace, name))

    def list(
        self, kind: str, namespace: str | None = None, label_selector: str = "", field_selector: str = ""
    ) -> Items:
        """Objects of a kind, in the order of namespace and name. Raises ParameterError for a selector that is none."""
        labels, fields = by_labels(label_selector), by_fields(field_selector)
        with self._changed:
            found = sorted(self._items[kind].items())
        return [
            item
            for (where, _), item in found
            if (namespace is None or where == namespace)
            and (not label_selector or labels(item["metadata"].get("labels") or {}))
            and (not field_selector or fields(item))
        ]

    def owned(self, uid: str) -> Items:
        """The objects whose `ownerReferences` name this uid."""
        with self._changed:
            keys = sorted(self._owned.get(uid, ()))
            return [item for kind, *place in keys if (item := self.get(kind, *place)) is not None]

    def watch(self, since: int, timeout_s: float | None = None) -> Changes:
        """The changes after this one; waits for the first of them. Empty when the time is over.

        Raises Expired where they are no longer known.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._version > since, timeout_s)
            if self._version <= since:
                return []
            missed = self._version - since
            if missed > len(self._changes):
                raise Expired(f"changes since {since} are no longer known; list again")
            return list(islice(reversed(self._changes), missed))[::-1]

    def _create(self, item: Item) -> Item:
        meta = item["metadata"]
        # uuid4() would let other threads run in between, ten thousand times
        meta["uid"] = str(uuid.UUID(int=random.getrandbits(128), version=4))
        meta["creationTimestamp"] = now()
        for name in ("resourceVersion", "deletionTimestamp"):
            meta.pop(name, None)
        if KINDS[item["kind"]].generation:
            meta["generation"] = 1
        self._own(item)
        return self._keep("ADDED", item)

    def _own(self, item: Item) -> None:
        for owner in item["metadata"].get("ownerReferences") or ():
            self._owned.setdefault(owner["uid"], set()).add((item["kind"], *_place(item)))

    def _disown(self, item: Item) -> None:
        for owner in item["metadata"].get("ownerReferences") or ():
            mine = self._owned.get(owner["uid"], set())
            mine.discard((item["kind"], *_place(item)))
            if not mine:
                self._owned.pop(owner["uid"], None)

    def _end(self, there: Item) -> Item:
        item = {**there, "metadata": {**there["metadata"], "deletionTimestamp": now()}}
        if item["kind"] == "Namespace":
            item["status"] = {"phase": "Terminating"}
        return self._keep("MODIFIED", item)

    def _keep(self, event: str, item: Item) -> Item:
        kept = _numbered(item, self._version + 1)
        self._items[item["kind"]][_place(item)] = kept
        return self._note(event, kept)

    def _note(self, event: str, item: Item) -> Item:
        self._version += 1
        self._changes.append(Change(event, item, self._version))
        self._changed.notify_all()
        return item


def _numbered(item: Item, version: int) -> Item:
    return {**item, "metadata": {**item["metadata"], "resourceVersion": str(version)}}


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    meta = item.get("metadata") or {}
    where = meta.get("namespace", "default") if kind_of(item).namespaced else ""
    return where, meta.get("name", "")


def _body(item: Mapping[str, Any]) -> Item:
    return {key: value for key, value in item.items() if key not in ("metadata", "status")}
