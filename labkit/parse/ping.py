"""`ping` of iputils: the summary and the single echo replies.

Format: `ping_common.c` of https://github.com/iputils/iputils (`gather_statistics` prints the replies,
`finish` the summary). Times are printed in milliseconds and become microseconds here. What the sender's
own kernel refuses ("local error: message too long") goes to stderr; in the summary it counts as an error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["ECHOES", "SUMMARY", "echoes", "summary"]

TOOL = "ping"

SUMMARY = Schema("ping_summary", "One run of ping.", key=("dst_ip", "payload_bytes"), columns=(
    Column("dst_ip", "str", "address that was pinged"),
    Column("payload_bytes", "Int64", "ICMP payload; 28 bytes of ICMP and IPv4 headers come on top"),
    Column("sent", "Int64", "echo requests that were sent, or tried to be"),
    Column("received", "Int64", "echo replies, without duplicates"),
    Column("duplicates", "Int64", "further replies to the same request"),
    Column("errors", "Int64", "ICMP errors that came back, and requests that the own kernel refused"),
    Column("loss_pct", "float64", "share of requests without a reply"),
    Column("min_us", "float64", "shortest round trip; NA where no reply came"),
    Column("avg_us", "float64", "mean round trip; NA where no reply came"),
    Column("max_us", "float64", "longest round trip; NA where no reply came"),
    Column("mdev_us", "float64", "standard deviation of the round trips; NA where no reply came"),
))  # fmt: skip

ECHOES = Schema("ping_echoes", "Echo replies of one run of ping, one row a reply.", key=("seq",), columns=(
    Column("seq", "Int64", "sequence number, from 1"),
    Column("ttl", "Int64", "hops left when the reply arrived"),
    Column("rtt_us", "float64", "round-trip time; from 1 ms on, ping prints three digits of it"),
    Column("duplicate", "boolean", "a further reply to a request that was answered before"),
))  # fmt: skip

HEAD = re.compile(
    r"PING \S+ ?\((?P<ip>[^)\s]+)\)(?: from [^:]+:)? (?P<payload>\d+)(?:\(\d+\) bytes of data\.| data bytes)$"
)
ECHO = re.compile(
    r"\d+ bytes from .+: icmp_seq=(?P<seq>\d+) ttl=(?P<ttl>\d+) time=(?P<ms>[\d.]+) ms(?P<dup> \(DUP!\))?$"
)
ERROR = re.compile(r"From .+ icmp_seq=\d+ \S.*$")
LATE = re.compile(r"no answer yet for icmp_seq=\d+$")
PIPE = re.compile(r"pipe \d+$")
RULE = re.compile(r"--- .+ ping statistics ---$")
COUNTS = re.compile(
    r"(?P<sent>\d+) packets transmitted, (?P<received>\d+) received"
    r"(?:, \+(?P<duplicates>\d+) duplicates)?(?:, \+\d+ corrupted)?(?:, \+(?P<errors>\d+) errors)?"
    r", (?P<loss>[\d.]+)% packet loss, time \d+ms$"
)
TIMES = re.compile(
    r"rtt min/avg/max/mdev = (?P<min>[\d.]+)/(?P<avg>[\d.]+)/(?P<max>[\d.]+)/(?P<mdev>[\d.]+) ms"
    r"(?:, pipe \d+)?(?:, ipg/ewma [\d.]+/[\d.]+ ms)?$"
)


def summary(data: bytes) -> pd.DataFrame:
    """What ping says of the whole run: frame SUMMARY, one row. Raises ParseError where it is not complete."""
    lines = _lines(data)
    head, counts = _only(HEAD, lines, "the line PING ..."), _only(COUNTS, lines, "a line of statistics")
    received = int(counts["received"])
    times = _only(TIMES, lines, "a line rtt min/avg/max/mdev") if received else None
    return SUMMARY.frame([{
        "dst_ip": head["ip"],
        "payload_bytes": int(head["payload"]),
        "sent": int(counts["sent"]),
        "received": received,
        "duplicates": int(counts["duplicates"] or 0),
        "errors": int(counts["errors"] or 0),
        "loss_pct": float(counts["loss"]),
        **{f"{name}_us": times and _us(times[name]) for name in ("min", "avg", "max", "mdev")},
    }])  # fmt: skip


def echoes(data: bytes) -> pd.DataFrame:
    """Each reply that came: frame ECHOES, without rows where none did.

    A request without a reply has no row; `summary` counts it. Raises ParseError where the run is not
    complete, or where its summary counts other replies than are listed (as with `ping -q`).
    """
    lines = _lines(data)
    counts = _only(COUNTS, lines, "a line of statistics")
    frame = ECHOES.frame(
        {"seq": int(m["seq"]), "ttl": int(m["ttl"]), "rtt_us": _us(m["ms"]), "duplicate": bool(m["dup"])}
        for m in _matches(ECHO, lines)
    )
    first = int((~frame["duplicate"]).sum())
    if first != int(counts["received"]):
        raise ParseError(TOOL, f"{first} replies are listed, the summary counts {counts['received']}")
    return frame


def _lines(data: bytes) -> list[str]:
    lines = [line.rstrip() for line in text_of(TOOL, data).splitlines()]
    if not any(lines):
        raise ParseError(TOOL, "empty output")
    for number, line in enumerate(lines, 1):
        if line and not any(
            known.match(line) for known in (ECHO, HEAD, RULE, COUNTS, TIMES, PIPE, ERROR, LATE)
        ):
            raise ParseError(TOOL, "not a line of ping", line=number, excerpt=line)
    return lines


def _matches(pattern: re.Pattern[str], lines: list[str]) -> Iterator[re.Match[str]]:
    return (match for line in lines if (match := pattern.match(line)))


def _only(pattern: re.Pattern[str], lines: list[str], what: str) -> re.Match[str]:
    found = list(_matches(pattern, lines))
    if len(found) != 1:
        raise ParseError(TOOL, f"{len(found)} times {what}, where one was expected", excerpt=lines[-1])
    return found[0]


def _us(milliseconds: str) -> float:
    return round(float(milliseconds) * 1000, 3)
