"""What differs between two readings of an arm, or between two arms: row by row, under names that both share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.state_diff import STATE_DIFF, aliases, diff_states
from labkit.collect.gather import Collector
from labkit.explain.state import read

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["diff_arms", "diff_steps"]


def _steps(cluster: Cluster, before: str = "baseline", after: str = "capture") -> pd.DataFrame:
    """From one step of an arm to another. Who is who is known by the state at rest, where a step does not say."""
    rest, old, new = (read(cluster.at(step)) for step in ("baseline", before, after))
    return diff_states(
        old, new, names=(aliases(rest.changed(**old.frames)), aliases(rest.changed(**new.frames)))
    )


#: A collector: `lab.each(diff_steps, after="policy-deny-all")`. A frame that one step does not hold is left out.
diff_steps = Collector(_steps, STATE_DIFF)


def diff_arms(before: Cluster, after: Cluster) -> pd.DataFrame:
    """From one arm to another, each in its step: frame STATE_DIFF. A frame that one of them lacks is left out."""
    old, new = read(before), read(after)
    return diff_states(old, new, names=(aliases(old), aliases(new)))
