"""What differs between two readings of an arm, or between arms: row by row, under names that both share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.state_diff import STATE_DIFF, diff_states
from labkit.collect.gather import Collector
from labkit.errors import MissingFeature
from labkit.explain.state import read
from labkit.schema import concat

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["diff_arms", "diff_steps"]


def _steps(cluster: Cluster, before: str = "baseline", after: str = "capture") -> pd.DataFrame:
    """From one step of an arm to another. Who is who is known by the state at rest, where a step does not say."""
    rest, old, new = (read(cluster.at(step)) for step in ("baseline", before, after))
    for step, state in ((before, old), (after, new)):
        if not state.frames:
            raise MissingFeature(cluster.arm, f"nothing was read in step {step}")
    return diff_states(old, new, (rest.changed(**old.frames), rest.changed(**new.frames)))


#: A collector: `lab.each(diff_steps, after="policy-deny-all")`. A frame that one step does not hold is left out.
diff_steps = Collector(_steps, STATE_DIFF)


def diff_arms(arms: Iterable[Cluster]) -> pd.DataFrame:
    """From the first arm to each of the others, in their steps: frame STATE_DIFF with `before_arm` and `arm`.

    A frame that one of the two lacks is left out. Of one arm alone there are no rows.
    """
    first, *others = arms
    old = read(first)
    found = [STATE_DIFF.empty().assign(arm="")]
    for other in others:
        new = read(other)
        found.append(diff_states(old, new).assign(arm=other.arm))
    whole = concat(found).astype({"arm": "str"})
    whole.insert(0, "before_arm", first.arm)
    return whole.astype({"before_arm": "str"})[["before_arm", "arm", *STATE_DIFF.names]]
