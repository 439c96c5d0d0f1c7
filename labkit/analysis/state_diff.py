"""What changed between two readings of the same kind of state: of two times, or of two arms.

Addresses, pods and devices have other names on another arm. `aliases` gives them names that do not depend on
it (`backend on node 0`), so that rows of the same meaning stand beside each other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.state import World, rows_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from labkit.analysis.paths.state import State

__all__ = ["STATE_DIFF", "aliases", "diff"]

STATE_DIFF = Schema("state_diff", "Rows that two readings do not share.", key=("entry", "column"), columns=(
    Column("entry", "str", "the row: the values of its key"),
    Column("change", "str", "added, removed or changed"),
    Column("column", "str", "the column that changed; NA for a row that was added or removed"),
    Column("before", "str", "its value before, or all values of the row; NA where it was not there"),
    Column("after", "str", "its value after, or all values of the row; NA where it is not there"),
))  # fmt: skip

#: Columns that differ between any two readings: provenance, counters, and what only counts down.
PASSED_BY = (
    "arm", "reply", "step", "packets", "matched_bytes", "timeout_s", "expires_s", "seen_bytes", "reply_packets",
    "reply_bytes", "counted_bytes", "rx_packets", "rx_bytes", "rx_errors", "rx_dropped", "tx_packets", "tx_bytes",
    "tx_errors", "tx_dropped", "ifindex", "peer_ifindex", "peer_netns",
)  # fmt: skip
Row = dict[str, Any]


def aliases(state: State) -> dict[str, str]:
    """Names that mean the same on every arm, by node name, address, range, pod, device and cluster address.

    Pods are called by their label and node, and numbered where that is not enough; nodes by their order.
    """
    world = World(state)
    found: dict[str, str] = {}
    nodes = sorted(world.nodes, key=lambda row: row["node"])
    numbers = {row["node"]: f"node {n}" for n, row in enumerate(nodes)}
    for row in nodes:
        found[row["node"]] = found[row["node_ip"]] = numbers[row["node"]]
        if row["pod_cidr"]:
            found[row["pod_cidr"]] = f"pods of {numbers[row['node']]}"
    seen: dict[str, int] = {}
    for pod in sorted(world.pods.values(), key=lambda row: (row["node"], row["pod"])):
        if pod["host_network"] or not pod["pod_ip"]:
            continue
        name = f"{pod['app'] or pod['pod']} on {numbers[pod['node']]}"
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name} ({seen[name]})"
        found[pod["pod"]] = found[pod["pod_ip"]] = name
        if end := world.host_ends.get(pod["pod"]):
            found[end[0]] = f"device of {name}"
    for row in world.services:
        if row["cluster_ip"]:
            found[row["cluster_ip"]] = f"{row['namespace']}/{row['service']}"
    return found


def diff(
    before: pd.DataFrame,
    after: pd.DataFrame,
    key: Sequence[str],
    *,
    names: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    ignore: Sequence[str] = PASSED_BY,
) -> pd.DataFrame:
    """Rows added, removed and changed from `before` to `after`, two frames with this key: frame STATE_DIFF.

    `names` are the aliases of each side, put in place of what they stand for; `ignore` are columns that are
    not compared. Rows of the same key are compared in the order they come.
    """
    columns = [name for name in after.columns if name not in ignore and name not in key]
    old = _keyed(before, key, columns, names[0])
    new = _keyed(after, key, columns, names[1])
    return STATE_DIFF.frame(_changes(old, new))


def _keyed(
    frame: pd.DataFrame, key: Sequence[str], columns: Sequence[str], names: Mapping[str, str]
) -> dict[str, Row]:
    rename = _renamer(names)
    found: dict[str, Row] = {}
    for row in rows_of(frame):
        own = rename(" ".join(_text(row[name]) for name in key if name in row))
        entry, again = own, 1
        while entry in found:
            again += 1
            entry = f"{own} ({again})"
        found[entry] = {name: rename(_text(row.get(name))) for name in columns}
    return found


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _renamer(names: Mapping[str, str]) -> Any:  # noqa: ANN401  (a function from text to text)
    if not names:
        return str
    longest = sorted(names, key=len, reverse=True)
    pattern = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, longest)) + r")(?![\w.]*\w)")
    return lambda text: pattern.sub(lambda found: names[found[0]], text)


def _changes(old: Mapping[str, Row], new: Mapping[str, Row]) -> Iterator[Row]:
    for entry, row in old.items():
        if entry not in new:
            yield _row(entry, "removed", None, _whole(row), None)
    for entry, row in new.items():
        if entry not in old:
            yield _row(entry, "added", None, None, _whole(row))
            continue
        for name, value in row.items():
            if old[entry].get(name) != value:
                yield _row(entry, "changed", name, old[entry].get(name), value)


def _row(entry: str, change: str, column: str | None, before: str | None, after: str | None) -> Row:
    return {"entry": entry, "change": change, "column": column, "before": before, "after": after}


def _whole(row: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if value)
