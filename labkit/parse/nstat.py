"""`nstat -az`: the kernel's SNMP counters of one network namespace.

Lines of name, value and rate below `#kernel` (iproute2, misc/nstat.c; counters of `/proc/net/snmp`,
`/proc/net/snmp6` and `/proc/net/netstat`). With `-a` the value is absolute: since the namespace was made, or
for the node since it booted. The rate is an average of nstat's own history, which a single run has not; it
is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COUNTERS", "counters"]

TOOL = "nstat"

COUNTERS = Schema("nstat", "The kernel's protocol counters.", key=("counter",), columns=(
    Column("counter", "str", "name: protocol and counter in one word, such as IpForwDatagrams"),
    Column("value", "UInt64", "its value since the start"),
))  # fmt: skip


def counters(data: bytes) -> pd.DataFrame:
    """Every counter: frame COUNTERS.

    Raises ParseError where there is none, since the kernel always has counters and `-z` prints zeros too.
    """
    lines = text_of(TOOL, data).splitlines()
    if not lines or not lines[0].startswith("#"):
        raise ParseError(TOOL, "no heading `#kernel`", line=1, excerpt=lines[0] if lines else "")
    rows = [_counter(number, line) for number, line in enumerate(lines[1:], 2)]
    if not rows:
        raise ParseError(TOOL, "no counters")
    return COUNTERS.frame(rows)


def _counter(number: int, line: str) -> dict[str, str | int]:
    try:
        name, value, rate = line.split()
        float(rate)
        return {"counter": name, "value": int(value)}
    except ValueError:
        raise ParseError(TOOL, "no name, value and rate", line=number, excerpt=line) from None
