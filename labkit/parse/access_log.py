"""Logs of Apache httpd: requests in the common log format, and the server's own notices among them.

Format: https://httpd.apache.org/docs/2.4/logs.html#common, `%h %l %u %t "%r" %>s %b`. A container's log is
its stdout and stderr together, so lines of the error log stand between the requests: those begin with the
time in brackets, or with the number of a message (`AH00558: …`) while the server starts. The first field of
a request is the address that the connection came from, as the server saw it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LOG", "lines"]

TOOL = "Apache httpd"

LOG = Schema("access_log", "Lines of a web server's log.", key=("number",), columns=(
    Column("number", "Int64", "line of the answer"),
    Column("kind", "str", "request, or notice for a line of the server itself"),
    Column("time", "datetime64[us, UTC]", "of a request: when it came, to the second; NA for a notice, whose time has no zone"),
    Column("client_ip", "str", "the address that the connection came from"),
    Column("method", "str", "GET, HEAD, …; NA where the request was not HTTP"),
    Column("path", "str", "the path that was asked for"),
    Column("status", "Int64", "HTTP status of the answer"),
    Column("body_bytes", "Int64", "size of the answer without its header"),
    Column("message", "str", "text of a notice; of a request that was not HTTP, what was sent"),
))  # fmt: skip

REQUEST = re.compile(
    r'(?P<client>[0-9a-fA-F.:]+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" '
    r"(?P<status>\d{3}) (?P<size>\d+|-)"
)
HTTP = re.compile(r"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+")
NOTICE = re.compile(r"\[\w{3} \w{3} +\d+ [\d:.]+ \d{4}\] \[[\w:]+\] .+|AH\d+: .+")


def lines(data: bytes) -> pd.DataFrame:
    """Every line: frame LOG. A server that has written nothing yet has no line.

    Raises ParseError for a line that is neither a request nor a notice, such as half a line.
    """
    found = enumerate(text_of(TOOL, data).split("\n"), 1)
    return LOG.frame(_line(number, line) for number, line in found if line)


def _line(number: int, line: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(LOG.names) | {"number": number}
    if NOTICE.fullmatch(line):
        return row | {"kind": "notice", "message": line}
    request = REQUEST.fullmatch(line)
    if not request:
        raise ParseError(TOOL, "neither a request nor a notice", line=number, excerpt=line)
    try:
        return row | {"kind": "request"} | _request(request)
    except ValueError as error:
        raise ParseError(TOOL, str(error), line=number, excerpt=line) from None


def _request(found: re.Match[str]) -> dict[str, Any]:
    http = HTTP.fullmatch(found["request"])
    return {
        "time": datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z"),
        "client_ip": found["client"],
        "method": http["method"] if http else None,
        "path": http["path"] if http else None,
        "status": int(found["status"]),
        "body_bytes": 0 if found["size"] == "-" else int(found["size"]),
        "message": None if http else found["request"],
    }
