"""The load-balancing maps of a node, of `cilium-dbg bpf lb list`.

The command prints strings, in JSON too: `"10.0.0.10:53/UDP (1)": ["10.245.1.31:53/UDP (5) (1)"]` is slot
1 of the frontend, with the backend, the number of the service and the slot again. Slot 0 heads a
frontend and names no backend, and its flags stand in brackets. A frontend at port 0 of protocol ANY is
the entry that catches the other ports of a Service's address. Verified against the other views of the
same maps and `service list` on the recordings (1.20-dev):

* `--frontends` prints the raw value `id count[quarantined] (service) [flags]`: the backend's number in a
  slot, and in slot 0 the seconds of client affinity where the affinity flag (0x10) is set;
* `--backends` prints a backend's protocol and address without its port, which only the list has;
* `--revnat` prints the frontend that replies of a service are given back to.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.cilium import frame_of
from labkit.parse.decode import json_object, text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

__all__ = [
    "LB_BACKENDS", "LB_FRONTENDS", "LB_MAP", "LB_REVNAT", "backends", "frontends", "lb_map", "revnat",
]  # fmt: skip

TOOL = "cilium-dbg bpf lb list"

FRONTEND = (
    Column("frontend_ip", "str", "address that clients use"),
    Column("port", "Int64", "port that clients use; 0 with protocol ANY catches every other port"),
    Column("protocol", "str", "TCP, UDP, SCTP or ANY"),
    Column("scope", "str", "external, or internal: a second set for clients in the cluster"),
    Column("slot", "Int64", "0 heads the frontend, 1 and up hold a backend each"),
)
KEY = ("frontend_ip", "port", "protocol", "scope", "slot")

LB_MAP = Schema("lb_map", "Slots of the service map.", key=KEY, columns=(
    *FRONTEND,
    Column("backend_ip", "str", "address of the backend; NA in slot 0"),
    Column("backend_port", "Int64", "port of the backend; NA in slot 0"),
    Column("service_id", "Int64", "number of the frontend on this node; 0 where it has none"),
    Column("flags", "str", "flags of the frontend, comma-separated; NA but in slot 0"),
))  # fmt: skip

LB_FRONTENDS = Schema("lb_frontends", "Slots of the service map with the numbers in them.", key=KEY, columns=(
    *FRONTEND,
    Column("service_id", "Int64", "number of the frontend on this node; 0 where it has none"),
    Column("backend_id", "Int64", "number of the backend; NA in slot 0"),
    Column("backends", "Int64", "backends in use; NA but in slot 0"),
    Column("quarantined", "Int64", "backends set aside; NA but in slot 0"),
    Column("affinity_s", "Int64", "time a client keeps its backend; NA without client affinity"),
))  # fmt: skip

LB_BACKENDS = Schema("lb_backends", "The backend map.", key=("backend_id",), columns=(
    Column("backend_id", "Int64", "number of the backend on this node"),
    Column("protocol", "str", "TCP, UDP or SCTP"),
    Column("backend_ip", "str", "address; the tool leaves the port out"),
))  # fmt: skip

LB_REVNAT = Schema("lb_revnat", "The map that gives replies the Service's address back.", key=("service_id",), columns=(
    Column("service_id", "Int64", "number of the frontend on this node"),
    Column("frontend_ip", "str", "address that clients use"),
    Column("port", "Int64", "port that clients use"),
))  # fmt: skip

AFFINITY = 0x10
ADDRESS = r"\[?(?P<ip>[\da-fA-F.:]+?)\]?:(?P<port>\d+)"
SERVICE = re.compile(ADDRESS + r"/(?P<protocol>\w+)(?P<internal>/i)? \((?P<slot>\d+)\)")
SLOT = re.compile(ADDRESS + r"(?:/\w+)? \((?P<service>\d+)\) \((?P<slot>\d+)\)(?: \[(?P<flags>[^\]]*)\])?")
NUMBERS = re.compile(
    r"(?P<number>\d+) (?P<count>\d+)\[(?P<aside>\d+)\] \((?P<service>\d+)\) \[(?P<flags>0x[\da-f]+) 0x[\da-f]+\]"
)
BACKEND = re.compile(r"(?P<id>\d+)\s+(?P<protocol>\w+)://\[?(?P<ip>[\da-fA-F.:]+?)\]?")
REVNAT = re.compile(r"(?P<id>\d+)\s+" + ADDRESS)
Row = dict[str, Any]


def lb_map(data: bytes) -> pd.DataFrame:
    """Slots of the service map, of `-o json`: frame LB_MAP."""
    return frame_of(TOOL, LB_MAP, _slots(json_object(TOOL, data)))


def frontends(data: bytes) -> pd.DataFrame:
    """Slots of the service map with backend numbers, of `--frontends`: frame LB_FRONTENDS."""
    return LB_FRONTENDS.frame(_table(data, "SERVICE ADDRESS", _numbers))


def backends(data: bytes) -> pd.DataFrame:
    """The backend map, of `--backends`: frame LB_BACKENDS."""
    return LB_BACKENDS.frame(_table(data, "ID ", _backend))


def revnat(data: bytes) -> pd.DataFrame:
    """The reverse map, of `--revnat`: frame LB_REVNAT."""
    return LB_REVNAT.frame(_table(data, "ID ", _revnat))


def _slots(entries: dict[str, Any]) -> Iterator[Row]:
    for key, values in entries.items():
        for value in values:
            found = _match(SLOT, value.strip())
            heads = found["slot"] == "0"
            yield {
                **_frontend(key),
                "backend_ip": None if heads else _ip(found),
                "backend_port": None if heads else int(found["port"]),
                "service_id": int(found["service"]),
                "flags": found["flags"].replace(", ", ",") if found["flags"] is not None else None,
            }


def _numbers(line: str) -> Row:
    at = line.index(")") + 1
    found = _match(NUMBERS, line[at:].strip())
    row = _frontend(line[:at])
    heads, sticky = row["slot"] == 0, int(found["flags"], 16) & AFFINITY
    return {
        **row,
        "service_id": int(found["service"]),
        "backend_id": None if heads else int(found["number"]),
        "backends": int(found["count"]) if heads else None,
        "quarantined": int(found["aside"]) if heads else None,
        "affinity_s": int(found["number"]) if heads and sticky else None,
    }


def _frontend(key: str) -> Row:
    found = _match(SERVICE, key)
    return {
        "frontend_ip": _ip(found),
        "port": int(found["port"]),
        "protocol": found["protocol"],
        "scope": "internal" if found["internal"] else "external",
        "slot": int(found["slot"]),
    }


def _backend(line: str) -> Row:
    found = _match(BACKEND, line)
    return {"backend_id": int(found["id"]), "protocol": found["protocol"], "backend_ip": _ip(found)}


def _revnat(line: str) -> Row:
    found = _match(REVNAT, line)
    return {"service_id": int(found["id"]), "frontend_ip": _ip(found), "port": int(found["port"])}


def _table(data: bytes, heading: str, row: Callable[[str], Row]) -> list[Row]:
    text = text_of(TOOL, data)
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0].startswith(heading):
        raise ParseError(TOOL, f"no heading {heading!r}", line=1, excerpt="".join(lines[:1]))
    if not text.endswith("\n"):
        raise ParseError(TOOL, "the last line is cut", line=len(lines), excerpt=lines[-1])
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if line:
            try:
                rows.append(row(line))
            except ValueError as error:
                raise ParseError(TOOL, str(error), line=number, excerpt=line) from None
    return rows


def _ip(found: re.Match[str]) -> str:
    return str(ip_address(found["ip"]))


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise ValueError(f"cannot read {text!r}")
    return found
