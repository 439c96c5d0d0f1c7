"""`sysctl NAME …`: settings of the kernel. Format: sysctl(8), lines `name = value`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SETTINGS", "settings"]

SETTINGS = Schema("sysctl", "Settings of the kernel.", key=("name",), columns=(
    Column("name", "str", "such as net.ipv4.ip_forward"),
    Column("value", "str", "value as it is printed; several are separated by blanks"),
))  # fmt: skip


def settings(data: bytes) -> pd.DataFrame:
    """Frame SETTINGS. A setting that the kernel lacks goes to stderr and has no row. Raises ParseError."""
    rows = []
    for number, line in enumerate(text_of("sysctl", data).splitlines(), 1):
        name, sign, value = line.partition(" = ")
        if not sign or not name or " " in name:
            raise ParseError("sysctl", "not a setting", line=number, excerpt=line)
        rows.append({"name": name, "value": " ".join(value.split())})
    return SETTINGS.frame(rows)
