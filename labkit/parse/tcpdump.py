"""`tcpdump`'s own report on stderr: what it listened on, and how many packets it got and lost.

Format: `tcpdump.c` of https://github.com/the-tcpdump-group/tcpdump (its function `info` prints the counts). Without
the counts a capture cannot be called complete, so their absence is a ParseError.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["REPORT", "report"]

TOOL = "tcpdump"

REPORT = Schema("tcpdump_report", "What tcpdump says of one capture.", key=(), columns=(
    Column("listened_on", "str", "the interface it was told to capture on; `any` is all of them"),
    Column("snap_bytes", "Int64", "most bytes kept of a packet"),
    Column("captured", "Int64", "packets it read and wrote"),
    Column("received", "Int64", "packets the kernel counted for it, read or not; it counts those on loopback twice"),
    Column("dropped", "Int64", "packets the kernel threw away because the buffer was full"),
))  # fmt: skip

LISTENING = re.compile(
    r"listening on (?P<interface>[^\s,]+), link-type .*, (?:snapshot length|capture size) (?P<snap>\d+) bytes"
)


def report(stderr: bytes) -> pd.DataFrame:
    """The report of one capture: frame REPORT, one row. Raises ParseError where a part of it is missing."""
    text = text_of(TOOL, stderr)
    listening = LISTENING.search(text)
    if listening is None:
        raise ParseError(TOOL, "no line 'listening on ...'", excerpt=text)
    return REPORT.frame([{
        "listened_on": listening["interface"],
        "snap_bytes": int(listening["snap"]),
        "captured": _count(text, "captured"),
        "received": _count(text, "received by filter"),
        "dropped": _count(text, "dropped by kernel"),
    }])  # fmt: skip


def _count(text: str, what: str) -> int:
    found = re.search(rf"^(\d+) packets? {what}$", text, re.MULTILINE)
    if found is None:
        raise ParseError(TOOL, f"no count of packets {what}", excerpt=text[-120:])
    return int(found[1])
