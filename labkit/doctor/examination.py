"""All that the named arms need, and what every run needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.doctor.check import Check
from labkit.doctor.machine import machine
from labkit.doctor.namespaces import leftovers, namespaces
from labkit.doctor.recordings import every_recording, recording
from labkit.experiments.manifests import images as known_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["examine"]


def examine(arms: Mapping[str, str], images: Path | None = None) -> Iterator[Check]:
    """The checks of the machine, then those of each arm; without arms, of every recording. Changes nothing.

    `images` is a file of images to pull in place of labkit's. Raises ParameterError where it is none.
    """
    references = known_images(images)
    yield from machine()
    for arm, source in arms.items():
        yield from _of(arm, source, references)
    if not arms:
        yield from every_recording()
    yield from leftovers()


def _of(arm: str, source: str, references: Mapping[str, str]) -> Iterator[Check]:
    kind, _, name = source.partition(":")
    if kind == "replay":
        yield recording(arm, name)
    elif kind == "netns":
        yield from namespaces(arm, name)
    elif kind == "live":
        from labkit.doctor.kubernetes import cluster  # noqa: PLC0415  (imports the client)

        yield from cluster(arm, name, references=references)
    else:
        yield Check(
            f"source {source}",
            "missing",
            "no such kind",
            "write replay:NAME, netns:TOPOLOGY or live:CONTEXT",
            arm,
        )
