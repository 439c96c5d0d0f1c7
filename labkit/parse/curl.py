"""`curl -w '%{json}'`: what curl says of each transfer when it is over.

Fields: https://curl.se/docs/manpage.html, option `--write-out`. Times are seconds since the start of the
transfer, with a resolution of 1 µs, and become microseconds here; each includes those before it.

curl writes 0 for a phase that was never reached. Where the transfer failed, such a 0 becomes NA: a refused
connection has no connect time. Where it succeeded, 0 is kept: on a connection that curl kept open
(`num_connects` 0), nothing was connected and `connect_us` is 0 by design.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["TRANSFERS", "transfers"]

TOOL = "curl"
SPACE = re.compile(r"\s*")

TRANSFERS = Schema("curl_transfers", "Transfers of one run of curl, one row a transfer.", key=("n",), columns=(
    Column("n", "Int64", "number of the transfer in this run, from 0"),
    Column("url", "str", "the URL that was asked for"),
    Column("http_code", "Int64", "status of the answer; NA where none came"),
    Column("exit_code", "Int64", "curl's own exit code of this transfer: 0 good, 7 no connection, 28 time limit"),
    Column("error", "str", "curl's message; NA where nothing failed"),
    Column("remote_ip", "str", "address that was connected to; NA where none was"),
    Column("remote_port", "Int64", "port that was connected to; NA where none was"),
    Column("local_ip", "str", "the own address of the connection; NA where there was none"),
    Column("local_port", "Int64", "the own port of the connection; NA where there was none"),
    Column("num_connects", "Int64", "new connections made; 0 where an open one was used again, or none was had"),
    Column("size_bytes", "Int64", "bytes of the body that were received"),
    Column("namelookup_us", "float64", "until the name was resolved; NA where it was not"),
    Column("connect_us", "float64", "until TCP was connected; 0 on a reused connection, NA where it failed before"),
    Column("starttransfer_us", "float64", "until the first byte came; NA where none did"),
    Column("total_us", "float64", "until the transfer was over, well or not"),
))  # fmt: skip


def transfers(data: bytes) -> pd.DataFrame:
    """Each transfer in order: frame TRANSFERS. Takes objects on lines of their own, or one after the other.

    Raises ParseError on empty output, on what is not JSON (a body that was not sent elsewhere with `-o`)
    and on an object that lacks a field.
    """
    try:
        return TRANSFERS.frame(_transfer(n, value) for n, value in enumerate(_objects(data)))
    except (KeyError, TypeError) as error:
        raise ParseError(TOOL, f"a transfer without {error}") from None


def _objects(data: bytes) -> Iterator[dict[str, Any]]:
    text = text_of(TOOL, data).strip()
    if not text:
        raise ParseError(TOOL, "empty output where JSON was expected")
    at, decoder = 0, json.JSONDecoder()
    while at < len(text):
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise ParseError(TOOL, error.msg, line=error.lineno, excerpt=text[at : at + 80]) from None
        if not isinstance(value, dict):
            raise ParseError(TOOL, "a JSON object was expected", excerpt=text[at : at + 80])
        yield value
        at = SPACE.match(text, end).end()  # type: ignore[union-attr]  # it matches nothing, too


def _transfer(n: int, value: dict[str, Any]) -> dict[str, Any]:
    failed = value["exitcode"] != 0
    return {
        "n": n,
        "url": value["url"],
        "http_code": value["http_code"] or None,
        "exit_code": value["exitcode"],
        "error": value["errormsg"],
        "remote_ip": value["remote_ip"] or None,
        "remote_port": value["remote_port"] or None,
        "local_ip": value["local_ip"] or None,
        "local_port": value["local_port"] or None,
        "num_connects": value["num_connects"],
        "size_bytes": value["size_download"],
        "total_us": _us(value["time_total"], failed=False),
        **{
            f"{phase}_us": _us(value[f"time_{phase}"], failed=failed)
            for phase in ("namelookup", "connect", "starttransfer")
        },
    }


def _us(seconds: float, *, failed: bool) -> float | None:
    return None if failed and not seconds else round(seconds * 1e6, 3)
