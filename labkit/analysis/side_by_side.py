"""Arms beside each other: one row a question, one column an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["side_by_side"]


def side_by_side(frame: pd.DataFrame, question: str, value: str, *keep: str) -> pd.DataFrame:
    """`frame` has a row for each arm and question. Gives a row a question, in order of first appearance,
    with a column for each arm (in order of first appearance) and then the columns `keep` of its first row.
    """
    arms = list(dict.fromkeys(frame["arm"]))
    first = frame.drop_duplicates(question).set_index(question)
    wide = frame.pivot_table(
        index=question, columns="arm", values=value, aggfunc="first", sort=False, dropna=False
    )
    wide = wide.reindex(index=first.index, columns=arms)
    wide.columns.name = None
    return wide.join(first[list(keep)]).reset_index()
