"""The seam: everything that answers requests is an `Executor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from labkit.exec.request import Reply, Request

__all__ = ["Executor", "Listener", "Watcher"]


class Executor(Protocol):
    """Answers requests: live, from a recording, from network namespaces, or wrapped around another."""

    @property
    def about(self) -> dict[str, Any]:
        """The header of format 1: `name`, `origin`, `note`, `recorded_at`, `namespace`, …"""

    def run(self, request: Request) -> Reply:
        """Answer one request. Raises RequestError where there is no answer to give."""

    def wait(self, seconds: float) -> None:
        """Let time pass on the arm; returns at once where time does not pass (a replay)."""

    def close(self) -> None:
        """Free what it holds. Closing twice is no error."""


@runtime_checkable
class Watcher(Protocol):
    """An executor that tells when something of a list changes: whoever waits for that need not ask so often."""

    def await_change(self, path: str, since: str, seconds: float) -> None:
        """Return when the list has changed after this resource version, or this time has passed."""


@runtime_checkable
class Listener(Protocol):
    """An executor that passes on what is being done, to whoever watches."""

    def tell(self, doing: str) -> None:
        """A few words, such as how far a measurement is."""
