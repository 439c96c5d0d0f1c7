"""`traceroute` and `tracepath`: who answers on the way, and the path's MTU.

Formats: `traceroute/traceroute.c` of https://traceroute.sourceforge.net (2.1) and `tracepath.c` of iputils.
Both send packets that may only pass so many hops. A hop that forwards without answering shows as `*` or
`no reply`: it is there, but it does not say who it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["HOPS", "PATH_MTU", "path_mtu", "tracepath", "traceroute"]

HOPS = Schema("hops", "Hops of a path, one row a probe.", key=("hop", "probe"), columns=(
    Column("hop", "Int64", "hops that the probe was allowed, from 1"),
    Column("probe", "Int64", "number of the probe at this hop, from 1"),
    Column("hop_ip", "str", "who answered; NA where nobody did, or only a name is printed"),
    Column("rtt_us", "float64", "time to the answer; NA without one"),
    Column("note", "str", "!H, !N, !X, … (it could not go on) or pmtu N (a smaller MTU begins); NA without"),
))  # fmt: skip

PATH_MTU = Schema("path_mtu", "What tracepath found, one row.", key=(), columns=(
    Column("mtu", "Int64", "path MTU: the largest packet in bytes that got as far as it looked"),
    Column("reached", "boolean", "the destination answered"),
    Column("hops", "Int64", "hops to the destination; NA where it was not reached"),
    Column("hops_back", "Int64", "hops of the way back, as its TTL tells; NA where it was not reached"),
))  # fmt: skip

ROUTE_HEAD = re.compile(r"traceroute to \S+ \((?P<ip>[^)]+)\), \d+ hops max, \d+ byte packets$")
ROUTE_HOP = re.compile(r" *(?P<hop>\d+) (?P<rest>(?: .+)+)$")
ROUTE_PROBE = re.compile(
    r" +(?:(?P<lost>\*)|(?:(?P<name>[^\s*!]+)(?: \((?P<ip>[^)]+)\))?  )?(?P<ms>[\d.]+) ms)"
    r"(?P<note>(?: ![A-Z0-9<>-]*)?)"
)
PATH_HOP = re.compile(
    r" *(?P<hop>\d+)\??: +(?P<who>no reply|send failed|\S+) *(?:\((?P<ip>[\d.:a-f]+)\) *)?(?:(?P<ms>[\d.]+)ms)?"
    r"(?P<note>(?: +(?:asymm +\d+|pmtu \d+|![A-Z]|reached))*) *$"
)
PATH_END = re.compile(r" +Resume: pmtu (?P<mtu>\d+)(?: hops (?P<hops>\d+))?(?: back (?P<back>\d+))? *$")
PATH_GAVE_UP = re.compile(r" +Too many hops: pmtu \d+$")
ADDRESS = re.compile(r"[\d.]+$|[\da-f]*:[\da-f:.]+$")


def traceroute(data: bytes) -> pd.DataFrame:
    """`traceroute [-n] HOST`: frame HOPS. Raises ParseError."""
    head, *lines = text_of("traceroute", data).splitlines() or [""]
    if ROUTE_HEAD.match(head) is None or not lines:
        raise ParseError("traceroute", "no heading with hops under it", line=1, excerpt=head)
    return HOPS.frame(row for number, line in enumerate(lines, 2) for row in _probes(number, line))


def _probes(number: int, line: str) -> Iterator[dict[str, Any]]:
    """The probes of one line: each names who answered, or means the one before it."""
    at, who, count = 0, None, 0
    found = ROUTE_HOP.match(line)
    while found and at < len(found["rest"].rstrip()):
        probe = ROUTE_PROBE.match(found["rest"], at)
        if probe is None:
            break
        at, count = probe.end(), count + 1
        if probe["name"]:
            who = probe["ip"] or probe["name"]
        yield {
            "hop": int(found["hop"]),
            "probe": count,
            "hop_ip": None if probe["lost"] else who,
            "rtt_us": _us(probe["ms"]),
            "note": probe["note"].strip() or None,
        }
    if found is None or not count or at < len(found["rest"].rstrip()):
        raise ParseError("traceroute", "not a hop", line=number, excerpt=line)


def tracepath(data: bytes) -> pd.DataFrame:
    """`tracepath [-n] HOST`: frame HOPS, without the first line about the sender itself. Raises ParseError."""
    rows: list[dict[str, Any]] = []
    for found in _path_lines(data)[0]:
        if found["who"] == "[LOCALHOST]":
            continue
        hop = int(found["hop"])
        who = found["ip"] or found["who"]
        note = re.sub(r"asymm +\d+|reached", "", found["note"]).strip()
        rows.append({
            "hop": hop,
            "probe": sum(row["hop"] == hop for row in rows) + 1,
            "hop_ip": who if ADDRESS.match(who) else None,
            "rtt_us": _us(found["ms"]),
            "note": "send failed" if who == "send failed" else note or None,
        })  # fmt: skip
    return HOPS.frame(rows)


def path_mtu(data: bytes) -> pd.DataFrame:
    """`tracepath [-n] HOST`: frame PATH_MTU. Raises ParseError."""
    hops, end = _path_lines(data)
    reached = any("reached" in found["note"] for found in hops)
    return PATH_MTU.frame([{
        "mtu": int(end["mtu"]),
        "reached": reached,
        "hops": int(end["hops"]) if reached and end["hops"] else None,
        "hops_back": int(end["back"]) if reached and end["back"] else None,
    }])  # fmt: skip


def _path_lines(data: bytes) -> tuple[list[re.Match[str]], re.Match[str]]:
    """The lines of hops, and the last line."""
    *lines, last = text_of("tracepath", data).splitlines() or [""]
    end = PATH_END.match(last)
    if end is None or not lines:
        raise ParseError("tracepath", "no hops, or no line Resume at its end", excerpt=last)
    hops = []
    for number, line in enumerate(lines, 1):
        found = PATH_HOP.match(line)
        if found is None and PATH_GAVE_UP.match(line) is None:
            raise ParseError("tracepath", "not a hop", line=number, excerpt=line)
        hops += [found] if found else []
    return hops, end


def _us(milliseconds: str | None) -> float | None:
    return None if milliseconds is None else round(float(milliseconds) * 1000, 3)
