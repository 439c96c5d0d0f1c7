"""What the API wants, against what is programmed on each node of an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.audit import AUDIT
from labkit.analysis.audit import audit as compare
from labkit.collect.gather import Collector
from labkit.explain.state import read

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["audit"]


def _audit(cluster: Cluster) -> pd.DataFrame:
    """Every entry that a node should have or has, in the arm's step."""
    return compare(read(cluster))


#: A collector: `lab.each(audit)`.
audit = Collector(_audit, AUDIT)
