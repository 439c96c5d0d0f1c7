"""Explain the way of a packet, and of its answer, by the state of an arm."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.ends import End, destination, source, split
from labkit.analysis.paths.hops import ASSUMED, ended, frame_of, hop, replies
from labkit.analysis.paths.kernel import Kernel
from labkit.analysis.paths.lab_programs import LabPrograms
from labkit.analysis.paths.names import answered, dns_name, questions
from labkit.analysis.paths.packet import Packet, Walk, family_of
from labkit.analysis.paths.programs import Programs
from labkit.analysis.paths.start import from_node, from_outside, from_pod
from labkit.analysis.paths.state import World
from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.analysis.paths.state import State

__all__ = ["Model"]

REQUEST, ANSWER = "1 request", "2 answer"
PORTS = 65536


class Model:
    """The model of one arm. Building it indexes the state; explaining then takes milliseconds."""

    def __init__(self, state: State) -> None:
        self.world = World(state)
        self.kernel = Kernel(self.world)
        if self.world.status:
            self.kernel.programs = Programs(self.kernel)
        elif self.world.by_node("lab_frontends"):
            self.kernel.programs = LabPrograms(self.kernel)
        for machine in self.world.machines.values():
            machine.index()

    def explain(
        self, src: str, dst: str, *, port: int | None = None, protocol: str | None = None
    ) -> pd.DataFrame:
        """The predicted hops: frame HOPS.

        `src` and `dst` are as `labkit.analysis.paths.ends` reads them, `dst` with `:port` and `/protocol` behind
        it, if any. Without a port, a Service's first one is taken; anything else is pinged. Raises
        ParameterError for a name that is none, and says what there is.
        """
        name, given, by = split(dst)
        if (given and port is not None) or (by and protocol is not None):
            raise ParameterError(f"{dst!r} names a port or protocol, and another is given beside it")
        begin = source(self.world, src)
        end = destination(self.world, name, begin)
        protocol = by or protocol
        if given:
            port, protocol = self._port(end, given, protocol)
        walks = list(self.walks(begin, end, *self.transport(end, port, protocol)))
        return frame_of(part for number, ways in enumerate(walks) for part in _ways(number, *ways))

    def _port(self, end: End, given: str, protocol: str | None) -> tuple[int, str | None]:
        """A port by its number, or by the name that a Service gives it."""
        if given.isdigit() and 0 < int(given) < PORTS:
            return int(given), protocol
        rows = self._ports(end)
        for row in rows:
            if row["port_name"] == given:
                return row["port"], protocol or row["protocol"].lower()
        raise ParameterError(f"{end.name} has no port {given!r}; it has {_shown(rows)}")

    def _ports(self, end: End) -> list[dict[str, Any]]:
        """The rows of a Service, one a port; none of what is no Service."""
        if end.kind != "service":
            return []
        namespace, _, service = end.name.partition("/")
        return self.world.services_by_name[dns_name(service, namespace)]

    def transport(self, end: End, port: int | None, protocol: str | None) -> tuple[str, int | None]:
        """Protocol and port: those that were asked for, or the Service's first; else an echo."""
        rows = self._ports(end)
        echo = "icmp" if family_of(end.ip) == "inet" else "icmpv6"
        if protocol == echo or (port is None and protocol is None and not rows):
            return echo, None
        if rows and port is None:
            wanted = [row for row in rows if protocol in (None, row["protocol"].lower())]
            if not wanted:
                raise ParameterError(f"{end.name} has no port of protocol {protocol}; it has {_shown(rows)}")
            return wanted[0]["protocol"].lower(), wanted[0]["port"]
        if protocol not in (None, "tcp", "udp", "sctp"):
            raise ParameterError(f"no protocol {protocol!r} to {end.ip}; there are tcp, udp, sctp and {echo}")
        if port is None:
            raise ParameterError(f"which port of {end.name}? {protocol} has ports: write {end.name}:<port>")
        same = [row["protocol"].lower() for row in rows if row["port"] == port]
        return protocol or (same[0] if same else "tcp"), port

    def walks(
        self, begin: End, end: End, protocol: str, port: int | None
    ) -> Iterator[tuple[Walk, Walk | None]]:
        """Each way and the way of its answer; None where there is no answer."""
        src = self._source_ip(begin, end)
        walk = Walk(Packet(src or "", end.ip, protocol, None, port))
        if end.kind == "service" and end.asked:
            walk = self._resolved(walk, begin, end)
        if end.kind == "service" and not end.ip and walk.end is None:
            note = "a headless Service: its name stands for the addresses of its pods"
            walk = ended(walk, None, "name", "inconclusive", f"{end.name} has no address", note=note)
        if src is None and walk.end is None:
            reason = f"{begin.name} has no address of family {family_of(end.ip)}"
            walk = ended(walk, None, "routing", "inconclusive", "nowhere to send from", note=reason)
        if walk.end is not None:
            yield walk, None
            return
        for forth in self._start(walk, begin.kind, begin.name):
            known = self._known(forth, end)
            yield known, self._answer(known, end)

    def _start(self, walk: Walk, kind: str, name: str) -> Iterator[Walk]:
        if kind == "outside":
            return from_outside(walk, self.kernel)
        return (from_node if kind == "node" else from_pod)(walk, self.kernel, name)

    def _known(self, forth: Walk, end: End) -> Walk:
        """A way to a Service that nothing translated: who does Services here is not known, so nor is the way."""
        if end.kind != "service" or forth.end == "inconclusive" or forth.packet.dst != end.ip:
            return forth
        if any(row["place"] in ("service", "socket") or row["verdict"] == "rejected" for row in forth.hops):
            return forth
        by_rules = (m.rules.get(family_of(end.ip)) for m in self.world.machines.values())
        if any(rules is not None and ("nat", "KUBE-SERVICES") in rules.chains for rules in by_rules):
            return self._without_rule(forth, end)  # kube-proxy does Services by rules
        note = "not modelled: no rule of iptables and no map of Cilium is for this Service (IPVS, nftables, others?)"
        return ended(forth, None, "service", "inconclusive", f"nothing translates {end.ip}", note=note)

    def _without_rule(self, forth: Walk, end: End) -> Walk:
        """Said of a way to a Service that no rule is for: which ports it has."""
        what = "/".join(str(part) for part in (forth.packet.dport, forth.packet.protocol) if part is not None)
        note = f"no rule is for {what} of {end.name}, which has {_shown(self._ports(end))}"
        return forth._replace(hops=(*forth.hops[:-1], {**forth.hops[-1], "note": note}))

    def _source_ip(self, begin: End, end: End) -> str | None:
        """The address that is sent from; None where the sender has none of the family."""
        family = family_of(end.ip)
        same = family_of(begin.ip) == family
        if begin.kind == "outside" or (begin.addressed and same):
            return begin.ip if same else None
        if ip_address(end.ip or "::").is_loopback:
            return end.ip
        if begin.kind == "node":
            machine, packet = self.world.machines[begin.name], Packet(begin.ip, end.ip, "tcp")
            route = machine.routes.decide(packet).route or {}
            chosen = route.get("src_ip") or machine.address_for(packet, route.get("interface"))
            return str(chosen) if chosen else begin.ip if same else None
        if same:
            return begin.ip
        mine = self.world.pod_addresses.get(begin.name, [])
        return next((row["ip"] for row in mine if row["family"] == family and row["scope"] == "global"), None)

    def _resolved(self, walk: Walk, begin: End, end: End) -> Walk:
        """The name's way to an address, where one was named."""
        asked, node = end.asked or "", self.world.pods[begin.name]["node"] if begin.kind == "pod" else None
        resolver = self.world.resolvers.get(begin.name)
        if resolver is None:
            reason = "resolv.conf of the sender was not read; the Service's address is taken from the API"
            text = f"Service {end.name} clusterIP {end.ip or 'None'}"
            return walk.then(
                hop(walk, node, "name", f"{asked} is {end.ip or 'nothing'}", verdict=ASSUMED, note=reason,
                    rests_on=text, reply=replies(end.row))
            )  # fmt: skip
        tried = questions(asked, (resolver["search"] or "").split(","), resolver["ndots"])
        count, found = answered(tried, self.world.services_by_name)
        text = (
            f"nameserver {resolver['nameservers']}, search {resolver['search']}, ndots {resolver['ndots']}; "
            f"asks {', '.join(tried[:count])}"
        )
        more: dict[str, Any] = {"rests_on": text, "reply": replies(resolver, found)}
        if found is None or not found["cluster_ip"]:
            why = (
                "no Service has this name"
                if found is None
                else "a headless Service: its pods are answered, in any order"
            )
            return ended(
                walk, node, "name", "inconclusive", f"{count} questions, no address", note=why, **more
            )
        said = (
            f"question {count}, {tried[count - 1]}: {resolver['nameservers']} answers {found['cluster_ip']}"
        )
        note = "what cluster DNS answers follows from the API; each question is a flow of its own"
        return walk.then(hop(walk, node, "name", said, note=note, **more))

    def _answer(self, forth: Walk, end: End) -> Walk | None:
        """The way of the answer to a packet that was delivered."""
        if forth.end not in ("delivered", "leaves"):
            return None
        walk = Walk(forth.packet.answer(), forth.chance, tracked=forth.tracked, by=forth.by)
        if forth.end == "leaves" or forth.at is None:
            found = list(from_outside(walk, self.kernel))
        else:
            kind, name = forth.at
            found = list(self._start(walk, kind, name))
        back = found[0]
        if len(found) > 1:  # an answer is drawn for nowhere
            return ended(back, None, "network", "inconclusive", f"{len(found)} ways for one answer")
        return self._taken(forth, back, end)

    @staticmethod
    def _taken(forth: Walk, back: Walk, end: End) -> Walk:
        """Whether the client takes the answer: it must come from whom it asked."""
        if back.end not in ("delivered", "leaves"):
            return back
        by_socket = [row for row in forth.hops if row["place"] == "socket"]
        node = back.hops[-1]["node"]
        if by_socket:
            said = f"the socket shows {end.ip} again"
            return back.then(hop(back, node, "socket", said, rests_on=by_socket[0]["rests_on"],
                                 reply=by_socket[0]["reply"], verdict="delivered"))  # fmt: skip
        if back.packet.src != end.ip:
            said = f"the client asked {end.ip}, and takes no answer of {back.packet.src}"
            return ended(back._replace(end=None), node, "delivery", "dropped", said)
        return back


def _ways(number: int, forth: Walk, back: Walk | None) -> Iterator[tuple[int, float, str, Any]]:
    yield number, forth.chance, REQUEST, forth.hops
    if back is not None:
        yield number, forth.chance, ANSWER, back.hops


def _shown(ports: list[dict[str, Any]]) -> str:
    """The ports of a Service with their names."""
    named = (f"{row['port']}/{row['protocol'].lower()}" + (f" ({row['port_name']})" if row["port_name"] else "")
             for row in ports)  # fmt: skip
    return ", ".join(named) or "none: ports have names where they are a Service's"
