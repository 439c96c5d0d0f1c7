"""Name lookups: what `dig` and `nslookup` print.

Formats: BIND 9.18 and 9.20, `bin/dig/dig.c` (`printmessage`, `received`), `bin/dig/dighost.c` and
`bin/dig/nslookup.c`. A lookup that got no reply is a row as well: its `status` says how it failed, and
nothing else is known of it. One that a name server answered with an error has that error's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LOOKUPS", "answer", "nslookup"]

LOOKUPS = Schema("lookups", "Lookups of a name, one row a command.", key=(), columns=(
    Column("name", "str", "the first name of the answer; NA where no record came back"),
    Column("status", "str", "the server's code (NOERROR, NXDOMAIN, …) or how it could not be reached (timeout, "
                            "connection-refused, unreachable); NA where dig was told to print no code"),
    Column("addresses", "str", "A and AAAA records, comma-separated, in the order of the answer; NA without"),
    Column("records", "Int64", "records in the answer; nslookup: addresses only"),
    Column("ttl_s", "Int64", "the least time to live of the records"),
    Column("query_time_us", "Int64", "time to the answer; without -u dig reads the kernel's coarse clock, so "
                                     "0 is below one tick (4 ms at 250 Hz)"),
    Column("server", "str", "address of the name server"),
    Column("protocol", "str", "UDP or TCP, where printed"),
    Column("size_bytes", "Int64", "size of the answer message"),
    Column("failed_tries", "Int64", "tries that got no answer"),
))  # fmt: skip

_ADDRESS = r"(?P<server>[0-9A-Fa-f.:]+)(?:%\w+)?#\d+"
_RECORD = re.compile(r"(?P<name>\S+)\s+(?P<ttl>\d+)\s+(?:IN|CH|HS)\s+(?P<type>[A-Z0-9]+)\s+(?P<data>\S.*)")
_SECTION = re.compile(r";; (?P<section>[A-Z]+) (?:SECTION|PSEUDOSECTION):")
_FAILED_TRY = re.compile(
    rf";; (?:communications error to {_ADDRESS}: |UDP setup with {_ADDRESS.replace('server', 'server2')}"
    r"\(\S+\) for \S+ failed: )(?P<why>.+?)\.?"
)
_GAVE_UP = re.compile(r";; (?:connection timed out; )?no servers could be reached")
#: What is said once of an answer, as the columns it fills.
_FACTS = (
    re.compile(r";; ->>HEADER<<- opcode: \S+, status: (?P<status>\w+), id: \d+"),
    re.compile(r";; Query time: (?P<query_time_us>\d+ [mu]sec)"),
    re.compile(rf";; SERVER: {_ADDRESS}\(\S+\)(?: \((?P<protocol>\w+)\))?"),
    re.compile(r";; MSG SIZE +rcvd: (?P<size_bytes>\d+)"),
)
#: What says nothing about the outcome: remarks, the line of the question, dig's own command line.
_REMARK = re.compile(
    r";; (?:Got answer:|WARNING: |You are currently testing|flags: |WHEN: |global options: |"
    r"Truncated, retrying in TCP mode|Got recursion not available from )|"
    r"; (?:EDNS: |COOKIE: |EDE: |<<>> DiG |\(\d+ servers? found\))|;\S+\s+(?:IN|CH|HS)\s+[A-Z0-9]+$"
)


@dataclass(slots=True)
class _Lookup:
    """What has been read of one lookup so far."""

    facts: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, str]] = field(default_factory=list)
    section: str = "ANSWER"
    failures: list[str] = field(default_factory=list)
    gave_up: bool = False

    def take(self, line: str) -> bool:
        """Take what a line says; False where it is no line that these tools are known to print."""
        if found := _RECORD.fullmatch(line):
            self.records += [found.groupdict()] if self.section == "ANSWER" else []
        elif found := _SECTION.fullmatch(line):
            self.section = found["section"]
        elif found := _FAILED_TRY.fullmatch(line):
            self.failures.append(found["why"])
            self.facts["server"] = found["server"] or found["server2"]
        elif _GAVE_UP.fullmatch(line):
            self.gave_up = True
        elif said := next((m.groupdict() for fact in _FACTS if (m := fact.fullmatch(line))), None):
            if any(name in self.facts for name in said if name != "server"):
                return False  # a second answer: the frame has one row for one name
            self.facts |= said
        else:
            return not line.strip() or _REMARK.match(line) is not None
        return True

    def row(self) -> dict[str, Any]:
        """The row of LOOKUPS."""
        facts: dict[str, Any] = {**dict.fromkeys(LOOKUPS.names), "failed_tries": len(self.failures)}
        if self.gave_up:
            return {**facts, "status": _how(self.failures), "server": self.facts.get("server")}
        addresses = [r["data"] for r in self.records if r["type"] in {"A", "AAAA"}]
        return facts | self.facts | {
            "name": self.records[0]["name"].rstrip(".") if self.records else None,
            "addresses": ",".join(addresses) or None,
            "records": len(self.records),
            "ttl_s": min((int(r["ttl"]) for r in self.records), default=None),
        }  # fmt: skip


def _how(failures: list[str]) -> str:
    """How a lookup failed that no server answered: as its last try did."""
    why = failures[-1] if failures else "timed out"  # BIND 9.16 and older say no more than this
    known = {"timed out": "timeout", "connection refused": "connection-refused"}
    if why not in known and "unreachable" not in why:
        raise ParseError("dig", "an unknown reason for no answer", excerpt=why)
    return known.get(why, "unreachable")


def answer(data: bytes) -> pd.DataFrame:
    """`dig +noall [+comments] +answer +stats NAME`, one name: frame LOOKUPS with one row.

    Raises ParseError where the output is empty, ends before its statistics, holds a second answer or a
    line that dig is not known to print.
    """
    lookup, line = _Lookup(), ""
    for number, line in enumerate(text_of("dig", data).splitlines(), 1):
        if not lookup.take(line):
            raise ParseError("dig", "an unknown line or a second answer", line=number, excerpt=line)
    if not lookup.gave_up and not {"query_time_us", "size_bytes"} <= lookup.facts.keys():
        raise ParseError("dig", "no statistics at its end", excerpt=line)
    row = lookup.row()
    if row["query_time_us"] is not None:
        number, unit = row["query_time_us"].split()
        row["query_time_us"] = int(number) * (1000 if unit == "msec" else 1)
        row["size_bytes"] = int(row["size_bytes"])
    return LOOKUPS.frame([row])


_CANNOT_FIND = re.compile(r"\*\* server can't find \S+: (?P<status>\w+)")
_NO_ANSWER = re.compile(r"\*\*\* Can't find \S+: No answer")
_FIELD = re.compile(r"(?P<key>Server|Address|Name):\s+(?P<value>[^\s#]+)(?:#\d+)?")
_ALIAS = re.compile(r"(?P<name>\S+)\s+canonical name = \S+")


def nslookup(data: bytes) -> pd.DataFrame:
    """`nslookup NAME` of BIND, one name: frame LOOKUPS with one row; it prints no times and no sizes.

    Raises ParseError where the output is empty, ends before an answer, or holds another line.
    """
    lookup, names, addresses = _Lookup(), [], []
    for number, line in enumerate(text_of("nslookup", data).splitlines(), 1):
        if found := _CANNOT_FIND.fullmatch(line):
            lookup.facts["status"] = found["status"]
        elif _NO_ANSWER.fullmatch(line):
            lookup.facts["status"] = "NOERROR"
        elif found := _ALIAS.fullmatch(line):
            names.append(found["name"])
        elif (found := _FIELD.fullmatch(line)) and found["key"] == "Name":
            names.append(found["value"])
            lookup.facts["status"] = "NOERROR"
        elif found and found["key"] == "Address" and names:
            addresses.append(found["value"])
        elif found:  # the name server: first as it was called, then by its address
            lookup.facts["server"] = found["value"]
        elif line != "Non-authoritative answer:" and not lookup.take(line):
            raise ParseError("nslookup", "an unknown line", line=number, excerpt=line)
    if not lookup.gave_up and ("status" not in lookup.facts or "query_time_us" in lookup.facts):
        raise ParseError("nslookup", "no answer, or one of dig", excerpt=data[-60:].decode(errors="replace"))
    row = lookup.row()
    if not lookup.gave_up:
        row |= {
            "name": next(iter(names), None),
            "addresses": ",".join(addresses) or None,
            "records": len(addresses),
        }
    return LOOKUPS.frame([row])
