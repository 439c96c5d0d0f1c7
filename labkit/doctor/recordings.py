"""Whether the recordings that arms are replayed from are there and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.doctor.check import Check
from labkit.errors import LabError
from labkit.exec.recording import Recording
from labkit.source import find_recording, recordings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.doctor.check import State

__all__ = ["every_recording", "recording"]


def every_recording() -> Iterator[Check]:
    """Each that `replay:<name>` finds. A damaged one is only worth a note: no arm needs it."""
    found = recordings()
    if not found:
        yield Check("recordings", "note", "none in data/recordings", "run labkit from its checkout")
    for path in found:
        yield _look(path, "", "note")


def recording(arm: str, name: str) -> Check:
    """The one that an arm is replayed from."""
    try:
        path = find_recording(name)
    except LabError as error:
        return Check(f"recording {name}", "missing", str(error), "name one that is there", arm)
    return _look(path, arm, "missing")


def _look(path: Path, arm: str, damaged: State) -> Check:
    check = f"recording {path.name}"
    try:
        held = Recording.open(path)
        problems = held.verify()
    except LabError as error:
        problems = [str(error)]
    else:
        if not problems:
            return Check(check, "ok", f"{len(held):,} replies, {held.about['origin']}, whole", "", arm)
    return Check(check, damaged, problems[0], "labkit recordings verify; then fetch it anew", arm)
