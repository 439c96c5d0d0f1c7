"""From one state of an arm to another: what is too much and what is missing, as requests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from labkit.exec.request import Apply, Delete
from labkit.experiments.manifests import as_manifest, key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from labkit.exec.request import Request
    from labkit.experiments.manifests import Object

__all__ = ["applies", "deletes", "missing", "too_much"]

#: Objects of one request: thousands of Services are applied in as many thousands of bytes, not millions.
BATCH = 500


def too_much(now: Mapping[str, Object], then: Mapping[str, Object]) -> list[Object]:
    """The objects to delete, the last applied first."""
    return [one for called, one in reversed(list(now.items())) if called not in then]


def missing(now: Mapping[str, Object], then: Mapping[str, Object]) -> list[Object]:
    """The objects to apply, in their order."""
    return [one for called, one in then.items() if called not in now]


def applies(objects: Sequence[Object], step: str, known: Callable[[Request], object]) -> Iterator[Apply]:
    """Requests that apply these objects, in batches. `known` tells which were made before: samples count up."""
    for batch in _batches(objects):
        names, manifest = tuple(map(key, batch)), as_manifest(batch)
        for sample in itertools.count():
            request = Apply(step=step, sample=sample, objects=names, manifest=manifest)
            if not known(request):
                yield request
                break


def deletes(objects: Sequence[Object], step: str, known: Callable[[Request], object]) -> Iterator[Delete]:
    """Requests that delete these objects, in batches; the same way."""
    for batch in _batches(objects):
        names, manifest = tuple(map(key, batch)), as_manifest(batch)
        for sample in itertools.count():
            request = Delete(step=step, sample=sample, objects=names, manifest=manifest)
            if not known(request):
                yield request
                break


def _batches(objects: Sequence[Object]) -> Iterator[Sequence[Object]]:
    for begin in range(0, len(objects), BATCH):
        yield objects[begin : begin + BATCH]
