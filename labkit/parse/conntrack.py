"""`conntrack -L -o extended` and `conntrack -S`: connections as the kernel's netfilter tracks them.

Format: `src/conntrack/snprintf_default.c` of libnetfilter_conntrack and `src/conntrack.c` of
conntrack-tools. An entry has two tuples: what the first packet carried, and what an answer carries. They
mirror each other unless the connection is translated. Cilium's own table is another one (`cilium-dbg bpf ct`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COUNTERS", "ENTRIES", "counters", "entries"]

TOOL = "conntrack"

ENTRIES = Schema("conntrack", "Connections of the kernel's connection tracking.",
    key=("protocol", "src_ip", "src_port", "dst_ip", "dst_port", "icmp_id"), columns=(
    Column("family", "str", "ipv4 or ipv6"),
    Column("protocol", "str", "tcp, udp, icmp, …; unknown with its number otherwise"),
    Column("state", "str", "state of TCP and SCTP; NA for others"),
    Column("timeout_s", "Int64", "seconds until it is forgotten; NA where it is kept in hardware"),
    Column("src_ip", "str", "source of the first packet"),
    Column("dst_ip", "str", "destination of the first packet"),
    Column("src_port", "Int64", "source port of the first packet"),
    Column("dst_port", "Int64", "destination port of the first packet"),
    Column("reply_src_ip", "str", "source of an answer: where the packets really went"),
    Column("reply_dst_ip", "str", "destination of an answer: who they seemed to come from"),
    Column("reply_src_port", "Int64", "source port of an answer"),
    Column("reply_dst_port", "Int64", "destination port of an answer"),
    Column("icmp_id", "Int64", "identifier of an ICMP echo"),
    Column("dnat", "boolean", "the destination was rewritten"),
    Column("snat", "boolean", "the source was rewritten"),
    Column("replied", "boolean", "an answer was seen"),
    Column("assured", "boolean", "kept when the table is full"),
    Column("mark", "Int64", "connection mark"),
    Column("packets", "Int64", "packets of the first direction; NA where they are not counted"),
    Column("seen_bytes", "Int64", "bytes of the first direction"),
    Column("reply_packets", "Int64", "packets of the other direction"),
    Column("reply_bytes", "Int64", "bytes of the other direction"),
))  # fmt: skip

COUNTERS = Schema("conntrack_counters", "Counters of connection tracking.", key=("cpu", "counter"), columns=(
    Column("cpu", "Int64", "the processor that counted"),
    Column("counter", "str", "found, invalid, insert_failed, drop, …"),
    Column("value", "Int64", "its value since boot"),
))  # fmt: skip

ENTRY = re.compile(
    r"(?P<family>ipv[46]) +\d+ +(?P<name>\S+) +(?P<number>\d+) "
    r"(?:(?P<timeout>\d+) )?(?:(?P<state>[A-Z][A-Z0-9_]+) )?(?P<rest>\S+=.*)$"
)
COUNTER_LINE = re.compile(r"cpu=(?P<cpu>\d+)\s+(?P<rest>\w+=\d+(?: \w+=\d+)*)\s*$")
FLAGS = ("[ASSURED]", "[UNREPLIED]", "[OFFLOAD]", "[HW_OFFLOAD]", "[CONFIRMED]", "[SEEN_REPLY]")
#: What an entry says once, and what each of its two tuples says.
ONCE = {"mark", "use", "id", "zone", "zone-orig", "zone-reply", "secctx", "labels", "helper", "delta-time"}
TUPLE = {"src", "dst", "sport", "dport", "type", "code", "id", "packets", "bytes", "srckey", "dstkey"}


def entries(data: bytes) -> pd.DataFrame:
    """`conntrack -L -o extended`: frame ENTRIES. No output is an empty table. Raises ParseError."""
    lines = text_of(TOOL, data).splitlines()
    return ENTRIES.frame(_entry(number, line) for number, line in enumerate(lines, 1))


def _entry(number: int, line: str) -> dict[str, Any]:
    if (head := ENTRY.match(line)) is None:
        raise ParseError(TOOL, "not a connection", line=number, excerpt=line)
    first, reply, once, flags = _parts(number, line, head["rest"])
    return {
        "family": head["family"],
        "protocol": head["name"] if head["name"] != "unknown" else f"unknown {head['number']}",
        "state": head["state"],
        "timeout_s": _number(head["timeout"]),
        "src_ip": first["src"],
        "dst_ip": first["dst"],
        "src_port": _number(first.get("sport")),
        "dst_port": _number(first.get("dport")),
        "reply_src_ip": reply["src"],
        "reply_dst_ip": reply["dst"],
        "reply_src_port": _number(reply.get("sport")),
        "reply_dst_port": _number(reply.get("dport")),
        "icmp_id": _number(first.get("id")),
        "dnat": (first["dst"], first.get("dport")) != (reply["src"], reply.get("sport")),
        "snat": (first["src"], first.get("sport")) != (reply["dst"], reply.get("dport")),
        "replied": "[UNREPLIED]" not in flags,
        "assured": "[ASSURED]" in flags,
        "mark": _number(once.get("mark")),
        "packets": _number(first.get("packets")),
        "seen_bytes": _number(first.get("bytes")),
        "reply_packets": _number(reply.get("packets")),
        "reply_bytes": _number(reply.get("bytes")),
    }


def _parts(
    number: int, line: str, rest: str
) -> tuple[dict[str, str], dict[str, str], dict[str, str], set[str]]:
    """The tuple of the first packet, that of an answer, what is said once, and the flags."""
    tuples: list[dict[str, str]] = []
    once: dict[str, str] = {}
    flags: set[str] = set()
    for word in rest.split():
        name, _, value = word.partition("=")
        if word in FLAGS:
            flags.add(word)
        elif name == "src" and len(tuples) < 2:
            tuples.append({name: value})
        elif tuples and name in TUPLE and name not in tuples[-1] and not (name == "id" and once):
            tuples[-1][name] = value  # of ICMP, id stands in the tuples; the entry's own comes at the end
        elif len(tuples) == 2 and name in ONCE:
            once[name] = value
        else:
            raise ParseError(TOOL, f"unknown word {word!r}", line=number, excerpt=line)
    if len(tuples) != 2 or not all("dst" in each for each in tuples) or "use" not in once:
        raise ParseError(TOOL, "a connection that is cut off", line=number, excerpt=line)
    return tuples[0], tuples[1], once, flags


def _number(value: str | None) -> int | None:
    return None if value is None else int(value)


def counters(data: bytes) -> pd.DataFrame:
    """`conntrack -S`: frame COUNTERS; which counters there are depends on the kernel. Raises ParseError."""
    rows = []
    for number, line in enumerate(text_of(TOOL, data).splitlines(), 1):
        if (found := COUNTER_LINE.match(line)) is None:
            raise ParseError(TOOL, "not counters of a processor", line=number, excerpt=line)
        rows += [
            {"cpu": int(found["cpu"]), "counter": name, "value": int(value)}
            for name, _, value in (word.partition("=") for word in found["rest"].split())
        ]
    if not rows:
        raise ParseError(TOOL, "empty output where counters were expected")
    return COUNTERS.frame(rows)
