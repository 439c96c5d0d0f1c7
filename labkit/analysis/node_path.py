"""The devices that a packet crosses from a pod to a pod on another node, as the kernels' tables decide.

Nothing is assumed about the CNI: the way is walked through the pod's routes, the other end of its veth, the
node's routes, the neighbour table and the forwarding entries, one decision after the other. eBPF programs
may redirect a packet past some of these decisions; they do not change which devices it enters and leaves by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.analysis.routing import TUNNELS, route_to
from labkit.analysis.veth import host_ends

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

__all__ = ["COLUMNS", "PLACES", "Tables", "paths"]

#: What a device is on the way, in the order a packet meets them; the way into a node mirrors it.
PLACES = ("pod", "host end", "bridge", "tunnel", "network card", "network")
COLUMNS = {
    "arm": "str", "src_pod": "str", "dst_pod": "str", "hop": "Int64", "node": "str", "place": "str",
    "device": "str", "kind": "str", "mtu": "Int64", "decided_by": "str",
}  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """The state that decides: frames by pod or by node, each with `arm`.

    `pods` is frame PODS, `pod_links` and `links` frame LINKS, `pod_routes` and `routes` frame ROUTES,
    `neighbours` frame NEIGHBOURS and `forwarding` frame FORWARDING.
    """

    pods: pd.DataFrame
    pod_links: pd.DataFrame
    pod_routes: pd.DataFrame
    links: pd.DataFrame
    routes: pd.DataFrame
    neighbours: pd.DataFrame
    forwarding: pd.DataFrame

    def of(self, arm: str) -> Tables:
        """The state of one arm."""
        mine = {name: frame[frame["arm"] == arm] for name, frame in vars(self).items()}
        return Tables(**mine)

    def on(self, node: str) -> _Node:
        """The state of one node of one arm."""
        named = {
            name: frame[frame["node"] == node]
            for name, frame in vars(self).items()
            if name in ("links", "routes", "neighbours", "forwarding")
        }
        return _Node(node, **named)


@dataclass(frozen=True)
class _Node:
    name: str
    links: pd.DataFrame
    routes: pd.DataFrame
    neighbours: pd.DataFrame
    forwarding: pd.DataFrame

    def row(self, place: str, device: str | None, decided_by: str) -> dict[str, Any]:
        """A row of the path for one of the node's devices."""
        found = self.links[self.links["interface"] == device]
        kind, mtu = (found["kind"].iloc[0], found["mtu"].iloc[0]) if len(found) else (None, None)
        return {"node": self.name, "place": place, "device": device, "kind": kind, "mtu": mtu,
                "decided_by": decided_by}  # fmt: skip

    def kind(self, device: str | None) -> str | None:
        """The kind of one of the node's devices; None for hardware."""
        found = self.links.loc[self.links["interface"] == device, "kind"].dropna()
        return None if found.empty else str(found.iloc[0])

    def far_end(self, tunnel: str, next_hop: str | None) -> tuple[str, str]:
        """The other end of a VXLAN device towards a next hop, and the entries that say so; empty if none do."""
        near = self.neighbours[
            (self.neighbours["interface"] == tunnel) & (self.neighbours["dst_ip"] == next_hop)
        ]
        entries = self.forwarding[
            (self.forwarding["interface"] == tunnel) & self.forwarding["dst_ip"].notna()
        ]
        entry = entries[entries["mac"].isin(near["mac"].dropna())]
        if entry.empty:
            return "", f"no forwarding entry of {tunnel} for {next_hop}"
        mac, ip = str(entry["mac"].iloc[0]), str(entry["dst_ip"].iloc[0])
        return ip, f"forwarding entry {mac} to {ip}"


def paths(tables: Tables) -> pd.DataFrame:
    """The way of each arm from one pod whose devices are known to the first such pod on another node.

    A row for each device in order: `hop` from 0, `node` (NA between the nodes), `place` (one of PLACES),
    `device`, `kind`, `mtu` in bytes, and `decided_by`: the entry that sent the packet there. An arm without
    two such pods on two nodes has no rows.
    """
    rows: list[dict[str, Any]] = []
    for arm in dict.fromkeys(tables.pod_links["arm"]):
        mine = tables.of(arm)
        known = host_ends(mine.pod_links, mine.pods, mine.links).drop_duplicates("pod")
        ends = known.sort_values(["node", "pod"]).to_dict("records")
        pairs = [(a, b) for a in ends for b in ends if a["node"] != b["node"]]
        for source, target in pairs[:1]:
            way = [*_out(mine, source, target), *reversed(list(_in(mine, source, target)))]
            rows += [
                {"arm": arm, "src_pod": source["pod"], "dst_pod": target["pod"], "hop": hop, **row}
                for hop, row in enumerate(way)
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _described(route: dict[str, Any] | None) -> str:
    if route is None:
        return "no route"
    via = f" via {route['next_hop']}" if route["next_hop"] else ""
    return f"route {route['prefix']}{via}"


def _out(
    tables: Tables, source: dict[Hashable, Any], target: dict[Hashable, Any]
) -> Iterator[dict[str, Any]]:
    """From the pod to the network: the last row is the network itself."""
    node, ip = tables.on(source["node"]), target["pod_ip"]
    inside = tables.pod_routes[tables.pod_routes["pod"] == source["pod"]]
    yield {"node": source["node"], "place": "pod", "device": source["pod_interface"], "kind": source["host_kind"],
           "mtu": source["pod_mtu"], "decided_by": f"the pod's {_described(route_to(inside, ip))}"}  # fmt: skip
    yield node.row("host end", source["host_interface"], f"other end of the pod's {source['pod_interface']}")
    if pd.notna(source["master"]):
        yield node.row("bridge", source["master"], f"{source['host_interface']} is a port of it")
    yield from _leave(node, ip)


def _leave(node: _Node, ip: str) -> Iterator[dict[str, Any]]:
    """From the node's routing decision to the network."""
    route = route_to(node.routes, ip)
    if route is None:
        yield {
            "node": None,
            "place": "network",
            "device": None,
            "kind": None,
            "mtu": None,
            "decided_by": "no route",
        }
        return
    outer, wire = ip, f"plain packets to {ip}"
    decided = _described(route)
    if node.kind(route["interface"]) in TUNNELS:
        yield node.row("tunnel", route["interface"], decided)
        tunnel = node.links[node.links["interface"] == route["interface"]].iloc[0]
        outer, decided = node.far_end(route["interface"], route["next_hop"])
        wire = f"{tunnel['kind']} to {outer or 'an unknown end'}"
        if pd.notna(tunnel["vxlan_id"]):
            wire = f"VXLAN {tunnel['vxlan_id']} in UDP {tunnel['vxlan_port']} to {outer or 'an unknown end'}"
        route = route_to(node.routes, outer) if outer else {"interface": tunnel["vxlan_interface"]}
    yield node.row("network card", route["interface"] if route else None, decided)
    yield {"node": None, "place": "network", "device": None, "kind": None, "mtu": None, "decided_by": wire}


def _in(tables: Tables, source: dict[Hashable, Any], target: dict[Hashable, Any]) -> Iterator[dict[str, Any]]:
    """From the pod that is reached back to its node's network card.

    A packet comes in by the devices that an answer leaves by: routing to the pod is the node's own decision,
    the devices before it are those of the way back.
    """
    node, ip = tables.on(target["node"]), target["pod_ip"]
    route = route_to(node.routes, ip)
    yield {"node": target["node"], "place": "pod", "device": target["pod_interface"], "kind": target["host_kind"],
           "mtu": target["pod_mtu"], "decided_by": f"other end of {target['host_interface']}"}  # fmt: skip
    if node.kind(route["interface"] if route else None) == "bridge":
        ports = node.forwarding[
            (node.forwarding["mac"] == target["pod_mac"]) & node.forwarding["master"].notna()
        ]
        port, decided = target["host_interface"], "the bridge asks all its ports"
        if len(ports):
            port, decided = str(ports["interface"].iloc[0]), f"forwarding entry {target['pod_mac']}"
        yield node.row("host end", port, decided)
        yield node.row("bridge", route["interface"] if route else None, _described(route))
    else:
        yield node.row("host end", route["interface"] if route else None, _described(route))
    for row in [*_leave(node, source["pod_ip"])][:-1]:
        decided = (
            "unpacks what is addressed to it" if row["place"] == "tunnel" else "an answer leaves by it, too"
        )
        yield row | {"decided_by": decided}
