"""`iperf3 -J`: the result of one run, and its intervals.

Format: `iperf_print_results` in `src/iperf_api.c` of https://github.com/esnet/iperf (3.7 to 3.19 share what
is read here). A run that failed has a member `error`, with exit code 0 or 1: it becomes a row with that
text and no numbers. Retransmits are counted by the sender's kernel; loss and jitter of UDP by the receiver.
iperf3 writes 0 for what the other side counts, so only the side that counts is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INTERVALS", "RUN", "intervals", "run"]

TOOL = "iperf3"

RUN = Schema("iperf3_run", "One run of iperf3.", key=("host", "port"), columns=(
    Column("host", "str", "the server, as it was given"),
    Column("port", "Int64", "the server's port"),
    Column("error", "str", "why there is no result; NA where there is one"),
    Column("protocol", "str", "TCP or UDP; NA where the test never began"),
    Column("streams", "Int64", "parallel connections"),
    Column("reverse", "boolean", "the server sends"),
    Column("sent_bps", "float64", "rate at the sender, without the omitted seconds"),
    Column("received_bps", "float64", "rate at the receiver, without the omitted seconds: what arrived"),
    Column("moved_bytes", "Int64", "bytes in all intervals, with the omitted seconds, as the client counts"),
    Column("retransmits", "Int64", "TCP segments sent again, as the sender's kernel counts; NA for UDP"),
    Column("lost", "Int64", "UDP datagrams that did not arrive, as the receiver counts; NA for TCP"),
    Column("datagrams", "Int64", "UDP datagrams sent; NA for TCP"),
    Column("loss_pct", "float64", "share of datagrams lost; NA for TCP"),
    Column("jitter_us", "float64", "smoothed jitter at the receiver (RFC 1889); NA for TCP"),
    Column("client_cpu_pct", "float64", "CPU time of the client process, per cent of one CPU"),
    Column("server_cpu_pct", "float64", "CPU time of the server process, per cent of one CPU"),
    Column("congestion", "str", "congestion control of the sender; NA for UDP"),
    Column("mss_bytes", "Int64", "maximum segment size; NA for UDP"),
    Column("version", "str", "of iperf3; from 3.16 on each stream has a thread of its own"),
))  # fmt: skip

INTERVALS = Schema("iperf3_intervals", "The intervals of one run, all its streams together.", key=("n",), columns=(
    Column("n", "Int64", "number of the interval, from 0"),
    Column("seconds_s", "float64", "how long it lasted"),
    Column("moved_bytes", "Int64", "bytes, as the client counts"),
    Column("rate_bps", "float64", "rate, as the client counts"),
    Column("retransmits", "Int64", "TCP segments sent again; NA for UDP, and where the client receives"),
    Column("omitted", "boolean", "part of the warm-up that the result leaves out"),
))  # fmt: skip


def run(data: bytes) -> pd.DataFrame:
    """The result: frame RUN, one row. Raises ParseError on what is not JSON, not whole, or bidirectional."""
    value = json_object(TOOL, data)
    try:
        return RUN.frame([_failed(value) if "error" in value else _result(value)])
    except (KeyError, TypeError, IndexError) as error:
        raise ParseError(TOOL, f"a result without {error}") from None


def intervals(data: bytes) -> pd.DataFrame:
    """Each interval in order: frame INTERVALS; without rows where the run failed before its first."""
    value = json_object(TOOL, data)
    try:
        return INTERVALS.frame(_interval(n, each["sum"]) for n, each in enumerate(value["intervals"]))
    except (KeyError, TypeError) as error:
        raise ParseError(TOOL, f"an interval without {error}") from None


def _interval(n: int, total: dict[str, Any]) -> dict[str, Any]:
    return {
        "n": n,
        "seconds_s": total["seconds"],
        "moved_bytes": total["bytes"],
        "rate_bps": total["bits_per_second"],
        "retransmits": total.get("retransmits"),
        "omitted": total["omitted"],
    }


def _failed(value: dict[str, Any]) -> dict[str, Any]:
    known = {"error": value["error"], "version": _version(value)}
    asked = value["start"].get("connecting_to", {})
    return {**dict.fromkeys(RUN.names), "host": asked.get("host"), "port": asked.get("port"), **known}


def _result(value: dict[str, Any]) -> dict[str, Any]:
    start, end = value["start"], value["end"]
    test, cpu = start["test_start"], end["cpu_utilization_percent"]
    if "sum_sent_bidir_reverse" in end:
        raise ParseError(TOOL, "a bidirectional run; its two directions would have to be two rows")
    received, udp = end["sum_received"], test["protocol"] == "UDP"
    return {
        "host": start["connecting_to"]["host"],
        "port": start["connecting_to"]["port"],
        "error": None,
        "protocol": test["protocol"],
        "streams": test["num_streams"],
        "reverse": bool(test["reverse"]),
        "sent_bps": end["sum_sent"]["bits_per_second"],
        "received_bps": received["bits_per_second"],
        "moved_bytes": sum(each["sum"]["bytes"] for each in value["intervals"]),
        "retransmits": None if udp else end["sum_sent"].get("retransmits"),
        "lost": received["lost_packets"] if udp else None,
        "datagrams": received["packets"] if udp else None,
        "loss_pct": received["lost_percent"] if udp else None,
        "jitter_us": received["jitter_ms"] * 1000 if udp else None,
        "client_cpu_pct": cpu["host_total"],
        "server_cpu_pct": cpu["remote_total"],
        "congestion": end.get("sender_tcp_congestion"),
        "mss_bytes": None if udp else start["tcp_mss_default"],
        "version": _version(value),
    }


def _version(value: dict[str, Any]) -> str:
    return str(value["start"]["version"]).removeprefix("iperf ")
