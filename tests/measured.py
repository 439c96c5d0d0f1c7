"""Frames of the recorded measurements, read once for all tests: a replay always says the same."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from labkit.schema import concat
from tests.conftest import RECORDINGS, arm

if TYPE_CHECKING:
    import pandas as pd

    from labkit.collect.gather import Collector


@cache
def read(name: str, collector: Collector[...]) -> pd.DataFrame:
    """What a recording answers."""
    return collector(arm(name))


def each(collector: Collector[...]) -> pd.DataFrame:
    """What all recordings answer, with a column `arm`, as `Lab.each` gives it."""
    return concat(read(name, collector).assign(arm=name) for name in RECORDINGS)
