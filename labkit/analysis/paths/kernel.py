"""The way of a packet through the kernels of the nodes: bridges, routes, hooks, neighbours, tunnels.

Each function takes a walk and gives every walk that it can become; one that ended has its `end`. Order of
decisions: `net/ipv4/ip_input.c`, `ip_forward.c`, `ip_output.c`, `net/bridge/br_input.c` and
`br_netfilter_hooks.c` of Linux.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from labkit.analysis.paths.bridges import Bridges
from labkit.analysis.paths.hooks import at_hook
from labkit.analysis.paths.hops import ASSUMED, ended, hop, replies, seen
from labkit.analysis.paths.routes import shown
from labkit.analysis.paths.tunnels import Tunnels
from labkit.analysis.routing import TUNNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.machine import Machine
    from labkit.analysis.paths.packet import Walk
    from labkit.analysis.paths.state import World

__all__ = ["Attached", "Kernel"]

Row = dict[str, Any]
LOOPBACK = "lo"
FORWARDING = {"inet": "net.ipv4.ip_forward", "inet6": "net.ipv6.conf.all.forwarding"}


class Attached(Protocol):
    """Programs of eBPF at sockets and devices. Where they give None, none is attached there."""

    def at_socket(self, walk: Walk, machine: Machine, *, of_host: bool) -> Iterator[Walk]:
        """What connect() or sendmsg() make of the destination."""

    def ingress(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk] | None:
        """The whole way on from the ingress of a device."""

    def egress(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk] | None:
        """What goes out by a pod's device."""

    def to_netdev(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """What goes out by a network card; walks at their end went another way."""


class Kernel:
    """The kernels of an arm's nodes. `programs` are those attached to their devices, where any are known."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.programs: Attached | None = None
        self.bridges = Bridges(self)
        self.tunnels = Tunnels(self)

    def arrives(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """A packet that was seen to come in by a device, up from there."""
        first = device.partition("|")[0]
        link = machine.links.get(first)
        if self.programs is not None and (taken := self.programs.ingress(walk, machine, device)) is not None:
            yield from taken
        elif (filters := machine.filtered.get(first)) is not None and self.programs is None:
            yield unmodelled(walk, machine, first, filters)
        elif link and link["master"] and machine.kind(link["master"]) == "bridge":
            yield from self.bridges.enters(walk, machine, device, link["master"])
        else:
            yield from self.comes_in(walk, machine, device)

    def comes_in(self, walk: Walk, machine: Machine, device: str, *, hooked: bool = False) -> Iterator[Walk]:
        """IP: the hook PREROUTING (unless the bridge called it), then the routing decision."""
        if walk.packet.tunnel is not None:
            yield from self.tunnels.unwraps(walk, machine, device)
            return
        for each in [walk] if hooked else at_hook(walk, machine, "PREROUTING", device):
            if each.end is None:
                yield from self._routed(each, machine, device)
            else:
                yield each

    def _routed(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        decision = machine.routes.decide(walk.packet, device)
        route = decision.route
        text = {"rests_on": shown(route), "reply": replies(route) or decision.reply}
        if not machine.read("routes"):
            yield ended(walk, machine.name, "routing", "inconclusive", "routes were not read")
        elif route is None:
            yield ended(walk, machine.name, "routing", "dropped", f"no route to {walk.packet.dst}", **text)
        elif route["type"] == "local":
            walk = walk.then(
                hop(walk, machine.name, "routing", f"{decision.rule}: for the node itself", **text)
            )
            for each in at_hook(walk, machine, "INPUT", device):
                yield each if each.end else delivered(each, machine.name, text)
        elif route["type"] != "unicast":
            yield ended(walk, machine.name, "routing", "dropped", f"a route of type {route['type']}", **text)
        elif (why := self._forwards(walk, machine)) is not None:
            yield ended(walk, machine.name, "routing", *why)
        else:
            walk = walk._replace(packet=walk.packet.hopped())
            walk = walk.then(hop(walk, machine.name, "routing", f"{decision.rule}: {_towards(route)}", **text,
                                 note=_among(decision.others)))  # fmt: skip
            yield from self._forwarded(walk, machine, device, route)

    @staticmethod
    def _forwards(walk: Walk, machine: Machine) -> tuple[str, str] | None:
        """Why the node does not forward this packet; None where it does, or was not asked."""
        setting = machine.sysctls.get(FORWARDING[walk.packet.family])
        if setting is not None and setting["value"] == "0":
            return "dropped", f"{setting['name']} = 0"
        if walk.packet.ttl == 1:
            return "dropped", "its time to live is over"
        return None

    def _forwarded(self, walk: Walk, machine: Machine, device: str, route: Row) -> Iterator[Walk]:
        for each in at_hook(walk, machine, "FORWARD", device, route["interface"]):
            if each.end is not None:
                yield each
                continue
            for last in at_hook(each, machine, "POSTROUTING", None, route["interface"]):
                yield from [last] if last.end else self.sends(last, machine, route)

    def originates(self, walk: Walk, machine: Machine) -> Iterator[Walk]:
        """A packet that the node itself sends."""
        route = machine.routes.decide(walk.packet).route
        if route is None:
            yield ended(walk, machine.name, "routing", "dropped", f"no route to {walk.packet.dst}")
            return
        for each in at_hook(walk, machine, "OUTPUT", None, route["interface"]):
            yield from [each] if each.end else self._routed_again(each, machine)

    def _routed_again(self, walk: Walk, machine: Machine) -> Iterator[Walk]:
        """Behind nat, where the destination may be another."""
        decision = machine.routes.decide(walk.packet)
        route = decision.route
        if route is None:
            yield ended(walk, machine.name, "routing", "dropped", f"no route to {walk.packet.dst}")
            return
        text = {"rests_on": shown(route), "reply": replies(route)}
        walk = walk.then(hop(walk, machine.name, "routing", f"{decision.rule}: {_towards(route)}", **text))
        for each in at_hook(walk, machine, "OUTPUT, behind routing", None, route["interface"]):
            yield from [each] if each.end else self._leaves_itself(each, machine, route)

    def _leaves_itself(self, walk: Walk, machine: Machine, route: Row) -> Iterator[Walk]:
        for last in at_hook(walk, machine, "POSTROUTING", None, route["interface"]):
            if last.end is not None:
                yield last
            elif route["type"] == "local":
                back = seen(last, machine.name, LOOPBACK, "in", "to itself; tracked already")
                yield from self.comes_in(back, machine, LOOPBACK, hooked=True)
            else:
                yield from self.sends(last, machine, route)

    def sends(self, walk: Walk, machine: Machine, route: Row) -> Iterator[Walk]:
        """Out by a device, to the next hop."""
        device, next_hop = route["interface"], route["next_hop"] or walk.packet.dst
        kind, filters = machine.kind(device), machine.filtered.get(device)
        if filters is not None and self.programs is None:
            yield unmodelled(walk, machine, device, filters)
        elif device not in machine.links:
            yield ended(walk, machine.name, "device", "dropped", f"the node has no device {device}",
                        rests_on=shown(route), reply=replies(route))  # fmt: skip
        elif kind == "bridge":
            yield from self.bridges.leaves(walk, machine, device, next_hop)
        elif kind in TUNNELS:
            yield from self.tunnels.wraps(walk, machine, device, next_hop)
        elif kind == "veth" and device != machine.nic:
            yield from self.to_pod(walk, machine, device, "out by it")
        else:
            for each in self.programs.to_netdev(walk, machine, device) if self.programs else [walk]:
                if each.end is not None:
                    yield each
                    continue
                out = seen(each, machine.name, device, "out", f"out by it, to {next_hop}")
                yield from self.tunnels.crosses(out, machine, device, next_hop)

    def to_pod(self, walk: Walk, machine: Machine, device: str, said: str, **more: Any) -> Iterator[Walk]:  # noqa: ANN401
        """Out by a device (or one of several, with | between them), and into the pod behind it.

        A program at its egress comes before what a capture sees there.
        """
        taken = self.programs.egress(walk, machine, device) if self.programs else None
        for each in [walk] if taken is None else taken:
            if each.end is not None:
                yield each
            else:
                yield self.in_pod(seen(each, machine.name, device, "out", said, **more), machine, device)

    def in_pod(self, walk: Walk, machine: Machine, device: str) -> Walk:
        """The walk at its end in the pod behind a device."""
        owner = self.world.pod_of_ip.get(walk.packet.dst)
        behind = {self.world.behind.get((machine.name, name)) for name in device.split("|")}
        if owner is None or owner["node"] != machine.name:
            whose = "no pod" if owner is None else f"pod {owner['pod']} of {owner['node']}"
            reason = f"{walk.packet.dst} is the address of {whose}"
            return ended(
                walk, machine.name, "delivery", "dropped", f"nobody behind {device} has it", note=reason
            )
        if None not in behind and owner["pod"] not in behind:
            reason = f"behind {device} is {', '.join(sorted(str(b) for b in behind))}"
            return ended(walk, machine.name, "delivery", "dropped", f"not to {owner['pod']}", note=reason)
        interface, known, reply = self._inside(owner["pod"])
        walk = seen(walk, machine.name, interface, "in", f"into the pod {owner['pod']}", tap=owner["pod"],
                    rests_on=known, reply=reply, verdict="delivered")  # fmt: skip
        return walk._replace(end="delivered", at=("pod", owner["pod"]), by=device)

    def _inside(self, pod: str) -> tuple[str, str | None, str | None]:
        end = self.world.host_ends.get(pod)
        links = [row for row in self.world.pod_links.get(pod, []) if row["peer_ifindex"] is not None]
        return (links[0]["interface"] if links else "eth0"), end and end[1], end and end[2]


def delivered(walk: Walk, node: str, by: Row) -> Walk:
    """The walk at its end on the node itself, by the route that says so."""
    asks = walk.packet.opens and walk.packet.dport is not None
    note = f"not read: whether anything listens at port {walk.packet.dport}" if asks else None
    walk = walk.then(
        hop(walk, node, "delivery", "to a socket of the node", verdict="delivered", note=note, **by)
    )
    return walk._replace(end="delivered", at=("node", node))


def unmodelled(walk: Walk, machine: Machine, device: str, qdisc: Row) -> Walk:
    """The walk at a device where programs decide that are nobody's we know."""
    note = "not modelled: what programs or filters of tc do there"
    text = f"qdisc clsact {qdisc['handle']} dev {device}"
    return ended(walk, machine.name, "device", "inconclusive", f"a clsact qdisc at {device}", device=device,
                 rests_on=text, reply=replies(qdisc), note=note)  # fmt: skip


def _towards(route: Row) -> str:
    via = f"by {route['next_hop']}" if route["next_hop"] else "on the link"
    return f"{via}, out by {route['interface']}"


def _among(others: tuple[Row, ...]) -> str | None:
    if not others:
        return None
    return f"{ASSUMED}: the first of {len(others) + 1} next hops; the kernel chooses by a hash of the flow"
