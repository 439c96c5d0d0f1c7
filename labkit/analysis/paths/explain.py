"""Explain the way of a packet, and of its answer, by the state of an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.ends import End, destination, source
from labkit.analysis.paths.hops import ended, frame_of, hop, replies
from labkit.analysis.paths.kernel import Kernel
from labkit.analysis.paths.lab_programs import LabPrograms
from labkit.analysis.paths.names import answered, questions
from labkit.analysis.paths.packet import Packet, Walk, family_of
from labkit.analysis.paths.programs import Programs
from labkit.analysis.paths.start import from_node, from_outside, from_pod
from labkit.analysis.paths.state import World, rows_of
from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.analysis.paths.state import State

__all__ = ["Model"]

REQUEST, ANSWER = "1 request", "2 answer"


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

        `src` and `dst` are as `labkit.analysis.paths.ends` reads them. Without a port, a Service's first one
        is taken; anything else is pinged. Raises ParameterError for a name that is none, and says what there is.
        """
        begin = source(self.world, src)
        end = destination(self.world, dst, begin)
        walks = list(self.walks(begin, end, *self.transport(end, port, protocol)))
        return frame_of(part for number, ways in enumerate(walks) for part in _ways(number, *ways))

    def transport(self, end: End, port: int | None, protocol: str | None) -> tuple[str, int | None]:
        """Protocol and port: those that were asked for, or the Service's first; else an echo."""
        family = family_of(end.ip)
        if end.kind == "service" and end.row is not None:
            rows = [row for row in self.world.services if f"{row['namespace']}/{row['service']}" == end.name]
            if port is None and protocol not in ("icmp", "icmpv6"):
                wanted = [row for row in rows if protocol in (None, row["protocol"].lower())]
                if not wanted:
                    raise ParameterError(f"{end.name} has no port of protocol {protocol}")
                return wanted[0]["protocol"].lower(), wanted[0]["port"]
        if port is None:
            return protocol or ("icmp" if family == "inet" else "icmpv6"), None
        return protocol or "tcp", port

    def walks(
        self, begin: End, end: End, protocol: str, port: int | None
    ) -> Iterator[tuple[Walk, Walk | None]]:
        """Each way and the way of its answer; None where there is no answer."""
        src = self._source_ip(begin, end)
        walk = Walk(Packet(src or "", end.ip, protocol, None, port))
        if end.kind == "service" and end.asked:
            walk = self._resolved(walk, begin, end)
        if src is None and walk.end is None:
            reason = f"{begin.name} has no address of family {family_of(end.ip)}"
            walk = ended(walk, None, "routing", "inconclusive", "nowhere to send from", note=reason)
        if walk.end is not None:
            yield walk, None
            return
        start = from_node if begin.kind == "node" else from_pod
        for forth in start(walk, self.kernel, begin.name):
            known = self._known(forth, end)
            yield known, self._answer(known, end)

    def _known(self, forth: Walk, end: End) -> Walk:
        """A way to a Service that nothing translated: who does Services here is not known, so nor is the way."""
        if end.kind != "service" or forth.end == "inconclusive" or forth.packet.dst != end.ip:
            return forth
        if any(row["place"] in ("service", "socket") or row["verdict"] == "rejected" for row in forth.hops):
            return forth
        by_rules = (m.rules.get(family_of(end.ip)) for m in self.world.machines.values())
        if any(rules is not None and ("nat", "KUBE-SERVICES") in rules.chains for rules in by_rules):
            return forth  # kube-proxy does Services by rules, and has none for this one
        note = "not modelled: no rule of iptables and no map of Cilium is for this Service (IPVS, nftables, others?)"
        return ended(forth, None, "service", "inconclusive", f"nothing translates {end.ip}", note=note)

    def _source_ip(self, begin: End, end: End) -> str | None:
        family = family_of(end.ip)
        if begin.kind == "node":
            machine = self.world.machines[begin.name]
            route = machine.routes.decide(Packet(begin.ip, end.ip, "tcp")).route
            if route and route.get("src_ip"):
                return str(route["src_ip"])
            mine = list(machine.addresses.items())
        else:
            mine = [(row["ip"], row) for row in self.world.pod_addresses.get(begin.name, [])]
        if family_of(begin.ip) == family:
            return begin.ip
        return next((ip for ip, row in mine if row["family"] == family and row["scope"] == "global"), None)

    def _resolved(self, walk: Walk, begin: End, end: End) -> Walk:
        """The name's way to an address, where one was named."""
        asked, node = end.asked or "", None if begin.kind == "node" else self.world.pods[begin.name]["node"]
        rows = [row for row in rows_of(self.world.state.get("resolvers")) if row["pod"] == begin.name]
        if not rows:
            reason = "resolv.conf of the sender was not read; the Service's address is taken from the API"
            return walk.then(
                hop(
                    walk,
                    node,
                    "name",
                    f"{asked} is {end.ip}",
                    verdict="assumed",
                    note=reason,
                    reply=replies(end.row),
                )
            )
        resolver = rows[0]
        tried = questions(asked, (resolver["search"] or "").split(","), resolver["ndots"])
        count, found = answered(tried, self.world.services)
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
            found = list((from_node if kind == "node" else from_pod)(walk, self.kernel, name))
        back = found[0]
        if len(found) > 1:  # an answer is drawn for nowhere
            return ended(back, None, "network", "inconclusive", f"{len(found)} ways for one answer")
        return self._taken(forth, back, end)

    @staticmethod
    def _taken(forth: Walk, back: Walk, end: End) -> Walk:
        """Whether the client takes the answer: it must come from whom it asked."""
        if back.end != "delivered":
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
