"""Declared frames: name, key, and for each column its dtype, unit and meaning.

One row is one observation. A frame is built from its declaration, so an empty answer still has every
column, in order, with its dtype. Missing is NA, zero is a measurement. Units are part of the name.

>>> NEIGHBOURS = Schema("neighbours", "The neighbour table of a node.", key=("node", "dst_ip"), columns=(
...     Column("node", "str", "the node it was read on"),
...     Column("dst_ip", "str", "the neighbour's address"),
... ))
>>> NEIGHBOURS.frame([{"node": "n0", "dst_ip": "10.0.0.1"}]).columns.tolist()
['node', 'dst_ip']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from labkit.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["REPLY", "UNITS", "Column", "Dtype", "Schema", "concat"]

Dtype = Literal[
    "str", "category", "Int16", "Int32", "Int64", "UInt64", "float64", "boolean", "datetime64[us, UTC]"
]

#: Unit suffixes of column names. A column with none of them is a count, a ratio or a name.
UNITS = {
    "_us": "microseconds",
    "_s": "seconds",
    "_bps": "bits a second",
    "_bytes": "bytes",
    "_pps": "packets a second",
    "_pct": "percent",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name (with the unit's suffix), dtype and one line of meaning."""

    name: str
    dtype: Dtype
    meaning: str

    @property
    def unit(self) -> str:
        """The unit that the name's suffix stands for; empty for a count or a name."""
        return next((unit for suffix, unit in UNITS.items() if self.name.endswith(suffix)), "")


#: Where a row comes from: the id of the reply, within the recording of its arm.
REPLY = Column("reply", "str", "id of the reply it was read from")


@dataclass(frozen=True, slots=True)
class Schema:
    """A declared frame. Rows are sorted by `key`; the index is a plain range."""

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """The column names, in order."""
        return [column.name for column in self.columns]

    def empty(self) -> pd.DataFrame:
        """No rows, every column."""
        return self.frame([])

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Rows as a frame with exactly the declared columns, sorted by the key.

        Raises SchemaError where a row has a column that is not declared, lacks one, or holds a value
        that is not of its dtype.
        """
        import pandas as pd  # noqa: PLC0415  (import labkit must stay fast)

        rows = list(rows)
        names = set(self.names)
        for row in rows:
            if row.keys() != names:
                raise SchemaError(
                    f"{self.name}: a row with columns {sorted(row)}; declared are {sorted(names)}"
                )
        try:
            data = {c.name: _array([row[c.name] for row in rows], c.dtype) for c in self.columns}
        except (TypeError, ValueError) as error:
            raise SchemaError(f"{self.name}: {error}") from None
        frame = pd.DataFrame(data, copy=False)
        if not self.key or len(frame) < 2:
            return frame
        return frame.sort_values(list(self.key), kind="stable", ignore_index=True)


def _array(values: list[Any], dtype: Dtype) -> Any:  # noqa: ANN401  (of numpy or of pandas)
    """Values as a column. Floats by numpy, which is ten times as fast where there are thousands of frames."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    return np.array(values, dtype=float) if dtype == "float64" else pd.array(values, dtype=dtype)


def concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Frames of one shape under each other, with a plain index. Empty ones keep their dtypes."""
    import pandas as pd  # noqa: PLC0415

    return pd.concat(list(frames), ignore_index=True)
