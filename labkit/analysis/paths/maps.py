"""Lookups in Cilium's maps: frontends and backends, identities of addresses, endpoints, policy."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import replies
from labkit.analysis.paths.packet import family_of
from labkit.analysis.paths.routes import BITS, Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.packet import Packet
    from labkit.analysis.paths.state import World

__all__ = ["Maps"]

Row = dict[str, Any]
More = dict[str, Any]
Frontend = tuple[str, str, int, str]


class Maps:
    """The maps of all nodes of an arm."""

    def __init__(self, world: World) -> None:
        self.world = world

    @cached_property
    def _slots(self) -> dict[Frontend, list[Row]]:
        """Slots by node, address, port and protocol, of the scope that clients in the cluster see."""
        found: dict[Frontend, dict[str, list[Row]]] = {}
        for node, rows in self.world.by_node("lb_map").items():
            for row in rows:
                key = (node, row["frontend_ip"], row["port"], row["protocol"].lower())
                found.setdefault(key, {}).setdefault(row["scope"], []).append(row)
        return {key: scopes.get("internal") or scopes["external"] for key, scopes in found.items()}

    def _frontend(self, node: str, packet: Packet) -> list[Row] | None:
        if packet.dport is None:
            return None
        found = self._slots.get((node, packet.dst, packet.dport, packet.protocol))
        if found is None and packet.dst in self.world.node_of_ip:  # a NodePort, by any node's address
            anywhere = "::" if packet.family == "inet6" else "0.0.0.0"  # noqa: S104  (a key of a map)
            found = self._slots.get((node, anywhere, packet.dport, packet.protocol))
        return found

    def is_frontend(self, node: str, packet: Packet) -> bool:
        return self._frontend(node, packet) is not None

    def catches(self, node: str, packet: Packet) -> bool:
        """Whether the address is a Service's, which has no such port."""
        return (node, packet.dst, 0, "any") in self._slots

    @cached_property
    def _shares(self) -> dict[tuple[str, int], dict[int, float]]:
        """Maglev: the share of each backend, by node and number of the frontend."""
        found: dict[tuple[str, int], dict[int, float]] = {}
        for node, rows in self.world.by_node("maglev").items():
            for row in rows:
                shares = found.setdefault((node, row["service_id"]), {})
                shares[row["backend_id"]] = row["slots"] / row["table_size"]
        return found

    @cached_property
    def _numbers(self) -> dict[tuple[Frontend, int], int]:
        return {
            ((node, row["frontend_ip"], row["port"], row["protocol"].lower()), row["slot"]): row["backend_id"]
            for node, rows in self.world.by_node("lb_frontends").items()
            for row in rows
            if row["slot"]
        }

    def backends(
        self, node: str, packet: Packet, *, maglev: bool
    ) -> Iterator[tuple[float, tuple[str, int] | None, More]]:
        """Each backend of a frontend with its share, and what it rests on; one None where there is none."""
        slots = self._frontend(node, packet)
        if slots is None:
            return
        head = next((row for row in slots if row["slot"] == 0), None)
        filled = [row for row in slots if row["slot"]]
        flags = (head or {}).get("flags") or ""
        note = (
            "client affinity: a client that was here before keeps its backend"
            if "sessionAffinity" in flags
            else None
        )
        if not filled:
            yield (
                1.0,
                None,
                {"rests_on": f"{packet.dst}:{packet.dport} (0) [{flags}]", "reply": replies(head)},
            )
            return
        shares = self._shares.get((node, filled[0]["service_id"])) if maglev else None
        for row in filled:
            key = (node, row["frontend_ip"], row["port"], row["protocol"].lower())
            share = 1 / len(filled)
            how = "drawn by chance"
            if shares is not None and (number := self._numbers.get((key, row["slot"]))) is not None:
                share, how = shares.get(number, 0.0), "by a hash of the flow (Maglev)"
            text = (f"{row['frontend_ip']}:{row['port']}/{row['protocol']} ({row['slot']}) "
                    f"{row['backend_ip']}:{row['backend_port']} ({row['service_id']}), {how}")  # fmt: skip
            yield (
                share,
                (row["backend_ip"], row["backend_port"]),
                {"rests_on": text, "reply": replies(row), "note": note},
            )

    def cached(self, node: str, ip: str) -> Row | None:
        """The ipcache entry of an address: the longest prefix."""
        prefixes = self._ipcache.get((node, family_of(ip)))
        return next((rows[0] for rows in prefixes.find(ip)), None) if prefixes else None

    @cached_property
    def _ipcache(self) -> dict[tuple[str, str], Prefixes]:
        found: dict[tuple[str, str], Prefixes] = {}
        for node, rows in self.world.by_node("ipcache").items():
            for row in rows:
                family = family_of(row["prefix"])
                found.setdefault((node, family), Prefixes(BITS[family])).add(row["prefix"], row)
        return found

    def local(self, node: str, ip: str) -> Row | None:
        """The entry of an address that is on this node."""
        return self._local.get((node, ip))

    @cached_property
    def _local(self) -> dict[tuple[str, str], Row]:
        return {
            (node, row["ip"]): row
            for node, rows in self.world.by_node("endpoint_map").items()
            for row in rows
        }

    def endpoint_of(self, node: str, number: int) -> Row | None:
        """The endpoint of this number, as the agent of the node lists it."""
        return self._endpoints.get((node, number))

    @cached_property
    def _endpoints(self) -> dict[tuple[str, int], Row]:
        named = self.world.by_node("cilium_endpoints")
        return {(node, row["endpoint"]): row for node, rows in named.items() for row in rows}

    @cached_property
    def _by_device(self) -> dict[tuple[str, str], Row]:
        found = {(node, row["interface"]): row for (node, _), row in self._endpoints.items() if row["ip"]}
        return found  # noqa: RET504

    def endpoint_at(self, node: str, device: str) -> Row | None:
        """The endpoint of a pod behind a device."""
        return self._by_device.get((node, device))

    def verdict(
        self, node: str, endpoint: Row, direction: str, other: str, packet: Packet
    ) -> tuple[str, More]:
        """What the policy map of an endpoint says of a first packet: passes, dropped or inconclusive, and why.

        Of the entries for the identity and of those for any, the longest protocol and port counts; one that
        denies wins over all (`bpf/lib/policy.h`, __policy_can_access).
        """
        cached = self.cached(node, other)
        if cached is None:
            return "inconclusive", {"decision": f"{direction} policy", "note": f"no ipcache entry of {other}"}
        identity = cached["identity"]
        held = self._policies.get((node, endpoint["endpoint"], direction), [])
        fits = [row for row in held if row["identity"] in (0, identity) and _fits(row, packet)]
        said = f"{direction} policy of endpoint {endpoint['endpoint']} for identity {identity}"
        if not fits:
            text = f"ipcache {cached['prefix']} identity={identity}; no entry of the policy map"
            return "dropped", {
                "decision": f"{said}: no entry lets it pass",
                "rests_on": text,
                "reply": replies(cached),
            }
        best = max(fits, key=lambda row: (row["verdict"] == "deny", _length(row), row["identity"] != 0))
        text = f"ipcache {cached['prefix']} identity={identity}; {_shown(best)}"
        more = {"decision": f"{said}: {best['verdict']}", "rests_on": text, "reply": replies(cached, best)}
        if best["verdict"] == "deny":
            return "dropped", more
        if best["proxy_port"]:
            return "inconclusive", {
                **more,
                "note": f"not modelled: the L7 proxy at port {best['proxy_port']}",
            }
        return "passes", more

    @cached_property
    def _policies(self) -> dict[tuple[str, int, str], list[Row]]:
        found: dict[tuple[str, int, str], list[Row]] = {}
        for node, rows in self.world.by_node("policy_map").items():
            for row in rows:
                found.setdefault((node, row["endpoint"], row["direction"]), []).append(row)
        return found

    def option(self, node: str, name: str) -> str | None:
        """An option of a node's agent."""
        return self._options.get((node, name))

    @cached_property
    def _options(self) -> dict[tuple[str, str], str]:
        named = self.world.by_node("config")
        return {(node, row["option"]): row["value"] for node, rows in named.items() for row in rows}

    def endpoint_routes(self, node: str) -> bool:
        return self.option(node, "EnableEndpointRoutes") == "true"

    def masquerades_nodes(self, node: str) -> bool:
        return self.option(node, "EnableRemoteNodeMasquerade") == "true"


def _fits(row: Row, packet: Packet) -> bool:
    if row["protocol"] == "ANY":
        return True
    if row["protocol"].lower() != packet.protocol:
        return False
    return row["dest_port"] is None or (
        packet.dport is not None and row["dest_port"] <= packet.dport <= row["end_port"]
    )


def _length(row: Row) -> float:
    """How specific an entry is: nothing, a protocol, a range of ports, a port."""
    if row["protocol"] == "ANY":
        return 0
    return 1 if row["dest_port"] is None else 2 + 1 / (1 + row["end_port"] - row["dest_port"])


def _shown(row: Row) -> str:
    port = "any" if row["dest_port"] is None else row["dest_port"]
    return f"{row['direction']} identity={row['identity']} {row['protocol']} port={port} {row['verdict']}"
