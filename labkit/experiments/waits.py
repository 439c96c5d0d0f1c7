"""Waiting for a state that is needed: polled until it is there, with a limit, never slept for.

Where the arm tells of changes, the list that decides is watched and polled when it has changed; else it is polled
less and less often. Polls are asked of the executor that talks, past the recording: they belong to no step.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.errors import ConnectionLost, NotReady, ParseError
from labkit.exec.executor import Watcher
from labkit.exec.request import Exec, Logs, Read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labkit.exec.executor import Executor
    from labkit.exec.request import Reply

__all__ = ["Limits", "View", "until"]

#: Seconds between two polls: the first, by what it grows, and the longest. A poll that takes long is rested after half as long.
FIRST_S, GROWTH, LONGEST_S = 0.05, 1.5, 3.0
#: How long to wait for what changes at the same time, before what is watched is polled again.
CHANGES_S = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """How long is waited for what, in seconds."""

    rollout_s: float = 300
    endpoints_s: float = 120
    services_s: float = 120
    #: More for each Service: a slow control plane makes some ten EndpointSlices a second.
    each_service_s: float = 0.2
    policies_s: float = 60
    #: For an effect that only a connection shows, and for that of a policy where nothing is known to enforce any.
    effect_s: float = 30
    no_engine_s: float = 2
    gone_s: float = 180


@dataclass(slots=True)
class View:
    """An arm as it is now: what waits look at. Safe in threads."""

    inner: Executor
    namespace: str
    #: Says that nothing is waited for any more.
    stopped: Callable[[], bool] = lambda: False
    #: The namespaces that Cilium's agents are in; None until they were looked for.
    agents_in: list[str] | None = None
    #: The resource versions that lists were last read at, by path.
    _versions: dict[str, str] = field(default_factory=dict, repr=False)
    _sample: itertools.count[int] = field(default_factory=itertools.count, repr=False)

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list. Raises ParseError where the answer is none."""
        reply = self.inner.run(Read(step="setup", sample=next(self._sample), path=path))
        try:
            listed = json.loads(reply.stdout)
            found: list[dict[str, Any]] = listed["items"] or []
            self._versions[path] = listed.get("metadata", {}).get("resourceVersion", "")
        except (ValueError, KeyError, TypeError) as error:
            raise ParseError("the API server", f"not a list ({error})", excerpt=reply.text) from None
        return found

    def mine(self, path: str) -> list[dict[str, Any]]:
        """The objects of a list in the lab's namespace: `path` is `/api/v1 services` and the like."""
        return self.items(self._mine(path))

    def change(self, watched: str, limit_s: float) -> bool:
        """Wait until something of a list of the lab's namespace has changed since it was read, if the arm can tell."""
        path = self._mine(watched)
        since = self._versions.get(path, "")
        if not (since and isinstance(self.inner, Watcher)):
            return False
        self.inner.await_change(path, since, limit_s)
        return True

    def _mine(self, path: str) -> str:
        prefix, plural = path.split()
        return f"{prefix}/namespaces/{self.namespace}/{plural}"

    def run(self, target: str, argv: Sequence[str]) -> Reply:
        """Run a command; how it ended is up to who asks."""
        return self.inner.run(Exec(step="setup", sample=next(self._sample), target=target, argv=tuple(argv)))

    def logs(self, target: str, tail: int) -> Reply:
        """The last lines of a container's log."""
        return self.inner.run(Logs(step="setup", sample=next(self._sample), target=target, tail=tail))


def until(
    view: View,
    lacking: Callable[[], str],
    limit_s: float,
    *,
    awaited: str,
    why: Callable[[], str] = lambda: "",
    watched: str = "",
) -> float:
    """Poll until nothing is lacking; how many seconds that took.

    `lacking` says in words what is not there yet, and is empty when all is; `watched` is a list of the lab's
    namespace that changes when it comes about. Raises NotReady at the limit, with
    what was awaited, what was lacking and `why`, and ConnectionLost where the arm is being closed.
    """
    began, pause = time.monotonic(), FIRST_S
    while True:
        asked = time.monotonic()
        if view.stopped():
            raise ConnectionLost("the arm is being closed", Read(step="setup", path="/version"))
        try:
            lacks = lacking()
        except ConnectionLost as lost:  # it may restart; the limit holds all the same
            lacks = str(lost)
        now = time.monotonic()
        if not lacks:
            return now - began
        if now - began >= limit_s:
            reason = why()
            raise NotReady(f"waited {limit_s:.0f} s for {awaited}: {lacks}{f'. {reason}' if reason else ''}")
        left = max(0.0, limit_s - (now - began))
        if not (watched and view.change(watched, min(LONGEST_S, left))):
            view.inner.wait(min(max(pause, (now - asked) / 2), left))
        else:
            view.inner.wait(min(max(CHANGES_S, (now - asked) / 2), left))
        pause = min(pause * GROWTH, LONGEST_S)
