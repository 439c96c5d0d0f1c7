"""Bridges: what is switched, what goes up to the node, and what netfilter sees of either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hooks import at_hook
from labkit.analysis.paths.hops import ASSUMED, ended, hop, replies, seen
from labkit.analysis.paths.routes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.kernel import Kernel
    from labkit.analysis.paths.machine import Machine
    from labkit.analysis.paths.packet import Walk

__all__ = ["Bridges"]

#: Setting that calls netfilter for what is only switched. That of IPv6 is read nowhere, and as that of IPv4.
CALLS_IPTABLES = "net.bridge.bridge-nf-call-iptables"


class Bridges:
    """The bridges of an arm's nodes."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def enters(self, walk: Walk, machine: Machine, port: str, bridge: str) -> Iterator[Walk]:
        """A frame that came in by a port.

        With bridge-nf-call-iptables the hooks run on frames that are only switched, too. A destination that
        they translate is routed anew: back out by the bridge it is switched, and no router counts it down.
        """
        setting = machine.sysctls.get(CALLS_IPTABLES)
        hooked = setting is not None and setting["value"] == "1"
        up = walk.frame_for in machine.addresses or walk.packet.dst in machine.addresses
        for each in at_hook(walk, machine, "PREROUTING", bridge) if hooked else [walk]:
            if each.end is not None:
                yield each
                continue
            goes_up = up
            if each.packet.dst != walk.packet.dst:
                route = machine.routes.decide(each.packet, bridge).route
                goes_up = route is None or route["interface"] != bridge or route["next_hop"] is not None
                if not goes_up:
                    each = self._turned(each, machine, bridge, route)  # noqa: PLW2901
            if goes_up:
                yield from self._up(each, machine, bridge, hooked=hooked)
            else:
                yield from self._switched(each, machine, port, bridge, setting if hooked else None)

    @staticmethod
    def _turned(walk: Walk, machine: Machine, bridge: str, route: dict[str, Any] | None) -> Walk:
        """A packet whose new destination is on the bridge that it came by: switched there, past the router.

        Until the bridge has a link-layer header for the new neighbour, the kernel sends the packet by the
        bridge's own device instead, where it is seen once more (br_nf_pre_routing_finish_bridge).
        """
        said = f"the new destination is on {bridge} itself: switched to it, past the router"
        walk = walk.then(
            hop(walk, machine.name, "routing", said, rests_on=shown(route), reply=replies(route))
        )
        note = "only until the new neighbour's link-layer header is known: the first packets, if any"
        return walk.then(
            hop(walk, machine.name, "neighbour", f"ARP for {walk.packet.dst}", device=bridge, tap="node",
                direction="out", note=note, verdict=ASSUMED, rests_on=shown(route), reply=replies(route))
        )  # fmt: skip

    def _up(self, walk: Walk, machine: Machine, bridge: str, *, hooked: bool) -> Iterator[Walk]:
        mac = machine.links[bridge]["mac"]
        entry = next((row for row in machine.forwarding.get(mac, []) if row["interface"] == bridge), None)
        walk = seen(walk, machine.name, bridge, "in", "up to the node: the frame is for the bridge's own MAC",
                    rests_on=f"{mac} dev {bridge}", reply=replies(entry, machine.links[bridge]))  # fmt: skip
        yield from self.kernel.comes_in(walk, machine, bridge, hooked=hooked)

    def _switched(
        self, walk: Walk, machine: Machine, port: str, bridge: str, setting: dict[str, Any] | None
    ) -> Iterator[Walk]:
        """From port to port, by way of the hooks FORWARD and POSTROUTING where they are called."""
        if setting is not None:
            walk = walk.then(
                hop(walk, machine.name, "bridge", "switched, and netfilter is called for it",
                    device=bridge, rests_on=f"{CALLS_IPTABLES} = 1", reply=replies(setting))
            )  # fmt: skip
        for each in at_hook(walk, machine, "FORWARD", bridge, bridge) if setting else [walk]:
            if each.end is not None:
                yield each
                continue
            for last in at_hook(each, machine, "POSTROUTING", None, bridge) if setting else [each]:
                yield from [last] if last.end else self._out(last, machine, bridge, last.packet.dst, port)

    def leaves(self, walk: Walk, machine: Machine, bridge: str, next_hop: str) -> Iterator[Walk]:
        """A packet that the node sends by its bridge."""
        walk = seen(walk, machine.name, bridge, "out", f"out by it, to {next_hop}")
        yield from self._out(walk, machine, bridge, next_hop, None)

    def _out(self, walk: Walk, machine: Machine, bridge: str, ip: str, not_by: str | None) -> Iterator[Walk]:
        """Out by the port that the next hop is behind."""
        neighbour = machine.neighbours.get((bridge, ip))
        mac = neighbour["mac"] if neighbour else self._mac_of(ip)
        entries = [row for row in machine.forwarding.get(mac or "", []) if row["master"] == bridge]
        if entries and entries[0]["interface"] != bridge:
            port = entries[0]["interface"]
            known = f"forwarding entry {mac} dev {port}"
            more: dict[str, Any] = {"rests_on": known, "reply": replies(neighbour, entries[0])}
        else:
            port, more = self._asked(machine, bridge, ip, not_by)
        if not port:
            yield ended(walk, machine.name, "bridge", "dropped", f"no port of {bridge} leads to {ip}", **more)
            return
        yield from self.kernel.to_pod(walk, machine, port, "out by this port", **more)

    def _mac_of(self, ip: str) -> str | None:
        """The MAC of a pod whose devices were read."""
        world = self.kernel.world
        pod = world.pod_of_ip.get(ip)
        links = world.pod_links.get(pod["pod"], []) if pod else []
        return next((row["mac"] for row in links if row["peer_ifindex"] is not None), None)

    def _asked(
        self, machine: Machine, bridge: str, ip: str, not_by: str | None
    ) -> tuple[str, dict[str, Any]]:
        """The ports behind which the next hop can be, where no neighbour or forwarding entry tells."""
        world = self.kernel.world
        pod = world.pod_of_ip.get(ip)
        others = {end[0] for name, end in world.host_ends.items() if pod is None or name != pod["pod"]}
        mine = world.host_ends.get(pod["pod"]) if pod else None
        ports = [mine[0]] if mine else sorted(set(machine.ports.get(bridge, [])) - others - {not_by})
        reply = replies(machine.links.get(bridge))
        if mine:
            return mine[0], {"rests_on": mine[1], "reply": mine[2]}
        note = f"{ASSUMED}: no neighbour entry of {ip}; ARP asks all ports, and one of these answers"
        return "|".join(ports), {
            "rests_on": f"ports of {bridge}",
            "reply": reply,
            "verdict": ASSUMED,
            "note": note,
        }
