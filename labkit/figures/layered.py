"""The order of a directed graph's boxes in columns: callers left of what they call, few crossings.

After Sugiyama, Tagawa and Toda (1981): cycles are opened by taking first what nobody left calls, or else
what has most callees over callers (Eades, Lin and Smyth 1993); columns are longest paths; a long edge has
a place in every column that it crosses; and each column is sorted by the mean place of its neighbours.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Edge", "Slot", "layered"]

SWEEPS = 12

Edge = tuple[str, str]
#: A place in a column: the name of a box, or an edge that crosses the column between boxes.
Slot = str | Edge


def layered(edges: Iterable[Edge]) -> list[list[Slot]]:
    """The columns from left to right, each from top to bottom, for edges (caller, callee)."""
    unique = sorted(set(edges))
    column = _columns(unique)
    places: list[list[Slot]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name in sorted(column, key=lambda n: ("/" not in n, n)):  # pods before what is no pod
        places[column[name]].append(name)
    links: set[tuple[int, Slot, Slot]] = set()
    for edge in unique:
        left, right = sorted(edge, key=column.__getitem__)
        chain: list[Slot] = [left, *[edge] * (column[right] - column[left] - 1), right]
        for number, (here, there) in enumerate(pairwise(chain), column[left]):
            links.add((number, here, there))
            if there == edge:
                places[number + 1].append(edge)
    for sweep in range(SWEEPS):
        _sort(places, links, rightwards=sweep % 2 == 0)
    return places


def _columns(edges: list[Edge]) -> dict[str, int]:
    left = {name for edge in edges for name in edge}
    order: dict[str, int] = {}
    while left:
        inside = [(a, b) for a, b in edges if a in left and b in left]
        called = {b for _, b in inside}
        surplus = {n: sum((a == n) - (b == n) for a, b in inside) for n in left}
        first = min(left, key=lambda n, c=called, s=surplus: (n in c, -s[n], n))  # type: ignore[misc]
        order[first] = len(order)
        left.remove(first)
    column = dict.fromkeys(order, 0)
    for caller in order:
        for a, b in edges:
            if a == caller and order[a] < order[b]:
                column[b] = max(column[b], column[a] + 1)
    return column


def _sort(places: list[list[Slot]], links: set[tuple[int, Slot, Slot]], *, rightwards: bool) -> None:
    numbers = range(1, len(places)) if rightwards else range(len(places) - 2, -1, -1)
    for number in numbers:
        beside = places[number - 1 if rightwards else number + 1]
        at = {slot: i - (len(beside) - 1) / 2 for i, slot in enumerate(beside)}
        mean = {}
        for i, slot in enumerate(places[number]):
            found = [
                at[here] if rightwards else at[there]
                for n, here, there in links
                if (rightwards and n == number - 1 and there == slot)
                or (not rightwards and n == number and here == slot)
            ]
            mean[slot] = sum(found) / len(found) if found else i - (len(places[number]) - 1) / 2
        places[number].sort(key=mean.__getitem__)
