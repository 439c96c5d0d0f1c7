"""In which order arms and scenarios are measured: seeded, randomised, interleaved.

A round holds every scenario on every arm, each arm twice (replica 0 and 1: the arm against itself). Scenarios
come in an order drawn anew for each round, and so do the arms and replicas within a scenario: what is compared
is measured within seconds, and no arm comes always first (Abedi and Brecht, ICPE 2017,
doi 10.1145/3030207.3030229: designs that measure one system after the other found equal systems 38 % apart).
The first round is warm-up: carried out, recorded, and left out of every result.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Turn", "schedule"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One command of the schedule. `sample` numbers the turns of a scenario on an arm in one block."""

    n: int
    round: int
    block: str
    scenario: str
    arm: str
    replica: int
    sample: int
    warm_up: bool


def schedule(
    arms: Sequence[str],
    scenarios: Sequence[str],
    *,
    rounds: int,
    seed: int,
    blocks: Sequence[str] = ("0",),
    replicas: int = 2,
    warm_up: int = 1,
) -> list[Turn]:
    """Every turn, in order. The same arguments give the same order, however the arms are ordered; more rounds
    only add turns at the end.

    Raises ParameterError where there is nothing to measure, or something twice.
    """
    for what, names in (("arm", arms), ("scenario", scenarios), ("block", blocks)):
        if not names or len(set(names)) != len(names):
            raise ParameterError(
                f"a schedule needs every {what} once, and at least one; it was given {list(names)}"
            )
    if rounds < 1 or replicas < 1:
        raise ParameterError(f"a schedule needs a round and a replica; it was given {rounds} and {replicas}")
    turns: list[Turn] = []
    for number in range(warm_up + rounds):
        draw = random.Random(f"{seed}/{number}")  # noqa: S311  (an order, no secret); a round's own, so that rounds can be added
        cells = [(block, scenario) for block in blocks for scenario in scenarios]
        draw.shuffle(cells)
        for block, scenario in cells:
            pairs = [(arm, replica) for arm in sorted(arms) for replica in range(replicas)]
            draw.shuffle(pairs)
            turns += [
                Turn(len(turns) + k, number - warm_up, block, scenario, arm, replica, number * replicas + replica, number < warm_up)
                for k, (arm, replica) in enumerate(pairs)
            ]  # fmt: skip
    return turns
