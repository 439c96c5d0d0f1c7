"""How often to look, for how long, and whom to tell what is seen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace", "Quiet", "Watch"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Pace:
    """Look every `every_s` seconds, for `limit_s` at most. Tests state their own clock and wait for nothing."""

    every_s: float = 15.0
    limit_s: float = 5400.0
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _now


class Watch(Protocol):
    """Is told what happens to an arm or a resource group: a word for its state, and what is being done to it."""

    def told(self, subject: str, state: str, doing: str) -> None: ...


class Quiet:
    """Listens and says nothing."""

    def told(self, subject: str, state: str, doing: str) -> None:
        """Nothing to do with it."""
