"""Cilium's programs: at sockets, at the devices of pods, at the network card, and the maps they decide by.

Order of decisions: `bpf/bpf_sock.c`, `bpf/bpf_lxc.c` (handle_ipv4_from_lxc), `bpf/bpf_host.c` and
`bpf/lib/nat.h` of Cilium. With BPF host routing a packet goes from program to program, past the hooks of the
host; with legacy host routing (the default on AKS) the programs hand it to the kernel's stack.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import ASSUMED, ended, hop, replies, seen
from labkit.analysis.paths.maps import Maps
from labkit.analysis.paths.packet import Entry, Tunnel, at_port
from labkit.analysis.paths.routes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.kernel import Kernel
    from labkit.analysis.paths.machine import Machine
    from labkit.analysis.paths.packet import Walk

__all__ = ["Programs"]

Row = dict[str, Any]
#: Reserved identities: cilium `pkg/identity/numericidentity.go`.
HOST, REMOTE_NODE, KUBE_APISERVER = 1, 6, 7


class Programs:
    """The programs of an arm's nodes."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.maps = Maps(kernel.world)

    def status(self, machine: Machine) -> Row:
        return self.kernel.world.status.get(machine.name, {})

    def at_socket(self, walk: Walk, machine: Machine, *, of_host: bool) -> Iterator[Walk]:
        """connect() or sendmsg() to an address of a Service, where socket load balancing covers the socket."""
        status = self.status(machine)
        covers = status.get("socket_lb") and (of_host or status["socket_lb_coverage"] == "Full")
        if not covers or walk.packet.protocol not in ("tcp", "udp"):
            yield walk
            return
        asked = walk.packet
        for share, backend, more in self.maps.backends(machine.name, asked, maglev=False):
            if backend is None:
                how = "connect() fails: the frontend has no backend"
                yield ended(walk, machine.name, "socket", "rejected", how, **more)
                return
            chosen = walk.with_packet(dst=backend[0], dport=backend[1])._replace(chance=walk.chance * share)
            what = f"{at_port(asked.dst, asked.dport)} becomes {at_port(*backend)} before there is a packet"
            yield chosen.then(hop(chosen, machine.name, "socket", what, verdict="translated", **more))
        if not self.maps.is_frontend(machine.name, asked):
            yield walk

    def ingress(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk] | None:
        """What the program at the ingress of a device does; None where there is none, and the stack goes on."""
        if self.maps.endpoint_at(machine.name, device) is not None:
            return self._from_container(walk, machine, device)
        if device == machine.nic and walk.packet.tunnel is None:
            return self._from_netdev(walk, machine, device)
        if machine.kind(device) in ("vxlan", "geneve"):
            return self._to_local(walk, machine, device)
        return None

    def egress(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk] | None:
        """The program at the egress of a pod's device, for what comes from the stack: the pod's policy."""
        endpoint = self.maps.endpoint_at(machine.name, device)
        if endpoint is None:
            return None
        return self._policy(walk, machine, endpoint, "ingress")

    def _from_container(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        endpoint = self.maps.endpoint_at(machine.name, device)
        for each in self._balanced(walk, machine):
            if each.end is not None or endpoint is None:
                yield each
                continue
            for allowed in self._policy(each, machine, endpoint, "egress"):
                yield from [allowed] if allowed.end else self._forwarded(allowed, machine, device)

    def _balanced(self, walk: Walk, machine: Machine) -> Iterator[Walk]:
        """Service addresses that no socket translated: chosen by the program at the pod's device."""
        asked = walk.packet
        if not asked.opens or not self.maps.is_frontend(machine.name, asked):
            if asked.opens and self.maps.catches(machine.name, asked):
                note = (
                    "not modelled: what is sent to a Service's address at a port or protocol that it has not"
                )
                yield ended(
                    walk, machine.name, "service", "inconclusive", "a frontend of no backend", note=note
                )
                return
            yield walk
            return
        alone = "a pod that is its own backend is asked from another address (the service loopback)"
        maglev = self.status(machine).get("lb_algorithm") == "Maglev"
        for share, backend, more in self.maps.backends(machine.name, asked, maglev=maglev):
            if backend is None:
                yield ended(walk, machine.name, "service", "rejected", "the frontend has no backend", **more)
                return
            chosen = walk.with_packet(dst=backend[0], dport=backend[1])._replace(chance=walk.chance * share)
            if backend[0] == asked.src:
                yield ended(chosen, machine.name, "service", "inconclusive", "to itself",
                            **{**more, "note": f"not modelled: {alone}"})  # fmt: skip
                continue
            entry = Entry(asked.ends, chosen.packet.ends, more["reply"])
            chosen = chosen.remembered(f"{machine.name} lb", entry)
            what = f"{at_port(asked.dst, asked.dport)} becomes {at_port(*backend)}"
            yield chosen.then(hop(chosen, machine.name, "service", what, verdict="translated", **more))

    def _policy(self, walk: Walk, machine: Machine, endpoint: Row, direction: str) -> Iterator[Walk]:
        """The endpoint's policy map, by the identity of the other side; answers are let through unasked."""
        if not walk.packet.opens:
            yield self._given_back(self._let_through(walk, machine, endpoint, direction), machine, direction)
            return
        other = walk.packet.dst if direction == "egress" else walk.packet.src
        verdict, more = self.maps.verdict(machine.name, endpoint, direction, other, walk.packet)
        said = more.pop("decision")
        if verdict != "passes":
            yield ended(walk, machine.name, "policy", verdict, said, **more)
            return
        entry = Entry(walk.packet.ends, walk.packet.ends, more["reply"])
        walk = walk.remembered(_passing(machine, endpoint, direction), entry)
        yield walk.then(hop(walk, machine.name, "policy", said, **more))

    @staticmethod
    def _let_through(walk: Walk, machine: Machine, endpoint: Row, direction: str) -> Walk:
        """An answer, for which the endpoint's policy is not asked: its request passed in the other direction."""
        other = "ingress" if direction == "egress" else "egress"
        entry = walk.known(_passing(machine, endpoint, other))
        number = endpoint["endpoint"]
        said = f"an answer of a tracked connection: the {direction} policy of endpoint {number} is not asked"
        rests = f"{entry.shown}, let through by the {other} policy" if entry else f"endpoint {number}"
        reply = entry.reply if entry else replies(endpoint)
        return walk.then(hop(walk, machine.name, "policy", said, rests_on=rests, reply=reply))

    @staticmethod
    def _given_back(walk: Walk, machine: Machine, direction: str) -> Walk:
        entry = walk.known(f"{machine.name} lb")
        if direction != "ingress" or entry is None:
            return walk
        _, _, dst, dport = entry.first
        what = f"source {walk.packet.src} becomes {dst} again"
        walk = walk.with_packet(src=dst, sport=dport)
        return walk.then(hop(walk, machine.name, "conntrack", what, verdict="translated", rests_on=entry.shown,
                             reply=entry.reply))  # fmt: skip

    def _forwarded(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """From a pod, behind its policy: to a pod of this node, into a tunnel, or out."""
        status, name = self.status(machine), machine.name
        cached = self.maps.cached(name, walk.packet.dst)
        bpf = status.get("host_routing") == "BPF"
        here = self.maps.local(name, walk.packet.dst)
        if here is not None and here["endpoint"] is None:
            yield from self.kernel.comes_in(walk, machine, device)
        elif here is not None and (bpf or not self.maps.endpoint_routes(name)):
            yield from self._deliver(walk, machine, here)
        elif status.get("routing") == "Tunnel" and cached and cached["tunnel_endpoint"]:
            yield from self._into_tunnel(walk, machine, cached)
        elif bpf:
            yield from self._by_fib(walk, machine)
        else:
            yield from self.kernel.comes_in(walk, machine, device)

    def _by_fib(self, walk: Walk, machine: Machine) -> Iterator[Walk]:
        decision = machine.routes.decide(walk.packet)
        route = decision.route
        text = {"rests_on": shown(route), "reply": replies(route)}
        if route is None or route["type"] not in ("unicast", "local"):
            yield ended(walk, machine.name, "routing", "dropped", f"no way to {walk.packet.dst}", **text)
            return
        walk = walk._replace(packet=walk.packet.hopped())
        said = f"the program looks up the kernel's routes: out by {route['interface']}, past the hooks of the host"
        walk = walk.then(hop(walk, machine.name, "routing", said, **text))
        yield from self.kernel.sends(walk, machine, route)

    def _into_tunnel(self, walk: Walk, machine: Machine, cached: Row) -> Iterator[Walk]:
        device = next((n for n, row in machine.links.items() if row["kind"] in ("vxlan", "geneve")), None)
        if device is None:
            yield ended(
                walk,
                machine.name,
                "tunnel",
                "inconclusive",
                "the agent says Tunnel, and no such device was read",
            )
            return
        link = machine.links[device]
        far = cached["tunnel_endpoint"]
        tunnel = Tunnel(link["kind"], machine.ip, far, link["vxlan_port"], None)
        note = "the time to live in the tunnel is not modelled"
        walk = walk.with_packet(ttl=None)
        walk = seen(walk, machine.name, device, "out", "into the tunnel", note=note)
        walk = walk.with_packet(tunnel=tunnel)
        text = f"ipcache {cached['prefix']}: identity={cached['identity']} tunnelendpoint={far}"
        walk = walk.then(hop(walk, machine.name, "tunnel", f"{link['kind']} to {far}", device=device, rests_on=text,
                             reply=replies(cached)))  # fmt: skip
        yield from self.kernel.tunnels.outer(walk, machine)

    def to_netdev(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """The program at the egress of the network card: masquerading, where BPF does it."""
        status, packet = self.status(machine), walk.packet
        local = self.maps.local(machine.name, packet.src)
        if (
            status.get("masquerading") != "BPF"
            or not packet.opens
            or local is None
            or local["endpoint"] is None
        ):
            yield walk
            return
        kept = status["no_masquerade_prefix"]
        cached = self.maps.cached(machine.name, packet.dst)
        if kept and ip_address(packet.dst) in ip_network(kept):
            what = f"the source stays: {packet.dst} is in {kept}"
        elif (
            cached
            and cached["identity"] in (REMOTE_NODE, KUBE_APISERVER)
            and not self.maps.masquerades_nodes(machine.name)
        ):
            what = f"the source stays: {packet.dst} is a node (identity {cached['identity']})"
        elif self.maps.option(machine.name, "EnableIPMasqAgent") == "true":
            note = "not modelled: the ranges of ip-masq-agent, which are in a map that is not read"
            yield ended(walk, machine.name, "masquerade", "inconclusive", "ip-masq-agent decides", note=note)
            return
        else:
            walk = walk.with_packet(src=machine.ip, sport=None)
            entry = Entry(packet.ends, walk.packet.ends, replies(status))
            walk = walk.remembered(f"{machine.name} snat", entry)
            said = f"{packet.src} becomes {machine.ip}"
            yield walk.then(hop(walk, machine.name, "masquerade", said, device=device, verdict="translated",
                                rests_on=f"masquerading BPF, but for {kept}", reply=replies(status)))  # fmt: skip
            return
        rests = f"masquerading BPF, but for {kept}"
        yield walk.then(hop(walk, machine.name, "masquerade", what, device=device, rests_on=rests,
                            reply=replies(status, cached)))  # fmt: skip

    def _from_netdev(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        entry = walk.known(f"{machine.name} snat")
        if entry is not None and not walk.packet.opens:
            before = walk.packet.dst
            walk = walk.with_packet(dst=entry.first[0], dport=entry.first[1])
            what = f"destination {before} becomes {walk.packet.dst} again"
            walk = walk.then(hop(walk, machine.name, "conntrack", what, verdict="translated",
                                 rests_on=entry.shown, reply=entry.reply))  # fmt: skip
        if walk.packet.opens and self.maps.is_frontend(machine.name, walk.packet):
            note = "not modelled: NodePort and other frontends for packets that come from outside"
            yield ended(walk, machine.name, "service", "inconclusive", "a frontend", note=note)
            return
        yield from self._to_local(walk, machine, device)

    def _to_local(self, walk: Walk, machine: Machine, device: str) -> Iterator[Walk]:
        """From the network to a pod of this node by the programs, or on with the stack."""
        here = self.maps.local(machine.name, walk.packet.dst)
        bpf = self.status(machine).get("host_routing") == "BPF"
        if here is not None and here["endpoint"] is not None and bpf:
            yield from self._deliver(walk, machine, here)
        elif (
            here is not None and here["endpoint"] is not None and not self.maps.endpoint_routes(machine.name)
        ):
            note = "not modelled: legacy host routing without a route per endpoint"
            yield ended(walk, machine.name, "routing", "inconclusive", "by cilium_host", note=note)
        else:
            yield from self.kernel.comes_in(walk, machine, device)

    def _deliver(self, walk: Walk, machine: Machine, here: Row) -> Iterator[Walk]:
        """To a pod of the same node, from program to program."""
        endpoint = self.maps.endpoint_of(machine.name, here["endpoint"])
        device = endpoint["interface"] if endpoint else None
        if endpoint is None or device is None:
            yield ended(walk, machine.name, "delivery", "inconclusive",
                        f"endpoint {here['endpoint']} is in the map, and in no list of the agent")  # fmt: skip
            return
        walk = walk._replace(packet=walk.packet.hopped())
        text = f"{here['ip']}: id={here['endpoint']} ifindex={here['ifindex']} mac={here['mac']}"
        bpf = self.status(machine).get("host_routing") == "BPF"
        said = f"to endpoint {here['endpoint']} behind {device}, past it (redirect_peer)" if bpf else (
            f"to endpoint {here['endpoint']} behind {device}")  # fmt: skip
        walk = walk.then(
            hop(walk, machine.name, "delivery", said, rests_on=text, reply=replies(here, endpoint))
        )
        for each in self._policy(walk, machine, endpoint, "ingress"):
            if each.end is None and not bpf:
                each = seen(each, machine.name, device, "out", "out by it", verdict=ASSUMED,  # noqa: PLW2901
                            note=f"{ASSUMED}: without BPF host routing the device is crossed")  # fmt: skip
            yield each if each.end else self.kernel.in_pod(each, machine, device)


def _passing(machine: Machine, endpoint: Row, direction: str) -> str:
    """Under which name a walk remembers that an endpoint's policy let it through."""
    return f"{machine.name} endpoint {endpoint['endpoint']} {direction}"
