"""The replies that a finding rests on: what was asked of what, when, and what came back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.errors import LabError
from labkit.exec.output import is_text, pieces, sha256
from labkit.source import connect, is_live

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.exec.output import Output
    from labkit.exec.recording import Recording
    from labkit.exec.request import Reply
    from labkit.findings import Finding

__all__ = ["LINES", "SHOWN", "Evidence", "Excerpt", "Library", "excerpt"]

LINES, CHARACTERS = 60, 4096
#: So many replies of a finding are shown with their output; of the others only what was asked.
SHOWN = 12
VERSUS = "versus:"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of an output, and what was left out of it."""

    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A reply under a finding; `reply` is None where it cannot be had, and `problem` says why."""

    id: str
    arm: str
    reply: Reply | None = None
    stdout: Excerpt = Excerpt("")
    stderr: Excerpt = Excerpt("")
    problem: str = ""


@dataclass(slots=True)
class Library:
    """Opens each recording once: those of a run's live arms, by arm, else what a source replays."""

    recordings: Mapping[str, Path] = field(default_factory=dict)
    _open: dict[str, Recording | str] = field(default_factory=dict)

    def evidence(self, finding: Finding) -> list[Evidence]:
        """The replies of a finding, in its order."""
        return [self._one(finding, reply_id) for reply_id in finding.evidence]

    def _one(self, finding: Finding, reply_id: str) -> Evidence:
        other = reply_id.startswith(VERSUS)
        arm = finding.versus if other else finding.arm
        source = finding.versus_source if other else finding.source
        path = self.recordings.get(arm)
        recording = self._recording(f"replay:{path}" if path else source)
        if isinstance(recording, str):
            return Evidence(reply_id, arm, problem=recording)
        try:
            reply = recording.by_id(reply_id.removeprefix(VERSUS))
        except LabError as error:
            return Evidence(reply_id, arm, problem=str(error))
        if reply is None:
            return Evidence(reply_id, arm, problem="the recording holds no such reply")
        return Evidence(reply_id, arm, reply, excerpt(reply.output), excerpt(reply.stderr))

    def _recording(self, source: str) -> Recording | str:
        """The recording behind a source, or why there is none."""
        if source not in self._open:
            self._open[source] = _recording(source)
        return self._open[source]


def _recording(source: str) -> Recording | str:
    if is_live(source):
        return f"{source} was asked live, and what it answered then is not in this run"
    try:
        recording: Recording | None = getattr(connect(source).executor, "recording", None)
    except LabError as error:
        return str(error)
    return recording or f"{source} is no recording, so what it answered is not kept here"


def excerpt(data: Output) -> Excerpt:
    """The first lines of an output; of a binary one its size and checksum."""
    text = b"".join(pieces(data)).decode() if is_text(data) else "\0"
    if "\0" in text:
        return Excerpt("", f"binary, {len(data):,} bytes, SHA-256 {sha256(data)[:16]}…")
    lines = text.splitlines()
    shown = "\n".join(lines[:LINES])[:CHARACTERS]
    if len(shown) >= len(text.rstrip("\n")):
        return Excerpt(shown)
    count = shown.count("\n") + 1
    part = f"first {count} of {len(lines):,} lines" if len(lines) > 1 else f"first {len(shown):,} characters"
    return Excerpt(shown, f"{part}; {len(data):,} bytes in all")
