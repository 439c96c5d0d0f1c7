"""Rows of frames as plain dicts: looking up one of thousands in a frame would take longer than explaining."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    import pandas as pd

__all__ = ["Row", "grouped", "rows_of"]

Row = dict[str, Any]


def rows_of(frame: pd.DataFrame | None) -> list[Row]:
    """Rows as plain dicts, missing cells as None."""
    if frame is None:
        return []
    missing, names = frame.isna().to_numpy(), [str(name) for name in frame.columns]
    rows: list[Row] = [
        dict(zip(names, row, strict=True))
        for row in zip(*(frame[name].tolist() for name in names), strict=True)
    ]
    for place, column in zip(*missing.nonzero(), strict=True):
        rows[place][names[column]] = None
    return rows


def grouped(rows: Iterable[Row], column: str) -> dict[Any, list[Row]]:
    found: dict[Hashable, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found
