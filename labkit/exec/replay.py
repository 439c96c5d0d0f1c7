"""Answers from a recording: a pure function of (step, request, sample)."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from labkit.errors import ReplayMiss

if TYPE_CHECKING:
    from labkit.exec.recording import Recording
    from labkit.exec.request import Reply, Request

__all__ = ["Replay"]


class Replay:
    """Answers what was recorded, in any order and any number of times, and nothing else."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    @property
    def about(self) -> dict[str, Any]:
        return self.recording.about

    def run(self, request: Request) -> Reply:
        """The recorded reply, or the error that was recorded instead. Raises ReplayMiss, naming the nearest
        recorded requests, where there is neither."""
        reply = self.recording.find(request)
        if reply is None:
            raise self.recording.failure(request) or ReplayMiss(self._miss(request), request)
        return reply

    def wait(self, seconds: float) -> None:
        """Nothing to wait for: time does not pass in a recording."""

    def close(self) -> None:
        """Nothing is held open."""

    def _miss(self, request: Request) -> str:
        near = self._nearest(request)
        listed = "".join(
            f"\n  step {r.step}, sample {r.sample}: {r.words[:120]} on {r.subject}" for r in near
        )
        name = self.recording.about.get("name", self.recording.path.name)
        return (
            f"recording {name} has no reply to {request.words[:200]!r} on {request.subject} "
            f"(step {request.step}, sample {request.sample}). The nearest it has:{listed}\n"
            "Ask what was recorded, or run live."
        )

    def _nearest(self, request: Request) -> list[Request]:
        """The three recorded requests most like this one, judged by the head of their identity.

        Those of the same program are looked at, if there are any: to compare with all takes a while.
        """
        alike = [r for r in self.recording.requests() if r.kind == request.kind]
        same = [r for r in alike if r.words.partition(" ")[0] == request.words.partition(" ")[0]]
        heads = {_head(r): r for r in same or alike}
        return [heads[h] for h in difflib.get_close_matches(_head(request), heads, n=3, cutoff=0.0)]


def _head(request: Request) -> str:
    return f"{request.words[:100]} {request.subject} {request.step} {request.sample}"
