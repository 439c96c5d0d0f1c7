"""The programs of the `ebpf` topology of a lab: Services and policies at the devices of pods and of the node.

Order of decisions: `labkit/netns/ebpf/dataplane.bpf.c`. The client's node translates; all else is the kernel's:
its routes, hooks and neighbours. It is no Cilium.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import ended, hop, replies, seen
from labkit.analysis.paths.packet import Entry, family_of
from labkit.analysis.paths.routes import BITS, Prefixes, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.kernel import Kernel
    from labkit.analysis.paths.machine import Machine
    from labkit.analysis.paths.packet import Packet, Walk

__all__ = ["LabPrograms"]

#: From this address a pod is asked that is its own backend.
HAIRPIN = "169.254.42.1"

Row = dict[str, Any]


class LabPrograms:
    """The programs of an arm's nodes, and the maps they decide by."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def _rows(self, frame: str, node: str) -> list[Row]:
        return self.kernel.world.by_node(frame).get(node, [])

    def at_socket(self, walk: Walk, machine: Machine, *, of_host: bool) -> Iterator[Walk]:  # noqa: ARG002
        """Sockets are left alone."""
        yield walk

    def ingress(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk] | None:
        """What a pod sends, and what comes to the node; None where no program is attached."""
        if device not in machine.filtered:
            return None
        return (
            self._to_node(walk, machine, device)
            if device == machine.nic
            else self._from_pod(walk, machine, device)
        )

    def _to_node(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """Answers to what the node itself asked of a Service get the Service's address back."""
        yield from self.kernel.comes_in(self._given_back(walk, machine, "node"), machine, device)

    def _from_pod(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        pod = walk.packet.src
        if walk.packet.dst == HAIRPIN:
            back = self._to_itself(walk, machine)
            yield back if back.end else self._turned(back, machine, device)
            return
        if not walk.packet.opens:
            walk = self._given_back(walk, machine, "node")
            yield from self.kernel.comes_in(walk, machine, device)
            return
        for each in self._balanced(walk, machine):
            if each.end is not None:
                yield each
            elif each.packet.src == HAIRPIN:
                yield self._turned(each, machine, device)
            else:
                for allowed in self.policy(each, machine, pod, "egress", each.packet.dst):
                    yield from [allowed] if allowed.end else self.kernel.comes_in(allowed, machine, device)

    def _turned(self, walk: Walk, machine: Machine, device: str) -> Walk:
        """Back out by the device that it came in by; no policy and no route is asked."""
        return self.kernel.in_pod(
            seen(walk, machine.name, device, "out", "turned back to its pod"), machine, device
        )

    @staticmethod
    def _to_itself(walk: Walk, machine: Machine) -> Walk:
        """A pod's answer to itself: from the Service, to the address that asked."""
        entry = walk.known(f"{machine.name} pod lb")
        if entry is None:
            return ended(walk, machine.name, "conntrack", "dropped", f"nobody asked from {HAIRPIN}")
        src, sport, dst, dport = entry.first
        what = f"{walk.packet.src} to {HAIRPIN} becomes {dst} to {src} again"
        walk = walk.with_packet(src=dst, sport=dport, dst=src, dport=sport)
        return walk.then(hop(walk, machine.name, "conntrack", what, verdict="translated", rests_on=entry.shown,
                             reply=entry.reply))  # fmt: skip

    def egress(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk] | None:
        """What a pod is to receive; None where no program is attached."""
        if device not in machine.filtered:
            return None
        if not walk.packet.opens:
            return iter([self._given_back(walk, machine, "pod")])
        return self.policy(walk, machine, walk.packet.dst, "ingress", walk.packet.src)

    def to_netdev(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """What the node itself sends to a Service: translated, and sent on by the route to the backend."""
        if (
            device not in machine.filtered
            or not walk.packet.opens
            or self._frontend(machine, walk.packet) is None
        ):
            yield walk
            return
        for each in self._balanced(walk, machine, by="node"):
            route = machine.routes.decide(each.packet).route
            if each.end is not None or route is None or route["interface"] == device:
                yield each
                continue
            said = f"the program looks up the kernel's routes: out by {route['interface']}"
            row = hop(each, machine.name, "routing", said, rests_on=shown(route), reply=replies(route))
            yield from self.kernel.sends(each.then(row), machine, route)

    def _frontend(self, machine: Machine, packet: Packet) -> Row | None:
        if packet.protocol not in ("tcp", "udp"):
            return None
        wanted = (packet.dst, packet.protocol.upper(), packet.dport)
        rows = self._rows("lab_frontends", machine.name)
        return next((row for row in rows if (row["vip"], row["protocol"], row["port"]) == wanted), None)

    def _balanced(self, walk: Walk, machine: Machine, by: str = "pod") -> Iterator[Walk]:
        """One of the slots, drawn by chance; a client with affinity keeps its own."""
        asked, found = walk.packet, self._frontend(machine, walk.packet)
        if found is None:
            yield walk
            return
        rows = self._rows("lab_backends", machine.name)
        slots = [
            row for row in rows if row["service"] == found["service"] and row["slot"] < found["backends"]
        ]
        text = f"{found['vip']}:{found['port']}/{found['protocol']} service {found['service']}"
        if not slots:
            yield ended(walk, machine.name, "service", "rejected", "the Service has no backend", rests_on=text,
                        reply=replies(found))  # fmt: skip
            return
        note = "a client that was here before keeps its backend" if found["affinity_s"] else None
        for row in slots:
            src = HAIRPIN if row["backend_ip"] == asked.src else asked.src
            chosen = walk.with_packet(src=src, dst=row["backend_ip"], dport=row["backend_port"])
            entry = Entry(asked.ends, chosen.packet.ends, replies(found, row))
            chosen = chosen._replace(chance=walk.chance / len(slots)).remembered(
                f"{machine.name} {by} lb", entry
            )
            said = f"{asked.dst}:{asked.dport} becomes {row['backend_ip']}:{row['backend_port']}"
            yield chosen.then(
                hop(chosen, machine.name, "service", said, verdict="translated", note=note,
                    rests_on=f"{text}, slot {row['slot']}: {row['backend_ip']}:{row['backend_port']}",
                    reply=replies(found, row))
            )  # fmt: skip

    @staticmethod
    def _given_back(walk: Walk, machine: Machine, by: str) -> Walk:
        """An answer with the address that its client asked."""
        entry = walk.known(f"{machine.name} {by} lb")
        if entry is None or walk.packet.opens:
            return walk
        _, _, dst, dport = entry.first
        what = f"source {walk.packet.src} becomes {dst} again"
        walk = walk.with_packet(src=dst, sport=dport)
        return walk.then(hop(walk, machine.name, "conntrack", what, verdict="translated", rests_on=entry.shown,
                             reply=entry.reply))  # fmt: skip

    def policy(self, walk: Walk, machine: Machine, pod: str, direction: str, other: str) -> Iterator[Walk]:
        """Isolated pods may speak with the peers in their map, on the ports of the peer's set."""
        isolated = next((row for row in self._rows("lab_isolated", machine.name)
                         if (row["pod_ip"], row["direction"]) == (pod, direction)), None)  # fmt: skip
        if isolated is None:
            row = hop(walk, machine.name, "policy", f"{direction} of {pod}: not isolated",
                      rests_on=f"no entry of {pod} {direction} in the map of isolated pods",
                      reply=replies(*self._rows("lab_isolated", machine.name)[:1]))  # fmt: skip
            yield walk.then(row)
            return
        peer = self._peer(machine.name, pod, direction, other)
        text = f"isolated {pod} {direction}"
        open_ = [row for row in self._rows("lab_ports", machine.name)
                 if peer is not None and row["ports"] == peer["ports"] and _opens(row, walk.packet)]  # fmt: skip
        if not open_:
            said = f"{direction} of {pod}: nothing lets {other} pass"
            yield ended(walk, machine.name, "policy", "dropped", said, rests_on=text, reply=replies(isolated))
            return
        text += f", peer {peer['prefix'] if peer else ''} ports {open_[0]['ports']}"
        said = f"{direction} of {pod}: {other} may"
        yield walk.then(hop(walk, machine.name, "policy", said, rests_on=text, reply=replies(isolated, peer)))

    def _peer(self, node: str, pod: str, direction: str, ip: str) -> Row | None:
        prefixes = self._peers.get((node, pod, direction))
        return next((rows[0] for rows in prefixes.find(ip)), None) if prefixes else None

    @cached_property
    def _peers(self) -> dict[tuple[str, str, str], Prefixes]:
        found: dict[tuple[str, str, str], Prefixes] = {}
        for node, rows in self.kernel.world.by_node("lab_peers").items():
            for row in rows:
                bits = BITS[family_of(row["prefix"])]
                found.setdefault((node, row["pod_ip"], row["direction"]), Prefixes(bits)).add(
                    row["prefix"], row
                )
        return found


def _opens(row: Row, packet: Packet) -> bool:
    if row["protocol"] is None:
        return True
    if row["protocol"].lower() != packet.protocol:
        return False
    return row["first_port"] is None or (
        packet.dport is not None and row["first_port"] <= packet.dport <= row["last_port"]
    )
