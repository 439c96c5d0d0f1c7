"""What became of one attempt to reach something, and why: from what `curl`, `ping` or `dig` printed.

`blocked` means that no answer came, for whatever reason; `cause` says which. A tool that stops while it
still resolves the name has learned nothing of the way to the address behind it: that is why the causes
tell a time-out of the name server from one of the connection.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from labkit.errors import ParseError
from labkit.parse import curl, dig, ping
from labkit.schema import Column

__all__ = ["COLUMNS", "Attempt", "echo", "http", "lookup"]

#: What an attempt becomes in a frame.
COLUMNS = (
    Column("outcome", "str", "allowed: an answer came; blocked: none came"),
    Column("cause", "str", "ok, dns-failure, dns-timeout, connect-timeout, refused, reset, http-status, "
                           "unreachable, no-connection (refused or unreachable: the tool does not say), no-reply, "
                           "or curl-N of another exit code"),
    Column("detail", "str", "the answer, or the tool's own words"),
)  # fmt: skip


class Attempt(NamedTuple):
    """One attempt: the columns of COLUMNS, and the name server where it was a lookup that says which."""

    outcome: str
    cause: str
    detail: str
    server: str | None = None


#: A URL whose host is an address, so that nothing has to be looked up.
_ADDRESS = re.compile(r"\w+://(\[[0-9A-Fa-f:.]+\]|[0-9.]+)(:\d+)?(/|$)")
#: Words of the C library that curl prints where it knows why there is no connection.
_WORDS = (
    ("refused", "refused"),
    ("reset", "reset"),
    ("unreachable", "unreachable"),
    ("No route", "unreachable"),
)


def http(data: bytes) -> Attempt:
    """One transfer, of `curl -w '%{json}'`: an Attempt.

    An answer of HTTP is an answer whatever its status: policies of layers 3 and 4 judge the connection.
    Exit codes: https://curl.se/docs/manpage.html, EXIT CODES.
    """
    frame = curl.transfers(data)
    if len(frame) != 1:
        raise ParseError("curl", f"{len(frame)} transfers where one was expected")
    end = frame.iloc[0]
    if end["exit_code"] == 0:
        status = int(end["http_code"])
        return Attempt("allowed", "ok" if status < 400 else "http-status", f"HTTP {status}")
    cause = _why(int(end["exit_code"]), str(end["error"]))
    if cause == "timeout":
        named, missing = not _ADDRESS.match(end["url"]), end.isna()
        unresolved = named and missing["namelookup_us"]
        cause = "dns-timeout" if unresolved else "connect-timeout" if missing["connect_us"] else "no-reply"
    return Attempt("blocked", cause, str(end["error"]))


def _why(code: int, words: str) -> str:
    known = {6: "dns-failure", 28: "timeout", 52: "no-reply"}
    said = next((cause for word, cause in _WORDS if word in words), None)
    # of no connection (7), curl 7.88 says neither that it was refused nor that there is no route
    return known.get(code) or said or ("no-connection" if code == 7 else f"curl-{code}")


def echo(data: bytes) -> Attempt:
    """One run of `ping`: an Attempt. One reply is an answer, however many were lost."""
    end = ping.summary(data).iloc[0]
    detail = f"{end['received']} of {end['sent']} replies"
    if end["received"]:
        return Attempt("allowed", "ok", detail)
    return Attempt("blocked", "unreachable" if end["errors"] else "no-reply", detail)


def lookup(data: bytes) -> Attempt:
    """One lookup, of `dig +comments +answer +stats`: an Attempt.

    A name server that answers with an error has answered: the way to it is open, the name is not resolved.
    """
    end = dig.answer(data).iloc[0]
    missing, status, server = end.isna(), end["status"], end["server"]
    if missing["status"]:
        raise ParseError("dig", "no status: ask with +comments", excerpt=data[:80].decode(errors="replace"))
    if status in {"timeout", "connection-refused", "unreachable"}:
        cause = {"timeout": "dns-timeout", "connection-refused": "refused"}.get(status, status)
        return Attempt("blocked", cause, status, None if missing["server"] else server)
    resolved = status == "NOERROR" and not missing["addresses"]
    detail = f"{status} {end['addresses']}" if resolved else f"{status} without an address"
    return Attempt("allowed", "ok" if resolved else "dns-failure", detail, server)
