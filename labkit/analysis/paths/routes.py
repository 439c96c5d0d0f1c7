"""The routing decision: policy rules in order, and in each table the longest prefix, then the lowest metric.

Source: `net/ipv4/fib_rules.c` and `fib_trie.c` of Linux. Routes of the type throw send the lookup on to the
next rule; local, broadcast and multicast ones are for the node itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.packet import family_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.packet import Packet

__all__ = ["BITS", "Decision", "Prefixes", "Routes", "shown"]

Row = dict[str, Any]
BITS = {"inet": 32, "inet6": 128}
DEFAULT_RULES = (("local", 0), ("main", 32766), ("default", 32767))


@dataclass(frozen=True, slots=True)
class Decision:
    """The route that is taken, and the rule that led to its table."""

    route: Row | None
    rule: str = ""
    reply: str | None = None
    #: Other next hops of the same route: the kernel chooses by a hash of the flow.
    others: tuple[Row, ...] = ()


class Prefixes:
    """Rows by prefix, of one family: finds those that an address is in, the longest prefix first."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._by_length: dict[int, dict[int, list[Row]]] = {}

    def add(self, prefix: str, row: Row) -> None:
        network, length = _prefix(prefix)
        self._by_length.setdefault(length, {}).setdefault(network, []).append(row)

    def __iter__(self) -> Iterator[Row]:
        return (row for networks in self._by_length.values() for rows in networks.values() for row in rows)

    def find(self, ip: str) -> Iterator[list[Row]]:
        number = number_of(ip)
        for length in sorted(self._by_length, reverse=True):
            shift = self._bits - length
            if rows := self._by_length[length].get(number >> shift << shift):
                yield rows


class Routes:
    """Routes and rules of one node or pod: rows of frames ROUTES and RULES of iproute_routes."""

    def __init__(self, routes: list[Row], rules: list[Row]) -> None:
        self.tables: dict[tuple[str, str], Prefixes] = {}
        self.rules = sorted(rules, key=lambda row: row["priority"])
        for row in routes:
            family = row["family"]
            self.tables.setdefault((family, row["table"]), Prefixes(BITS[family])).add(row["prefix"], row)

    def decide(self, packet: Packet, incoming: str | None = None) -> Decision:
        """The route for this packet."""
        family = packet.family
        rules = self.rules if family == "inet" else []
        if not rules:
            why = " (rules of IPv6 are not read: by the default ones)" if self.rules else ""
            for table, _ in DEFAULT_RULES:
                if found := self._lookup(family, table, packet.dst):
                    return _taken(found, f"lookup {table}{why}", None)
            return Decision(None)
        for rule in rules:
            if not _fits(rule, packet, incoming):
                continue
            if rule["action"] != "lookup":
                return Decision({"type": rule["action"], "prefix": "", "interface": None, "next_hop": None},
                                f"rule {rule['priority']}: {rule['action']}", rule.get("reply"))  # fmt: skip
            if found := self._lookup(family, rule["table"], packet.dst):
                return _taken(found, f"rule {rule['priority']}: lookup {rule['table']}", rule.get("reply"))
        return Decision(None)

    def _lookup(self, family: str, table: str, ip: str) -> list[Row] | None:
        """The best routes of one table: several where they have the same prefix and metric."""
        routes = self.tables.get((family, table))
        if routes is None:
            return None
        for rows in routes.find(ip):
            lowest = min(row["metric"] or 0 for row in rows)
            best = [row for row in rows if (row["metric"] or 0) == lowest and row["type"] != "anycast"]
            if best and best[0]["type"] == "throw":
                return None
            if best:
                return best
        return None

    def of_table(self, family: str, table: str) -> list[Row]:
        """Every route of a table."""
        routes = self.tables.get((family, table))
        return list(routes) if routes else []

    def address_type(self, ip: str) -> str:
        """LOCAL, BROADCAST, MULTICAST or UNICAST."""
        found = self._lookup(family_of(ip), "local", ip)
        kind = found[0]["type"] if found else "unicast"
        return str(kind).upper() if kind in ("local", "broadcast", "multicast") else "UNICAST"


def _taken(rows: list[Row], rule: str, reply: str | None) -> Decision:
    first = rows[0]
    others = rows[1:] if first["type"] == "unicast" and first.get("weight") is not None else []
    return Decision(first, rule, reply, others=tuple(others))


@lru_cache(maxsize=65536)
def _prefix(prefix: str) -> tuple[int, int]:
    """Number and length of a network."""
    if prefix == "default":
        return 0, 0
    network = ip_network(prefix, strict=False)
    return int(network.network_address), network.prefixlen


def _fits(rule: Row, packet: Packet, incoming: str | None) -> bool:
    """Whether a policy rule is for this packet."""
    found = True
    for column, ip in (("src", packet.src), ("dst", packet.dst)):
        value = rule[column]
        if value not in (None, "all"):
            network, length = _prefix(value)
            shift = BITS[packet.family] - length
            found = found and number_of(ip) >> shift == network >> shift
    if rule["in_interface"] is not None:
        found = found and rule["in_interface"] == incoming
    if rule["mark"] is not None:
        value, _, mask = str(rule["mark"]).partition("/")
        bits = int(mask or "0xffffffff", 0)
        found = found and packet.mark & bits == int(value, 0)
    return found is not bool(rule["inverted"])


def shown(route: Row | None) -> str:
    """A route as `ip route` prints it."""
    if route is None:
        return "no route"
    parts = [route["type"] if route["type"] != "unicast" else "", route["prefix"]]
    parts += [f"via {route['next_hop']}"] if route["next_hop"] else []
    parts += [f"dev {route['interface']}"] if route["interface"] else []
    parts += [f"table {route['table']}"] if route.get("table") not in (None, "main") else []
    parts += [f"src {route['src_ip']}"] if route.get("src_ip") else []
    return " ".join(part for part in parts if part)
