"""What nodes are programmed with for NetworkPolicies, against what the API says: pair of pods by pair of pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from labkit.analysis.paths.hops import replies
from labkit.analysis.paths.kernel import Kernel
from labkit.analysis.paths.lab_programs import LabPrograms
from labkit.analysis.paths.maps import Maps
from labkit.analysis.paths.packet import Packet, Walk
from labkit.analysis.paths.rows import rows_of
from labkit.analysis.policy_model import Flow, Peer, decide, labels_of, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.state import World

__all__ = ["of_policies"]

Row = dict[str, Any]
Verdict = tuple[bool, str, str | None]
#: What the one who sends and the one who gets are asked by.
SENDS, GETS = "egress", "ingress"


class _Held(Protocol):
    """The policies of one dataplane, as its nodes hold them."""

    def says(self, pod: Row, direction: str, other: str, packet: Packet) -> Verdict | None:
        """Whether a pod's policy lets a packet pass, what says so, and its reply; None where nothing is known."""


class _Cilium:
    def __init__(self, world: World) -> None:
        self.maps = Maps(world)
        self.ends = {row["pod"]: row for rows in world.by_node("cilium_endpoints").values() for row in rows}

    def says(self, pod: Row, direction: str, other: str, packet: Packet) -> Verdict | None:
        end = self.ends.get(pod["pod"])
        if end is None:
            return None
        said, more = self.maps.verdict(pod["node"], end, direction, other, packet)
        return said == "passes", str(more["decision"]), more.get("reply")


class _Lab:
    def __init__(self, world: World) -> None:
        self.world, self.programs = world, LabPrograms(Kernel(world))

    def says(self, pod: Row, direction: str, other: str, packet: Packet) -> Verdict | None:
        machine = self.world.machines[pod["node"]]
        (walk,) = self.programs.policy(Walk(packet), machine, pod["pod_ip"], direction, other)
        return walk.end is None, str(walk.hops[-1]["decision"]), walk.hops[-1]["reply"]


def of_policies(world: World) -> Iterator[Row]:
    """Every pair of pods and port that a Service leads to: what the policies say, and what the nodes hold.

    A block that is not programmed is `missing`, one that nothing wants is `stale`. Pairs that the API leaves
    open are left out, and arms whose maps were not read.
    """
    rules = world.state.get("policy_rules")
    held: _Held | None = None
    if world.by_node("policy_map"):
        held = _Cilium(world)
    elif world.state.get("lab_isolated") is not None:
        held = _Lab(world)
    if held is None or rules is None:
        return
    wanted, peers = records(rules), _peers(world)
    for target, protocol, port in _ports(world):
        for source, peer in peers.items():
            if source == target or target not in peers:
                continue
            flow = Flow(peer, peers[target], protocol, port)
            allowed = decide(wanted, flow).allowed
            if allowed is not None:
                yield from _pair(world, held, flow, (source, target), allowed=allowed)


def _peers(world: World) -> dict[str, Peer]:
    """Pods with a network of their own, as policies see them."""
    named = rows_of(world.state.get("namespaces"))
    spaces = {row["namespace"]: labels_of(row["labels"] or "") for row in named}
    return {
        pod["pod"]: Peer(pod["pod_ip"], pod["namespace"], labels_of(pod["labels"] or ""), spaces.get(pod["namespace"], {}))
        for pod in world.pod_of_ip.values() if pod["namespace"]
    }  # fmt: skip


def _ports(world: World) -> list[tuple[str, str, int]]:
    """Pods, protocols and ports that Services lead to."""
    rows = rows_of(world.state.get("endpoints"))
    return sorted({(row["pod"], row["protocol"], row["port"]) for row in rows if row["pod"] in world.pods})


def _pair(world: World, held: _Held, flow: Flow, names: tuple[str, str], *, allowed: bool) -> Iterator[Row]:
    packet = Packet(flow.source.ip, flow.destination.ip, flow.protocol.lower(), None, flow.port)
    source, target = (world.pods[name] for name in names)
    sent, got = held.says(source, SENDS, packet.dst, packet), held.says(target, GETS, packet.src, packet)
    if sent is None or got is None:
        return
    passes, said, reply = got if sent[0] else sent
    programmed, intended = ("allowed" if each else "blocked" for each in (passes, allowed))
    yield {
        "node": target["node"], "kind": "policy map", "entry": f"{names[0]} to {names[1]} {flow.port}/{flow.protocol}",
        "intended": intended, "programmed": f"{programmed}: {said}",
        "state": "matching" if passes == allowed else "stale" if allowed else "missing",
        "reply": reply or replies(target),
    }  # fmt: skip
