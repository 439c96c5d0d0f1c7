"""Output of `labkit/probe.py`: a line of JSON with every sample."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROBED", "SAMPLES", "probed", "samples"]

TOOL = "labkit's probe"
#: Patterns that open a connection for each request.
CONNECTING = ("crr", "http")

SAMPLES = Schema("probe_samples", "Each request of a probe, in order.", key=("n",), columns=(
    Column("n", "Int64", "number of the request, from 0"),
    Column("latency_us", "float64", "until its answer was there, from when it was due or sent; NA where it failed"),
    Column("connect_us", "float64", "until its connection was open (crr, http); NA otherwise"),
))  # fmt: skip
PROBED = Schema("probed", "One run of a probe.", key=(), columns=(
    Column("pattern", "str", "rr: over one connection, crr: a connection each, udp, http: a fetch and a connection each, http-keep"),
    Column("size_bytes", "Int64", "bytes of a request, and of its answer"),
    Column("rate", "float64", "requests a second that were due; NA at full speed"),
    Column("requests", "Int64", "requests sent"),
    Column("failed", "Int64", "requests without an answer"),
    Column("late", "Int64", "requests sent over a millisecond after they were due"),
    Column("per_s", "float64", "answers a second over the whole run"),
    Column("overhead_us", "float64", "median round trip between two sockets of the probe itself: no network"),
    Column("error", "str", "the first failure"),
))  # fmt: skip


def samples(data: bytes) -> pd.DataFrame:
    """Frame SAMPLES: a row for each request."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    told = _read(data)
    latency = np.array(told["latency_ns"], dtype=float)
    connect = np.full(len(latency), np.nan)
    if (
        told["pattern"] in CONNECTING and not told["failed"]
    ):  # a failed one has none, so they would not line up
        connect = np.array(told["connect_ns"], dtype=float)
    return pd.DataFrame({
        "n": pd.array(np.arange(len(latency)), dtype="Int64"),
        "latency_us": np.where(latency < 0, np.nan, latency / 1e3),
        "connect_us": connect / 1e3,
    })  # fmt: skip


def probed(data: bytes) -> pd.DataFrame:
    """Frame PROBED: one row."""
    told = _read(data)
    asked, failed = len(told["latency_ns"]), told["failed"]
    return PROBED.frame([{
        "pattern": told["pattern"],
        "size_bytes": told["size"],
        "rate": told["rate"] or None,
        "requests": asked,
        "failed": failed,
        "late": told["late"],
        "per_s": (asked - failed) / (told["took_ns"] / 1e9),
        "overhead_us": told["overhead_ns"] / 1e3,
        "error": told["errors"][0] if told["errors"] else None,
    }])  # fmt: skip


def _read(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
        count, kept = told["count"], len(told["latency_ns"])
        _ = [
            told[k]
            for k in (
                "pattern",
                "size",
                "rate",
                "late",
                "took_ns",
                "errors",
                "failed",
                "connect_ns",
                "overhead_ns",
            )
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ParseError(
            TOOL, f"not what it writes ({error!r})", excerpt=data[:200].decode(errors="replace")
        ) from None
    if kept != count:
        raise ParseError(TOOL, f"{count} requests were asked for, and {kept} are told of")
    return dict(told)
