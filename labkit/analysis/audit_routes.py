"""Routes, neighbours and tunnels of the nodes, against where the pods are."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import replies
from labkit.analysis.paths.maps import Maps
from labkit.analysis.paths.packet import Packet
from labkit.analysis.paths.routes import BITS, shown
from labkit.analysis.routing import TUNNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.machine import Machine
    from labkit.analysis.paths.state import World

__all__ = ["of_routes"]

Row = dict[str, Any]
HOST = ("/32", "/128")


def of_routes(world: World) -> Iterator[Row]:
    """The route of every node to every pod, its tunnels to the other nodes, and its neighbour entries of pods."""
    for machine in world.machines.values():
        if machine.read("routes"):
            for ip, pod in world.pod_of_ip.items():
                yield _route(world, machine, ip, pod)
            yield from _stale_routes(world, machine)
        yield from _tunnels(world, machine)
        yield from _neighbours(world, machine)


def _entry(machine: Machine, kind: str, entry: str, intended: str | None, programmed: str | None,
           state: str, reply: str | None) -> Row:  # fmt: skip
    return {"node": machine.name, "kind": kind, "entry": entry, "intended": intended, "programmed": programmed,
            "state": state, "reply": reply}  # fmt: skip


def _route(world: World, machine: Machine, ip: str, pod: Row) -> Row:
    route = machine.routes.decide(Packet(machine.ip, ip, "tcp")).route
    name, there = f"{pod['pod']} {ip}", pod["node"]
    text, reply = (shown(route), replies(route)) if route else (None, None)
    if there == machine.name:
        end = world.host_ends.get(pod["pod"])
        bridge = machine.links[end[0]]["master"] if end and end[0] in machine.links else None
        wanted = f"dev {bridge or (end[0] if end else 'of the pod')}"
        if route is None or route["type"] != "unicast" or route["interface"] == machine.nic:
            return _entry(machine, "route", name, wanted, text, "missing", reply)
        good = end is None or route["interface"] in (end[0], bridge)
        return _entry(machine, "route", name, wanted, text, "matching" if good else "wrong", reply)
    wanted = f"towards {there}"
    if route is None or route["type"] != "unicast":
        return _entry(machine, "route", name, wanted, text, "missing", reply)
    return _entry(
        machine,
        "route",
        name,
        wanted,
        text,
        "matching" if _leads(world, machine, route, there) else "wrong",
        reply,
    )


def _leads(world: World, machine: Machine, route: Row, there: str) -> bool:
    """Whether a route leads towards a node: straight, by a tunnel to it, or to routers that are not read.

    Where the node has tunnels to others, or an agent that writes a route to each node, routers do not count.
    """
    device, next_hop = route["interface"], route["next_hop"]
    if machine.kind(device) in TUNNELS:
        neighbour = machine.neighbours.get((device, next_hop))
        entries = machine.forwarding.get((neighbour or {}).get("mac") or "", [])
        ends = {row["dst_ip"] for row in entries if row["interface"] == device}
        return not ends or world.machines[there].ip in ends
    if device != machine.nic:
        return False
    other = world.node_of_ip.get(next_hop or "")
    own = (
        _has_tunnels(world, machine) or Maps(world).option(machine.name, "EnableAutoDirectRouting") == "true"
    )
    return next_hop is not None and (other == there or (other is None and not own))


def _has_tunnels(world: World, machine: Machine) -> bool:
    """Whether a tunnel leads from this node to any other."""
    entries = (
        row for rows in machine.forwarding.values() for row in rows if row["dst_ip"] in world.node_of_ip
    )
    return any(machine.kind(row["interface"]) in TUNNELS for row in entries)


def _stale_routes(world: World, machine: Machine) -> Iterator[Row]:
    """Routes for one address that is no pod's, into a device of a pod; and to a range that is no node's."""
    known, ranges = (
        set(world.pod_of_ip),
        [ip_network(row["pod_cidr"]) for row in world.nodes if row["pod_cidr"]],
    )
    tables = [machine.routes.of_table(family, "main") for family in BITS]
    gateways = {row["next_hop"] for table in tables for row in table if row["prefix"] == "default"}
    for row in (row for table in tables for row in table):
        if row["type"] != "unicast" or row["prefix"] == "default":
            continue
        prefix, device = row["prefix"], row["interface"]
        if prefix.endswith(HOST):
            into_pod = (
                machine.kind(device) == "veth" and device != machine.nic and not device.startswith("cilium_")
            )
            stale = into_pod and prefix.partition("/")[0] not in known
        else:
            away = machine.kind(device) in TUNNELS or (
                device == machine.nic and row["next_hop"] not in (None, *gateways, *world.node_of_ip)
            )
            stale = (
                away
                and ip_network(prefix).prefixlen in {own.prefixlen for own in ranges}
                and not any(
                    own.version == ip_network(prefix).version and own.overlaps(ip_network(prefix))
                    for own in ranges
                )
            )
        if stale:
            yield _entry(
                machine,
                "route",
                prefix.removesuffix("/32").removesuffix("/128"),
                None,
                shown(row),
                "stale",
                replies(row),
            )


def _tunnels(world: World, machine: Machine) -> Iterator[Row]:
    """A forwarding entry of a VXLAN device for each other node, and those that lead to no node."""
    for device, link in machine.links.items():
        if link["kind"] != "vxlan" or not link["vxlan_local_ip"]:
            continue
        entries = [row for rows in machine.forwarding.values() for row in rows
                   if row["interface"] == device and row["dst_ip"]]  # fmt: skip
        ends = [row["dst_ip"] for row in entries]
        for name, other in world.machines.items():
            if name == machine.name:
                continue
            state = {0: "missing", 1: "matching"}.get(ends.count(other.ip), "duplicate")
            found = next((row for row in entries if row["dst_ip"] == other.ip), None)
            text = f"{found['mac']} dst {found['dst_ip']}" if found else None
            theirs = next((row["mac"] for row in other.links.values() if row["kind"] == "vxlan"), None)
            if found and theirs and found["mac"] != theirs:
                state = "wrong"
            yield _entry(machine, "tunnel", f"{device} to {name}", f"{theirs} dst {other.ip}", text, state,
                         replies(found, link))  # fmt: skip
        for row in entries:
            if row["dst_ip"] not in world.node_of_ip:
                yield _entry(machine, "tunnel", f"{device} to {row['dst_ip']}", None,
                             f"{row['mac']} dst {row['dst_ip']}", "stale", replies(row))  # fmt: skip


def _neighbours(world: World, machine: Machine) -> Iterator[Row]:
    """Neighbour entries of addresses that pods have, or had."""
    ranges = [ip_network(row["pod_cidr"]) for row in world.nodes if row["pod_cidr"]]
    for (device, ip), row in machine.neighbours.items():
        if machine.kind(device) in TUNNELS or device == machine.nic or not row["mac"]:
            continue
        pod = world.pod_of_ip.get(ip)
        text = f"{ip} dev {device} lladdr {row['mac']}"
        if pod is None:
            if any(ip_address(ip) in cidr for cidr in ranges):
                yield _entry(machine, "neighbour", ip, None, text, "stale", replies(row))
            continue
        macs = [
            link["mac"] for link in world.pod_links.get(pod["pod"], []) if link["peer_ifindex"] is not None
        ]
        good = not macs or row["mac"] in macs
        yield _entry(machine, "neighbour", f"{pod['pod']} {ip}", macs[0] if macs else None, text,
                     "matching" if good else "wrong", replies(row))  # fmt: skip
