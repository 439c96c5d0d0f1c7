"""Arms beside each other: one row a question, one column an arm."""

from __future__ import annotations

import pandas as pd

__all__ = ["parity", "side_by_side"]


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


def parity(facts: pd.DataFrame) -> pd.DataFrame:
    """Which facts differ between arms, of frame PARITY_FACTS with a column `arm`.

    `status` is `same`, `expected` (they differ because the arms do) or `DIFFERS`: then a difference between
    the arms may come from this instead of the dataplane. One arm alone has nothing to differ from.
    """
    wide = side_by_side(facts, "fact", "value", "expected", "why_it_matters")
    arms = list(dict.fromkeys(facts["arm"]))
    values = wide[arms].fillna("")
    different = values.ne(values[arms[0]], axis=0).any(axis=1)
    status = pd.Series("same", index=wide.index, dtype="str")
    status = status.mask(different & wide["expected"].astype(bool), "expected")
    status = status.mask(different & ~wide["expected"].astype(bool), "DIFFERS")
    wide.insert(1, "status", status)
    order = wide["status"].map({"DIFFERS": 0, "expected": 1, "same": 2})
    return wide.drop(columns="expected").iloc[order.argsort(kind="stable")].reset_index(drop=True)
