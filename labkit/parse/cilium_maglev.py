"""Maglev lookup tables, of `cilium-dbg bpf lb maglev list -o json`.

One table a service: a hash of the connection picks a slot, and the slot holds the number of a backend.
Printed as `{"[6]/v4": ["[9 8 8 9 …]"]}`. `{}` is what a node without the map prints, too: it means that
Maglev is off only where `status --verbose` says so as well.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.cilium import frame_of
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["MAGLEV", "MAGLEV_TABLES", "maglev", "maglev_tables"]

TOOL = "cilium-dbg bpf lb maglev list"

MAGLEV = Schema("maglev", "Slots of each backend in each table.", key=("service_id", "family", "backend_id"), columns=(
    Column("service_id", "Int64", "number of the frontend on this node"),
    Column("family", "str", "v4 or v6"),
    Column("backend_id", "Int64", "number of the backend on this node"),
    Column("slots", "Int64", "slots that hold the backend"),
    Column("table_size", "Int64", "slots of the table"),
))  # fmt: skip

MAGLEV_TABLES = Schema("maglev_tables", "Lookup tables as they are.", key=("service_id", "family"), columns=(
    Column("service_id", "Int64", "number of the frontend on this node"),
    Column("family", "str", "v4 or v6"),
    Column("table_size", "Int64", "slots of the table"),
    Column("slots", "str", "number of the backend in each slot, comma-separated"),
))  # fmt: skip

NAME = re.compile(r"\[(?P<service>\d+)\]/(?P<family>v[46])")
TABLE = re.compile(r"\[(?:\d+ )*\d+\]")


def maglev(data: bytes) -> pd.DataFrame:
    """How often each backend stands in each table: frame MAGLEV."""
    return frame_of(TOOL, MAGLEV, (
        {"service_id": service, "family": family, "backend_id": int(backend), "slots": count, "table_size": len(table)}
        for service, family, table in _tables(data) for backend, count in Counter(table).items()
    ))  # fmt: skip


def maglev_tables(data: bytes) -> pd.DataFrame:
    """The tables themselves, in order of their slots: frame MAGLEV_TABLES."""
    return frame_of(TOOL, MAGLEV_TABLES, (
        {"service_id": service, "family": family, "table_size": len(table), "slots": ",".join(table)}
        for service, family, table in _tables(data)
    ))  # fmt: skip


def _tables(data: bytes) -> Iterator[tuple[int, str, list[str]]]:
    for name, values in json_object(TOOL, data).items():
        found = NAME.fullmatch(name)
        if found is None:
            raise ParseError(TOOL, "no name of a table such as [6]/v4", excerpt=name)
        yield int(found["service"]), found["family"], _table(name, values)


def _table(name: str, values: Any) -> list[str]:  # noqa: ANN401  (JSON is any of six types)
    if not (isinstance(values, list) and len(values) == 1 and isinstance(values[0], str)):
        raise ParseError(TOOL, f"{name}: one table as a string was expected", excerpt=str(values))
    if TABLE.fullmatch(values[0]) is None:
        raise ParseError(TOOL, f"{name}: no table of backend numbers", excerpt=values[0])
    return values[0][1:-1].split()
