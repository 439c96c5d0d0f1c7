"""Arms measured in turns: every scenario on every arm within seconds, in an order that is drawn.

`in_turns(arms)` asks; what came of it is read arm by arm (`trials`, `samples`, `cpu_times`). The replies are in
the recordings of the arms, so an interrupted run asks only what is missing, and a replay asks nothing.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from labkit.collect.plan import Plan
from labkit.errors import MissingFeature, NotReady, ReplayMiss, RequestError
from labkit.exec.executor import Listener
from labkit.measure.asking import ask, capacity
from labkit.measure.design import Design, Scenario
from labkit.measure.pairs import pairs
from labkit.measure.schedule import schedule
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.measure.asking import Trial
    from labkit.measure.pairs import Pair
    from labkit.measure.schedule import Turn

__all__ = ["MEASURED", "design_of", "in_turns", "replies"]

MEASURED = Schema("measured", "How arms were measured in turns.", key=(), columns=(
    Column("arm", "str", "the arm"),
    Column("rounds", "Int64", "rounds that count; NA where it was not measured"),
    Column("pairs", "Int64", "pairs of nodes"),
    Column("scenarios", "Int64", "scenarios, each twice a round"),
    Column("trials", "Int64", "commands that measured, with the warm-up"),
    Column("failed", "Int64", "those without a result"),
    Column("precise", "Int64", "scenarios whose median is known as precisely as was wanted"),
    Column("wanted_pct", "float64", "that: half the 95 % interval of the median"),
    Column("ended", "str", "why it ended, or why it was not measured"),
))  # fmt: skip
#: What an arm remembers of its turns.
KEY = "measured in turns"
#: Said of an arm that was not, by itself and by its replay.
NOT_MEASURED = "not measured in turns: in_turns measures arms together"
#: Seconds between words about progress.
SAY_S = 10.0


@dataclass(frozen=True, slots=True)
class _Arm:
    """One arm that is measured."""

    cluster: Cluster
    design: Design
    pairs: Mapping[str, Pair]


def design_of(cluster: Cluster) -> Design:
    """What the arm's header says is measured in turns. Raises MissingFeature where it says nothing."""
    told = Plan.from_about(cluster.about).turns
    if told is None:
        raise MissingFeature(cluster.arm, "recorded without measuring in turns with other arms")
    return Design.from_json(told)


def replies(cluster: Cluster) -> list[Trial]:
    """What was asked of an arm in its turns, in order.

    Of a recording that is read from it. A live arm must have been measured before, together with those it is
    compared with: asking it alone would not be a comparison. Raises MissingFeature where it was not.
    """
    if KEY not in cluster.memo and cluster.source.startswith("replay:"):
        in_turns({cluster.arm: cluster})
    found = cluster.memo.get(KEY)
    if found is None:
        raise MissingFeature(cluster.arm, NOT_MEASURED)
    if isinstance(found, str):
        raise MissingFeature(cluster.arm, found)
    return list(found)


def in_turns(arms: Mapping[str, Cluster]) -> pd.DataFrame:
    """Measure the arms in turns: frame MEASURED, a row an arm.

    Arms that have another design than the first, or lack what is needed, are left out, with the reason in `ended`.
    """
    ready, why = _ready(arms)
    done = _measure(ready) if ready else _Done({}, "")
    for arm, cluster in arms.items():
        cluster.memo[KEY] = why.get(arm) or done.trials[arm]
    return MEASURED.frame(_row(arm, ready.get(arm), done, why.get(arm, "")) for arm in arms)


def _ready(arms: Mapping[str, Cluster]) -> tuple[dict[str, _Arm], dict[str, str]]:
    """The arms that can be measured together, and of the others why not."""
    ready: dict[str, _Arm] = {}
    why: dict[str, str] = {}
    for arm, cluster in arms.items():
        try:
            design = design_of(cluster)
            if ready and design != (first := next(iter(ready.values()))).design:
                why[arm] = f"measured in another way than {first.cluster.arm}"
                continue
            here = cluster.at(design.step)
            ready[arm] = _Arm(here, design, {pair.name: pair for pair in pairs(here, design.pairs)})
        except MissingFeature as missing:
            why[arm] = missing.reason
        except ReplayMiss as miss:
            why[arm] = (
                NOT_MEASURED
                if miss.request.step == design.step
                else f"not recorded: {miss.request.words[:80]}"
            )
        except (RequestError, NotReady) as error:
            why[arm] = f"not answered: {error}"
    return ready, why


@dataclass(slots=True)
class _Done:
    """What came of it: the trials of each arm, and why it ended."""

    trials: dict[str, list[Trial]]
    ended: str


def _measure(ready: Mapping[str, _Arm]) -> _Done:
    design = next(iter(ready.values())).design
    done = _Done(
        {arm: [] for arm in ready},
        f"not precise to {design.precision_pct:g} % after {design.most_rounds} rounds",
    )
    turns = schedule(
        list(ready),
        design.scenarios,
        rounds=design.most_rounds,
        seed=design.seed,
        blocks=ascii_lowercase[: design.pairs],
    )
    progress = _Progress(ready, turns)
    try:
        full = _capacities(ready, design)
        for number, group in itertools.groupby(turns, key=lambda turn: turn.round):
            for turn in group:
                progress.say(turn)
                arm, scenario = ready[turn.arm], Scenario.named(turn.scenario)
                rate = full.get((turn.arm, turn.block, scenario.full_speed), 0) * scenario.load / 100
                done.trials[turn.arm].append(ask(arm.cluster, design, arm.pairs[turn.block], turn, rate))
            if number + 1 >= design.rounds and all(precise(t, design)[0].all() for t in done.trials.values()):
                done.ended = f"precise to {design.precision_pct:g} % after {number + 1} rounds"
                break
    except ReplayMiss as miss:
        done.ended = f"the recording ends here, at {miss.request.words[:60]}: what was measured is a part"
    except RequestError as error:
        done.ended = f"not answered, so what was measured is a part: {error}"
    return done


def _capacities(ready: Mapping[str, _Arm], design: Design) -> dict[tuple[str, str, Scenario], float]:
    """Requests a second at full speed, of what is also asked at a share of it: by arm, pair and scenario."""
    named = [Scenario.named(name) for name in design.scenarios]
    shared = sorted({scenario.full_speed for scenario in named if scenario.load})
    return {
        (name, letter, scenario): capacity(arm.cluster, design, pair, scenario)
        for scenario in shared
        for name, arm in ready.items()
        for letter, pair in arm.pairs.items()
    }


def precise(trials: Sequence[Trial], design: Design) -> tuple[pd.Series, pd.DataFrame]:
    """Whether each median is known as precisely as was wanted, and the table that says so.

    It looks at the width alone and never at a difference, so that ending there leaves the tests as they are.
    """
    import pandas as pd  # noqa: PLC0415  (import labkit must stay fast)

    from labkit.analysis.comparison import precision  # noqa: PLC0415  (scipy)

    counted = [t for t in trials if not t.turn.warm_up]
    rows = [(t.turn.scenario, t.turn.block, t.value) for t in counted]
    frame = pd.DataFrame(rows, columns=["scenario", "pair", "value"])
    table = precision(frame, "value", ["scenario", "pair"], wanted=design.precision_pct / 100)
    return table["reached"], table


def _row(arm: str, ready: _Arm | None, done: _Done, why: str) -> dict[str, Any]:
    if ready is None:
        nothing = dict.fromkeys(("rounds", "pairs", "scenarios", "trials", "failed", "precise", "wanted_pct"))
        return {"arm": arm, **nothing, "ended": why}
    trials, design = done.trials[arm], ready.design
    rounds = {t.turn.round for t in trials if not t.turn.warm_up}
    return {
        "arm": arm,
        "rounds": len(rounds),
        "pairs": design.pairs,
        "scenarios": len(design.scenarios),
        "trials": len(trials),
        "failed": sum(math.isnan(t.value) for t in trials),
        "precise": int(precise(trials, design)[0].sum()) if rounds else 0,
        "wanted_pct": design.precision_pct,
        "ended": done.ended,
    }


class _Progress:
    """Tells whoever watches the arms how far it is and how long it will take."""

    def __init__(self, ready: Mapping[str, _Arm], turns: Sequence[Turn]) -> None:
        self._listeners = [
            a.cluster.executor for a in ready.values() if isinstance(a.cluster.executor, Listener)
        ]
        self._began, self._said, self._turns = time.monotonic(), 0.0, len(turns)

    def say(self, turn: Turn) -> None:
        """What turn it is, once in a while."""
        now = time.monotonic()
        if now - self._said < SAY_S or not self._listeners:
            return
        self._said = now
        left = (now - self._began) / turn.n * (self._turns - turn.n) if turn.n else 0
        at_most = f", at most {left / 60:.0f} min left" if turn.n else ""
        for listener in self._listeners:
            listener.tell(f"measuring in turns: {turn.n} of {self._turns}{at_most}")
