"""Which route a packet takes, and how nodes reach each other's pods."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TUNNELS", "remote_pods", "route_to"]

#: Kinds of devices that put packets into packets.
TUNNELS = ("vxlan", "geneve", "ipip", "sit", "gre", "gretap", "ip6tnl", "wireguard")
NOT_FORWARDED = ("local", "broadcast", "multicast", "anycast")
REMOTE = {
    "arm": "str", "node": "str", "to_node": "str", "pods": "Int64", "prefix": "str", "next_hop": "str",
    "interface": "str", "kind": "str", "how": "str",
}  # fmt: skip


def route_to(routes: pd.DataFrame, ip: str) -> dict[str, Any] | None:
    """The route of table main that a packet to this address takes: the longest prefix, then the lowest metric.

    `routes` is frame ROUTES of one node or pod. None where no route fits. Policy rules are not followed: they
    send marked packets to other tables.
    """
    return _best(_forwarding(routes), ip)


def _forwarding(routes: pd.DataFrame) -> list[tuple[Any, dict[str, Any]]]:
    """The routes that packets to others can take, each with its network."""
    usable = routes[(routes["table"] == "main") & ~routes["type"].isin(NOT_FORWARDED)]
    rows = [{str(k): _value(v) for k, v in row.items()} for row in usable.to_dict("records")]
    return [(_network(row["prefix"], row["family"]), row) for row in rows]


def _best(routes: list[tuple[Any, dict[str, Any]]], ip: str) -> dict[str, Any] | None:
    address = ip_address(ip)  # of the other family, it is in none of the networks
    found = [(network, row) for network, row in routes if address in network]
    return min(found, key=lambda each: (-each[0].prefixlen, each[1]["metric"]))[1] if found else None


def _network(prefix: str, family: str) -> Any:  # noqa: ANN401  (an IPv4Network or an IPv6Network)
    return ip_network(prefix if prefix != "default" else "0.0.0.0/0" if family == "inet" else "::/0")


def _value(value: Any) -> Any:  # noqa: ANN401  (a cell)
    return None if pd.isna(value) else value


def remote_pods(pods: pd.DataFrame, routes: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """How each node reaches the pods of each other node.

    Frames PODS, ROUTES and LINKS by node, with `arm`. One row for each node, other node and route that is
    taken there: how many `pods`, the route's `prefix`, `next_hop` and `interface`, the device's `kind`, and
    `how` in words: `tunnel`, `default route`, `route per pod`, or `route per node`.
    """
    own = pods[~pods["host_network"].fillna(False)].dropna(subset=["pod_ip", "node"])
    kinds = links.set_index(["arm", "node", "interface"])["kind"]
    rows = pd.DataFrame(_taken(own, routes, kinds.to_dict()), columns=list(REMOTE))
    counted = rows.groupby(
        [c for c in REMOTE if c != "pods"], sort=False, dropna=False, as_index=False
    ).size()
    return counted.rename(columns={"size": "pods"})[list(REMOTE)].astype(REMOTE)


def _taken(pods: pd.DataFrame, routes: pd.DataFrame, kinds: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    """For each node, each pod of other nodes and the route that is taken to it."""
    for (arm, node), mine in routes.groupby(["arm", "node"], sort=False):
        away, table = pods[(pods["arm"] == arm) & (pods["node"] != node)], _forwarding(mine)
        for to_node, ip in zip(away["node"], away["pod_ip"], strict=True):
            route = _best(table, ip) or {}
            kind = _value(kinds.get((arm, node, route.get("interface"))))
            yield {
                "arm": arm,
                "node": node,
                "to_node": to_node,
                "pods": 1,
                "prefix": route.get("prefix"),
                "next_hop": route.get("next_hop"),
                "interface": route.get("interface"),
                "kind": kind,
                "how": _how(route, kind),
            }


def _how(route: dict[str, Any], kind: str | None) -> str:
    if not route:
        return "not at all"
    if kind in TUNNELS:
        return "tunnel"
    if route["prefix"] == "default":
        return "default route"
    return "route per pod" if route["prefix"].endswith(("/32", "/128")) else "route per node"
