"""What one look at one thing found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Check", "State"]

#: `ok`: as it should be. `missing`: an arm that was named cannot work without it. `note`: good to know.
State = Literal["ok", "missing", "note"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table of `labkit doctor`.

    `check` is what was looked at, `found` what is there, `remedy` what to do (empty where nothing is),
    `arm` the arm that needs it (empty for the machine itself).
    """

    check: str
    state: State
    found: str
    remedy: str = ""
    arm: str = ""

    def to_json(self) -> dict[str, Any]:
        """The check as plain JSON values."""
        return asdict(self)
