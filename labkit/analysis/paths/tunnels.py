"""Between nodes: packets in packets, and the network that carries them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hooks import at_hook
from labkit.analysis.paths.hops import ASSUMED, ended, hop, replies, seen
from labkit.analysis.paths.packet import Packet, Tunnel, Walk
from labkit.analysis.paths.routes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.kernel import Kernel
    from labkit.analysis.paths.machine import Machine

__all__ = ["Tunnels"]

Row = dict[str, Any]


#: How often a packet crosses between nodes before it must be in a loop.
LOOPS = 8


class Tunnels:
    """Tunnels of an arm's nodes, and what lies between the nodes."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def wraps(self, walk: Walk, machine: Machine, device: str, next_hop: str) -> Iterator[Walk]:
        """Out by a tunnel: neighbour, forwarding entry, and the route of the outer packet."""
        link = machine.links[device]
        walk = seen(walk, machine.name, device, "out", f"into the tunnel, to {next_hop}")
        if link["kind"] != "vxlan":
            yield ended(walk, machine.name, "tunnel", "inconclusive", f"a tunnel of kind {link['kind']}",
                        note=f"not modelled: who the far end of a {link['kind']} device is")  # fmt: skip
            return
        neighbour = machine.neighbours.get((device, next_hop))
        entry = self._entry(machine, device, neighbour)
        if neighbour is None or entry is None:
            what = f"no forwarding entry of {device}" if neighbour else f"no neighbour {next_hop} on {device}"
            yield ended(walk, machine.name, "tunnel", "dropped", what, reply=replies(neighbour, link))
            return
        source = link["vxlan_local_ip"] or machine.ip
        tunnel = Tunnel(
            "vxlan", source, entry["dst_ip"], link["vxlan_port"], link["vxlan_id"], neighbour["mac"]
        )
        walk = walk.with_packet(tunnel=tunnel)
        text = (
            f"neighbour {next_hop} {neighbour['mac']}; forwarding entry {entry['mac']} dst {entry['dst_ip']}"
        )
        walk = walk.then(
            hop(walk, machine.name, "tunnel",
                f"VXLAN {tunnel.vni} in UDP {tunnel.port} to {tunnel.dst}", device=device, rests_on=text,
                reply=replies(neighbour, entry))
        )  # fmt: skip
        yield from self.outer(walk, machine)

    @staticmethod
    def _entry(machine: Machine, device: str, neighbour: Row | None) -> Row | None:
        if neighbour is None or not neighbour["mac"]:
            return None
        entries = machine.forwarding.get(neighbour["mac"], [])
        return next((row for row in entries if row["interface"] == device and row["dst_ip"]), None)

    def outer(self, walk: Walk, machine: Machine) -> Iterator[Walk]:
        """The outer packet, which the node itself sends: routed, through its hooks, and out."""
        tunnel = walk.packet.tunnel
        if tunnel is None:
            raise ValueError("a packet in no tunnel has no outside")
        around = Packet(tunnel.src, tunnel.dst, "udp", None, tunnel.port, mark=walk.packet.mark)
        route = machine.routes.decide(around).route
        text = {"rests_on": shown(route), "reply": replies(route)}
        if route is None or route["type"] != "unicast":
            kind = "no route" if route is None else f"a route of type {route['type']}"
            yield ended(
                walk, machine.name, "routing", "dropped", f"outer packet: {kind} to {tunnel.dst}", **text
            )
            return
        walk = walk.then(hop(walk, machine.name, "routing", f"outer packet to {tunnel.dst}", **text))
        stopped = self._hooked(walk, machine, around, route["interface"])
        if isinstance(stopped, Walk):
            yield stopped
            return
        walk = walk.with_packet(tunnel=tunnel._replace(src=stopped.src))
        next_hop = route["next_hop"] or tunnel.dst
        walk = seen(walk, machine.name, route["interface"], "out", f"out by it, to {next_hop}")
        yield from self.crosses(walk, machine, route["interface"], next_hop)

    @staticmethod
    def _hooked(walk: Walk, machine: Machine, around: Packet, device: str) -> Walk | Packet:
        """The outer packet behind OUTPUT and POSTROUTING; the walk at its end where one of them stops it."""
        for name in ("OUTPUT", "OUTPUT, behind routing", "POSTROUTING"):
            for each in at_hook(Walk(around), machine, name, None, device):
                if each.end is not None:
                    last = {**each.hops[-1], "note": "of the outer packet"}
                    return walk.then(last)._replace(end=each.end)
                around = each.packet
        return around

    def crosses(self, walk: Walk, machine: Machine, device: str, next_hop: str) -> Iterator[Walk]:
        """From a network card to the node that the packet is for, or out of what is known."""
        world = self.kernel.world
        if sum(row["place"] == "network" for row in walk.hops) >= LOOPS:
            said = f"a loop: between nodes for the {LOOPS + 1}th time, until its time to live is over"
            yield ended(walk, None, "network", "dropped", said)
            return
        outer = walk.packet.tunnel.dst if walk.packet.tunnel else walk.packet.dst
        neighbour = machine.neighbours.get((device, next_hop))
        direct = world.node_of_ip.get(next_hop)
        pod = None if walk.packet.tunnel else world.pod_of_ip.get(outer)
        to = direct or world.node_of_ip.get(outer) or (pod["node"] if pod else None)
        if to is None and walk.packet.tunnel is None:
            to = world.node_of_range(outer)
        if to is None:
            known = "leaves" if walk.packet.tunnel is None else "dropped"
            said = f"to {outer}, which is no node and no pod of this cluster"
            yield ended(walk, None, "network", known, said, reply=replies(neighbour, *world.nodes),
                        rests_on=f"addresses of {len(world.nodes)} nodes and {len(world.pods)} pods")  # fmt: skip
            return
        if direct is None:
            walk = walk.with_packet(ttl=walk.packet.ttl if walk.packet.tunnel else None)
            note = f"{ASSUMED}: {next_hop} is no node; what routes behind it is not read, and must bring it to {to}"
            row = hop(walk, None, "network", f"to {to}, by routers that are not read", verdict=ASSUMED, note=note,
                      rests_on=f"{outer} is of {to}", reply=replies(neighbour, pod, world.node(to)))  # fmt: skip
        else:
            known = neighbour["mac"] if neighbour and neighbour["mac"] else f"node {to}"
            row = hop(walk, None, "network", f"to {to}, straight", rests_on=f"{next_hop} is {known}",
                      reply=replies(neighbour, world.node(to)))  # fmt: skip
        walk = walk.then(row)
        there = world.machines[to]
        if there.nic is None:
            yield ended(walk, to, "device", "inconclusive", f"no device with the address {there.ip} was read")
            return
        yield from self.kernel.arrives(seen(walk, to, there.nic, "in", "in by it"), there, there.nic)

    def unwraps(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """A packet in a tunnel that ends here, or does not."""
        tunnel = walk.packet.tunnel
        if tunnel is None or tunnel.dst not in machine.addresses:
            yield ended(walk, machine.name, "tunnel", "dropped", "the tunnel does not end on this node")
            return
        ends = [row for row in machine.links.values() if row["kind"] == tunnel.kind
                and row["vxlan_id"] in (tunnel.vni, None) and row["vxlan_port"] in (tunnel.port, None)]  # fmt: skip
        around = Packet(tunnel.src, tunnel.dst, "udp", None, tunnel.port)
        for name in ("PREROUTING", "INPUT"):
            for each in at_hook(Walk(around), machine, name, device):
                if each.end is not None:
                    last = {**each.hops[-1], "note": "of the outer packet"}
                    yield walk.then(last)._replace(end=each.end)
                    return
        if not ends:
            said = f"no device for {tunnel.kind} {tunnel.vni} at UDP {tunnel.port}"
            yield ended(walk, machine.name, "tunnel", "dropped", said)
            return
        inner = ends[0]
        if tunnel.mac is not None and inner["mac"] != tunnel.mac:
            said = f"the frame inside is for {tunnel.mac}, and {inner['interface']} is {inner['mac']}"
            yield ended(walk, machine.name, "tunnel", "dropped", said, reply=replies(inner))
            return
        walk = walk.with_packet(tunnel=None)
        walk = seen(walk, machine.name, inner["interface"], "in", "unwrapped", reply=replies(inner))
        yield from self.kernel.arrives(walk, machine, inner["interface"])
