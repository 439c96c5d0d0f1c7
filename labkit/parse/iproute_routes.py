"""`ip -j route` and `ip -j rule` of iproute2: where packets go.

Formats: `ip/iproute.c` and `ip/iprule.c`. What iproute2 leaves out because it is the usual is filled in as
it defines it: type unicast, table main, protocol boot, scope global, metric 0 of IPv4. A host route is
printed without a mask and gets one here (`10.0.0.7/32`); the default route stays the word `default`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.iproute import entries, framed
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["ROUTES", "RULES", "routes", "rules"]

ROUTES = Schema("routes", "Routes, one row a next hop.",
    key=("family", "table", "prefix", "metric", "next_hop"), columns=(
    Column("family", "str", "inet or inet6"),
    Column("table", "str", "routing table: main, local, or a number"),
    Column("type", "str", "unicast, local, broadcast, multicast, blackhole, unreachable, prohibit"),
    Column("prefix", "str", "destinations, with mask; or the word default"),
    Column("next_hop", "str", "the router to send to; NA where the destination is on the link"),
    Column("interface", "str", "the device to send by; NA for routes that send nothing"),
    Column("protocol", "str", "who made it: kernel, boot, static, dhcp, bird, …"),
    Column("scope", "str", "global (by a router), link or host"),
    Column("src_ip", "str", "preferred source address"),
    Column("metric", "Int64", "lower wins"),
    Column("mtu", "Int64", "largest packet on this route in bytes, where it sets one"),
    Column("weight", "Int64", "share of this next hop, where a route has several"),
    Column("flags", "str", "onlink, linkdown, …; comma-separated, empty without"),
))  # fmt: skip

RULES = Schema("ip_rules", "Policy routing: which table is looked up, in this order.", key=("priority",), columns=(
    Column("priority", "Int64", "lower is looked at first"),
    Column("inverted", "boolean", "holds for packets that do not match"),
    Column("src", "str", "source addresses: a prefix, or all"),
    Column("dst", "str", "destination addresses; NA for all"),
    Column("mark", "str", "packet mark, value or value/mask"),
    Column("in_interface", "str", "device the packet came in by"),
    Column("action", "str", "lookup, prohibit, unreachable, …"),
    Column("table", "str", "the table that is looked up; NA for other actions"),
))  # fmt: skip


def routes(data: bytes) -> pd.DataFrame:
    """`ip -j route show [table all]`: frame ROUTES. Raises ParseError.

    Of `ip -j route show table NAME` iproute2 does not print the table; it would be taken for main.
    """
    return framed("ip route", ROUTES, (row for entry in entries("ip route", data) for row in _route(entry)))


def _route(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    metrics = {name: value for group in entry.get("metrics", []) for name, value in group.items()}
    for hop in entry.get("nexthops") or [entry]:
        next_hop = hop.get("gateway") or hop.get("via", {}).get("host")
        # IPv6 routes always print their preference (RFC 4191), IPv4 routes never do
        family = "inet6" if "pref" in entry or ":" in entry["dst"] else "inet"
        yield {
            "family": family,
            "table": entry.get("table", "main"),
            "type": entry.get("type", "unicast"),
            "prefix": _masked(entry["dst"], family),
            "next_hop": next_hop,
            "interface": hop.get("dev"),
            "protocol": entry.get("protocol", "boot"),
            "scope": entry.get("scope", "global"),
            "src_ip": entry.get("prefsrc"),
            "metric": entry.get("metric", 0),
            "mtu": metrics.get("mtu"),
            "weight": hop.get("weight"),
            "flags": ",".join([*entry["flags"], *(hop["flags"] if hop is not entry else [])]),
        }


def _masked(dst: str, family: str) -> str:
    if dst == "default" or "/" in dst:
        return dst
    return f"{dst}/{32 if family == 'inet' else 128}"


def rules(data: bytes) -> pd.DataFrame:
    """`ip -j rule show`: frame RULES. Raises ParseError."""
    return framed("ip rule", RULES, map(_rule, entries("ip rule", data)))


def _rule(entry: dict[str, Any]) -> dict[str, Any]:
    mark, mask = entry.get("fwmark"), entry.get("fwmask")
    return {
        "priority": entry["priority"],
        "inverted": "not" in entry,
        "src": _selected(entry, "src"),
        "dst": _selected(entry, "dst"),
        "mark": mark if mask is None else f"{mark}/{mask}",
        "in_interface": entry.get("iif"),
        "action": entry.get("action", "lookup"),
        "table": entry.get("table"),
    }


def _selected(entry: dict[str, Any], side: str) -> str | None:
    address, length = entry.get(side), entry.get(f"{side}len")
    return address if address is None or length is None else f"{address}/{length}"
