"""What netfilter does to a packet at a hook of a node: rules, draws, translation, connection tracking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import ended, hop, replies
from labkit.analysis.paths.netfilter import ENDS, HOOKS, TRANSLATES, Outcome
from labkit.analysis.paths.packet import Entry, at_port
from labkit.analysis.paths.rules import Devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.machine import Machine
    from labkit.analysis.paths.netfilter import Step
    from labkit.analysis.paths.packet import Packet, Walk

Row = dict[str, Any]
__all__ = ["at_hook", "comes", "leaves"]

#: Hooks at which a first packet comes to a node, and those behind which its connection is remembered.
COMING, GOING = ("PREROUTING", "OUTPUT"), ("POSTROUTING", "INPUT")


def comes(walk: Walk, machine: Machine) -> Walk:
    """The walk with what the node's connection tracking makes of a packet that comes to it."""
    walk = walk._replace(came=walk.packet.ends, answers=walk.known(machine.name))
    if walk.answers is not None:
        return walk.with_packet(state="ESTABLISHED")
    return walk.with_packet(state="NEW" if walk.packet.opens else "INVALID")


def leaves(walk: Walk, machine: Machine) -> Walk:
    """The walk with the connection remembered, where this was its first packet."""
    if walk.packet.state != "NEW" or walk.came is None:
        return walk
    translated = (row for row in walk.hops if row["node"] == machine.name and row["verdict"] == "translated")
    entry = Entry(walk.came, walk.packet.ends, replies(*translated))
    return walk.remembered(machine.name, entry)


def _translations(walk: Walk) -> frozenset[str]:
    """What the node did to this connection so far, by the names of `--ctstate`."""
    entry = walk.answers
    before, now = (entry.first, entry.now) if entry else (walk.came or walk.packet.ends, walk.packet.ends)
    changed = {"SNAT": before[:2] != now[:2], "DNAT": before[2:] != now[2:]}
    return frozenset(name for name, holds in changed.items() if holds)


def at_hook(
    walk: Walk, machine: Machine, hook: str, incoming: str | None = None, outgoing: str | None = None
) -> Iterator[Walk]:
    """Every way of a packet through one hook; a walk that ends there has its `end`."""
    if hook in COMING:
        walk = comes(walk, machine)
    devices = Devices(incoming, outgoing, machine.address_type, _translations(walk))
    rules = machine.rules.get(walk.packet.family)
    if rules is None:
        reason = f"the rules of iptables of family {walk.packet.family} were not read"
        yield ended(walk, machine.name, "netfilter", "inconclusive", hook, note=reason)
        return
    tables = [table for table in HOOKS[hook] if table != "nat" or walk.packet.state == "NEW"]
    outcomes = [Outcome(walk.packet)]
    for table in tables:
        outcomes = [
            following
            for one in outcomes
            for following in (
                _on(one, rules.hook(hook.partition(",")[0], table, one.packet, devices))
                if one.verdict == "return"
                else [one]
            )
        ]
    for one in outcomes:
        found = _passed(walk, machine, hook, devices, one)
        yield leaves(found, machine) if hook in GOING and found.end is None else found


def _on(before: Outcome, ends: Iterator[Outcome]) -> Iterator[Outcome]:
    """Outcomes of the next table behind what the ones before made of the packet."""
    for end in ends:
        verdict = "return" if end.verdict == "accept" else end.verdict
        yield end._replace(
            verdict=verdict,
            chance=before.chance * end.chance,
            steps=before.steps + end.steps,
            walked=before.walked + end.walked,
            notes=before.notes + end.notes,
        )


def _passed(walk: Walk, machine: Machine, hook: str, devices: Devices, one: Outcome) -> Walk:
    """The walk behind the hook."""
    walk = walk._replace(packet=one.packet, chance=walk.chance * one.chance)
    where: Row = {
        "device": devices.incoming or devices.outgoing,
        "rules_walked": one.walked,
        "rests_on": "\n".join(step.rule.text for step in one.steps) or None,
        "reply": next(
            (step.reply for step in one.steps), next(iter(machine.rules[walk.packet.family].replies), None)
        ),
        "note": "; ".join(dict.fromkeys(one.notes)) or None,
    }
    said = f"{hook}: {_said(one.steps)}"
    match one.verdict:
        case "drop":
            return ended(walk, machine.name, "netfilter", "dropped", said, **where)
        case "reject":
            return ended(walk, machine.name, "netfilter", "rejected", said, **where)
        case "unknown":
            return ended(walk, machine.name, "netfilter", "inconclusive", said, **where)
        case "translate":
            return _translated(walk, machine, said, one.steps, devices, where)
    walk = walk.then(hop(walk, machine.name, "netfilter", said, **where))
    return _by_conntrack(walk, machine, hook)


def _said(steps: tuple[Step, ...]) -> str:
    """The rule that decided, or what marked the packet on its way."""
    ends = [step for step in steps if step.rule.target in (*ENDS, *TRANSLATES, "MARK", "CT")]
    return (
        ", ".join(f"{step.rule.target} by {step.chain} {step.position}" for step in ends) or "no rule decides"
    )


def _chosen(steps: tuple[Step, ...]) -> str:
    """The chains and rules that chose an endpoint, in order."""
    return ", ".join(f"{step.chain} {step.position}" for step in steps if step.chain.startswith("KUBE-S"))


def _translated(
    walk: Walk,
    machine: Machine,
    said: str,
    steps: tuple[Step, ...],
    devices: Devices,
    where: Row,
) -> Walk:
    rule = steps[-1].rule
    packet, target, given = walk.packet, rule.target, rule.given
    if target == "DNAT" and "--to-destination" in given:
        changed = _destination(packet, given["--to-destination"])
        walk = walk._replace(packet=changed)
        by = _chosen(steps) or said
        what = f"{at_port(packet.dst, packet.dport)} becomes {at_port(changed.dst, changed.dport)}, by {by}"
        place = "service"
    elif target in ("MASQUERADE", "SNAT"):
        source = given.get("--to-source", "").partition(":")[0] or machine.address_for(
            packet, devices.outgoing
        )
        if source is None:
            reason = f"no address of {devices.outgoing} to masquerade with"
            return ended(walk, machine.name, "masquerade", "inconclusive", said, **{**where, "note": reason})
        walk = walk.with_packet(src=source, sport=None)
        what, place = f"{packet.src} becomes {source}, {said}", "masquerade"
    else:
        reason = f"not modelled: {rule.text}"
        return ended(walk, machine.name, "netfilter", "inconclusive", said, **{**where, "note": reason})
    return walk.then(hop(walk, machine.name, place, what, **{**where, "verdict": "translated"}))


def _destination(packet: Packet, to: str) -> Packet:
    if to.count(":") > 1 and not to.startswith("["):
        return packet._replace(dst=to)
    ip, colon, port = to.rpartition(":")
    if not colon:
        return packet._replace(dst=to)
    return packet._replace(dst=ip.strip("[]"), dport=int(port))


def _by_conntrack(walk: Walk, machine: Machine, hook: str) -> Walk:
    """What connection tracking gives an answer back: its destination when it comes, its source when it goes."""
    entry = walk.answers
    if walk.packet.state != "ESTABLISHED" or entry is None:
        return walk
    src, sport, dst, dport = entry.first
    before = walk.packet
    if hook in COMING and (src, sport) != entry.now[:2] and before.dst == entry.now[0]:
        walk = walk.with_packet(dst=src, dport=sport)
        what = f"destination {before.dst} becomes {src} again"
    elif hook in GOING and (dst, dport) != entry.now[2:] and before.src == entry.now[2]:
        walk = walk.with_packet(src=dst, sport=dport)
        what = f"source {before.src} becomes {dst} again"
    else:
        return walk
    return walk.then(
        hop(walk, machine.name, "conntrack", f"{hook}: {what}", rests_on=entry.shown, reply=entry.reply,
            verdict="translated")
    )  # fmt: skip
