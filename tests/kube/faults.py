"""What goes wrong at the fake API server, stated beforehand: at which request, which time, and how."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    """At the `nth` request (0: every one) whose `METHOD path` matches `at`, do so:

    `status` (with `headers`, `message`) answers so instead; `drop` closes the socket without an answer; `half` sends half
    of the body and closes; `stall_s` waits before the answer.

    Of an exec, which has been upgraded and runs: `cut_frame` closes in the middle of a frame of its output, that
    which passes `cut_after` bytes,
    `fragments` sends a message as many frames with pings between them, `reset` resets the connection after the
    exit code, as API servers did before 1.36 for whoever read slowly,
    `no_status` closes in order but never tells the exit code, `drip` sends byte by byte, `replaced` ends the
    pod with all that runs in it, `refusal` is what the container runtime says instead of starting it.
    """

    at: str
    nth: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "it was told to fail"
    drop: bool = False
    half: bool = False
    stall_s: float = 0.0
    cut_frame: bool = False
    cut_after: int = 0
    fragments: bool = False
    reset: bool = False
    no_status: bool = False
    drip: bool = False
    replaced: bool = False
    refusal: str = ""
    seen: int = 0


class Faults:
    """All faults of a server; none by default."""

    def __init__(self):
        self._all: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, at: str, **how) -> Fault:
        fault = Fault(at, **how)
        self._all.append(fault)
        return fault

    def met(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            for fault in self._all:
                if re.search(fault.at, f"{method} {path}"):
                    fault.seen += 1
                    if fault.nth in (0, fault.seen):
                        return fault
        return None
