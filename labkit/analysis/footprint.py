"""What the parts of a dataplane take: memory and CPU, of the usage of their containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.slopes import entries_each

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["by_part", "memory_each"]

CONTAINER = ["part", "node", "namespace", "pod", "container", "started_at"]


def by_part(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Memory at the second reading and CPU between both, a row a part and node.

    `before` and `after` are frames of `collect.footprint.usage`, with `arm` if they have it. Columns: `arm`,
    `part`, `node`, `containers`, `working_set_bytes`, `seconds` (between the readings) and `cores` (CPU time a
    second). A container that started in between is counted from its start; `cores` is NA where the kubelet had
    not read the counters anew.
    """
    around = [name for name in ("arm",) if name in after]
    both = after.merge(before[[*around, *CONTAINER, "cpu_at", "cpu_s"]], on=[*around, *CONTAINER], how="left",
                       suffixes=("", "_before"))  # fmt: skip
    began = both["cpu_at_before"].fillna(both["started_at"])
    both["seconds"] = (both["cpu_at"] - began).dt.total_seconds()
    spent = both["cpu_s"] - both["cpu_s_before"].fillna(0.0)
    both["cores"] = (spent / both["seconds"]).where(both["seconds"] > 0)
    groups = both.groupby([*around, "part", "node"], sort=True)
    return groups.agg(
        containers=("container", "size"),
        working_set_bytes=("working_set_bytes", "sum"),
        seconds=("seconds", "max"),
        cores=("cores", lambda column: column.sum(min_count=1)),
    ).reset_index()


def memory_each(memory: pd.DataFrame, size: str = "services") -> pd.DataFrame:
    """The memory of each part with fewest and with most of something, on the node where it takes most.

    `memory` is that of `collect.scaling.memory` with `arm`. Columns: `arm`, `part`, `fewest`, `most` (sizes),
    `fewest_bytes`, `most_bytes`, `each_bytes` (what one more takes).
    """
    held = memory.groupby(["arm", "part", "node", size], sort=False)["working_set_bytes"].sum().reset_index()
    renamed = held.rename(columns={"part": "holds", "working_set_bytes": "entries"})
    names = {
        "holds": "part",
        "entries_fewest": "fewest_bytes",
        "entries_most": "most_bytes",
        "each": "each_bytes",
    }
    return entries_each(renamed, size).rename(columns=names)
