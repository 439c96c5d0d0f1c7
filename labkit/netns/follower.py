"""What is told of changes: it gets the whole state of the kinds it cares for, a moment after they changed."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from labkit.errors import LabError
from labkit.netns.store import Expired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labkit.netns.store import Item, Store

__all__ = ["Follower"]

log = logging.getLogger(__name__)

#: After a change the next one is waited for so long, and for all of them together not longer, or as long as the
#: last call took, with a limit: with thousands of Services it takes seconds.
QUIET_S, LONGEST_S, REST_S = 0.02, 0.1, 2.0
LOOK_S = 0.2
#: After a failure it is tried again.
AGAIN_S = 1.0


class Follower:
    """Calls `work` with all objects of these kinds, in a thread, until it is closed.

    `seen` is the last change that has been worked in.
    """

    def __init__(
        self,
        store: Store,
        kinds: Sequence[str],
        work: Callable[[Mapping[str, Sequence[Item]]], None],
        name: str,
    ) -> None:
        self._store, self._kinds, self._work = store, kinds, work
        self.name, self.seen, self._failure = name, 0, ""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str:
        """What the last call raised; empty where it did not."""
        ended = not self._thread.is_alive() and not self._closed
        return "its thread has ended; the log says why" if ended else self._failure

    def close(self) -> None:
        """Follow no more; what is being worked on is ended first."""
        self._closed = True
        self._thread.join()

    def _run(self) -> None:
        dirty, took_s = False, 0.0
        while not self._closed:
            version, changed = self._changed(self.seen, LOOK_S)
            if changed:
                version = self._gathered(version, max(LONGEST_S, min(took_s, REST_S)))
            if changed or dirty:
                began = time.monotonic()
                dirty = not self._done()
                took_s = time.monotonic() - began
                if dirty:
                    time.sleep(AGAIN_S)
            self.seen = version

    def _changed(self, since: int, timeout_s: float) -> tuple[int, bool]:
        """The number of the last change, and whether any since then is of a kind that matters."""
        try:
            changes = self._store.watch(since, timeout_s)
        except Expired:
            return self._store.version, True
        if not changes:
            return since, False
        return changes[-1].version, any(change.item["kind"] in self._kinds for change in changes)

    def _gathered(self, version: int, longest_s: float) -> int:
        """Wait until changes pause; the number of the last one."""
        end = time.monotonic() + longest_s
        while time.monotonic() < end and not self._closed:
            time.sleep(QUIET_S)
            last, changed = self._changed(version, 0)
            version = last
            if not changed:
                break
        return version

    def _done(self) -> bool:
        try:
            self._work({kind: self._store.list(kind) for kind in self._kinds})
        except LabError as error:
            log.warning("%s: %s", self.name, error)
            self._failure = str(error)
            return False
        self._failure = ""
        return True
