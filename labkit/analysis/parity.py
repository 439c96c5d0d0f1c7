"""The parity gate: arms are compared field by field, and a difference stops a measurement unless it is allowed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from labkit.analysis.side_by_side import side_by_side
from labkit.errors import ParameterError, ParityError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["blocking", "gate", "require"]

ORDER = {"blocking": 0, "allowed": 1, "same": 2}


def gate(facts: pd.DataFrame, allow: Iterable[str] = ()) -> pd.DataFrame:
    """Facts of arms beside each other: `fact`, `status`, a column for each arm, `allowed_by`, `why_it_matters`.

    `facts` has the columns arm, fact, value, expected and why_it_matters, of any number of sources under
    each other; a fact that two sources tell of an arm is taken from the first. `status` is `same`, `allowed` (`allowed_by` says by whom: arms are made to differ in it, or
    --allow) or `blocking`. A fact that only some arms have is a difference. `allow` names facts; case and
    punctuation do not count. Raises ParameterError for a name that is no fact, since it would allow nothing.
    """
    wide = side_by_side(facts, "fact", "value", "expected", "why_it_matters")
    arms = list(dict.fromkeys(facts["arm"]))
    names = {_plain(fact): fact for fact in wide["fact"]}
    unknown = [name for name in allow if _plain(name) not in names]
    if unknown:
        raise ParameterError(
            f"--allow {unknown[0]!r} is no fact of the parity gate; those are: {', '.join(names)}"
        )
    named = wide["fact"].isin([names[_plain(name)] for name in allow])
    values = wide[arms].fillna("")
    differs = values.ne(values[arms[0]], axis=0).any(axis=1) if arms else pd.Series(dtype=bool)
    by = pd.Series("", index=wide.index, dtype="str")
    by = by.mask(differs & named, "--allow").mask(
        differs & wide["expected"].astype(bool), "the arms differ in it"
    )
    status = pd.Series("same", index=wide.index, dtype="str")
    status = status.mask(differs, "blocking").mask(by != "", "allowed")
    wide.insert(1, "status", status)
    wide.insert(len(wide.columns) - 1, "allowed_by", by)
    order = wide["status"].map(ORDER).argsort(kind="stable")
    return wide.drop(columns="expected").iloc[order].reset_index(drop=True)


def blocking(gated: pd.DataFrame) -> list[str]:
    """The facts that block."""
    return gated.loc[gated["status"] == "blocking", "fact"].tolist()


def require(gated: pd.DataFrame) -> pd.DataFrame:
    """The table again, where nothing blocks. Raises ParityError, which names what does."""
    if fields := blocking(gated):
        raise ParityError(fields)
    return gated


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
