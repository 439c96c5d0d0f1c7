"""What was done so far, on disk: enough to continue after a kill, and nothing secret.

Written before each request that creates something, so what may exist is always known. What does exist is
Azure's to say: the state is never trusted over it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.errors import ProvisionError
from labkit.provision.files import write

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.provision.plan import Plan

__all__ = ["State"]

FORMAT = 1


@dataclass(slots=True)
class State:
    """`about` is what holds for the whole run, `arms` what is known of each arm."""

    folder: Path
    about: dict[str, Any] = field(default_factory=dict)
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, plan: Plan) -> State:
        """The state in a folder, or a new one. Raises ProvisionError for the state of another plan."""
        mine = {
            "format": FORMAT,
            "name": plan.name,
            "provider": plan.provider,
            "owner": plan.owner,
            "subscription": fingerprint(plan.subscription),
        }
        path = folder / "state.json"
        if not path.is_file():
            return cls(folder, mine)
        try:
            told = json.loads(path.read_bytes())
            state = cls(folder, dict(told["about"]), {name: dict(arm) for name, arm in told["arms"].items()})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProvisionError(
                f"{path} cannot be read ({error}); move it away: Azure is asked what exists"
            ) from None
        for key, value in mine.items():
            if state.about.get(key) != value:
                raise ProvisionError(
                    f"{path} is of another plan: its {key} is {state.about.get(key)!r}, that of the plan "
                    f"{value!r}; take that run down first, or name another folder with --folder"
                )
        return state

    @property
    def kubeconfig(self) -> Path:
        """Where the credentials of this run go."""
        return self.folder / "kubeconfig"

    def note(self, arm: str = "", **facts: Any) -> None:  # noqa: ANN401  (whatever JSON holds)
        """Remember facts of an arm, or of the whole run, on disk before this returns."""
        (self.arms.setdefault(arm, {}) if arm else self.about).update(facts)
        document = {"about": self.about, "arms": self.arms}
        write(self.folder / "state.json", (json.dumps(document, indent=1) + "\n").encode())


def fingerprint(subscription: str) -> str:
    """Tells subscriptions apart without naming them."""
    return hashlib.sha256(subscription.lower().encode()).hexdigest()[:12] if subscription else ""
