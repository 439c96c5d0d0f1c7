"""Walk the rules of iptables as the kernel does: rule by rule, chain into chain, with every draw a fork.

Order of the tables at each hook: the priorities of `include/uapi/linux/netfilter_ipv4.h`. Table nat is walked
for the first packet of a connection only; later ones are translated as the first was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from labkit.analysis.paths.rules import Rule, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from labkit.analysis.paths.packet import Packet
    from labkit.analysis.paths.rules import Devices

__all__ = ["ENDS", "HOOKS", "TRANSLATES", "Outcome", "Rules", "Step"]

HOOKS = {
    "PREROUTING": ("raw", "mangle", "nat"),
    "INPUT": ("mangle", "filter", "security", "nat"),
    "FORWARD": ("mangle", "filter", "security"),
    "OUTPUT": ("raw", "mangle", "nat"),
    # behind nat a packet of the node itself is routed again
    "OUTPUT, behind routing": ("filter", "security"),
    "POSTROUTING": ("mangle", "nat"),
}
#: Targets that neither end the walk nor change what is decided here.
WITHOUT_EFFECT = {"LOG", "NFLOG", "TRACE", "ULOG", "AUDIT", "CHECKSUM", "TCPMSS", "ACCOUNT", "NFACCT"}
ENDS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject"}
TRANSLATES = ("DNAT", "SNAT", "MASQUERADE", "REDIRECT")
#: Chains of more rules are looked through by destination address, which gives the same rules in the same order.
INDEXED_FROM = 32
HOST_PREFIXES = ("/32", "/128")


class Step(NamedTuple):
    """A rule that held."""

    table: str
    chain: str
    position: int
    rule: Rule
    reply: str | None


class Outcome(NamedTuple):
    """Where a walk through chains stands or ended: `verdict` is return, accept, drop, reject, translate, unknown."""

    packet: Packet
    verdict: str = "return"
    chance: float = 1.0
    steps: tuple[Step, ...] = ()
    walked: int = 0
    notes: tuple[str, ...] = ()


class Rules:
    """The rules of one node, indexed. `rules` is frame RULES of iptables, `chains` frame CHAINS of one node."""

    def __init__(self, rules: pd.DataFrame, chains: pd.DataFrame | None) -> None:
        self.texts: list[str] = rules["rule"].tolist()
        self.positions: list[int] = rules["position"].tolist()
        self.replies: list[str | None] = rules["reply"].tolist() if "reply" in rules else [None] * len(rules)
        self.chains = _slices(rules)
        self.names: set[tuple[str, str]] = set()
        self.policies: dict[tuple[str, str], str] = {}
        if chains is not None:
            self.names = set(zip(chains["table"], chains["chain"], strict=True))
            named = chains.dropna(subset="policy")
            keys = zip(named["table"], named["chain"], strict=True)
            self.policies = dict(zip(keys, named["policy"], strict=True))
        self._compiled: dict[int, Rule] = {}
        self._by_address: dict[tuple[str, str], tuple[dict[str, tuple[int, ...]], tuple[int, ...]]] = {}
        destinations = rules["dst"].tolist()
        for key, places in self.chains.items():
            if len(places) >= INDEXED_FROM:
                self._by_address[key] = _by_address(places, destinations)

    def hook(self, hook: str, table: str, packet: Packet, devices: Devices) -> Iterator[Outcome]:
        """Every way through one table at one hook, with its chance; a policy decides where no rule did."""
        for end in self._walk((table, hook), Outcome(packet), devices):
            if end.verdict != "return":
                yield end
            else:
                policy = self.policies.get((table, hook), "ACCEPT")
                yield end._replace(verdict=ENDS.get(policy, "accept"))

    def _walk(self, chain: tuple[str, str], start: Outcome, devices: Devices) -> Iterator[Outcome]:
        """Every way through a chain; verdict `return` where the walk goes on behind it."""
        pending = [(start, start.walked)]
        for place in self._candidates(chain, start.packet):
            position, following = self.positions[place], []
            for one, base in pending:
                here = one._replace(walked=base + position)
                for after, ends in self._apply(chain, place, here, devices):
                    if ends:
                        yield after
                    else:
                        following.append((after, after.walked - position))
            pending = following
        for one, base in pending:
            yield one._replace(walked=base + len(self.chains.get(chain, ())))

    def _candidates(self, chain: tuple[str, str], packet: Packet) -> Sequence[int]:
        """The rules that can hold for this destination, in their order."""
        if chain not in self._by_address:
            return self.chains.get(chain, ())
        exact, others = self._by_address[chain]
        return sorted([*exact.get(packet.dst, ()), *others])

    def _apply(
        self, chain: tuple[str, str], place: int, one: Outcome, devices: Devices
    ) -> Iterator[tuple[Outcome, bool]]:
        """What one rule makes of a packet: each outcome, and whether it ends the walk through this chain."""
        rule = self._rule(place)
        held = rule.matches(one.packet, devices)
        if held and rule.never:
            yield one._replace(notes=(*one.notes, rule.never)), False
        elif held is False or (held is None and rule.target in (None, *WITHOUT_EFFECT)):
            yield one, False
        elif held is None:
            yield self._undecided(one, f"{' '.join(rule.unknown)} of the rule {rule.text}"), True
        else:
            if rule.chance is not None:
                yield one._replace(chance=one.chance * (1 - rule.chance)), False
                one = one._replace(chance=one.chance * rule.chance)
            step = Step(*chain, self.positions[place], rule, self.replies[place])
            yield from self._target(chain, rule, one._replace(steps=(*one.steps, step)), devices)

    def _target(
        self, chain: tuple[str, str], rule: Rule, one: Outcome, devices: Devices
    ) -> Iterator[tuple[Outcome, bool]]:
        target = rule.target
        if target is None or target in WITHOUT_EFFECT:
            yield one, False
        elif target in ENDS:
            yield one._replace(verdict=ENDS[target]), True
        elif target == "RETURN":
            yield one, True
        elif target in TRANSLATES:
            yield one._replace(verdict="translate"), True
        elif target == "MARK" and (marked := _marked(one.packet, rule)) is not None:
            yield one._replace(packet=marked), False
        elif target == "CT" and "--notrack" in rule.text:
            yield one._replace(packet=one.packet._replace(state="UNTRACKED")), False
        elif (chain[0], target) in self.chains or (chain[0], target) in self.names:
            for end in self._walk((chain[0], target), one, devices):
                yield end, rule.goto or end.verdict != "return"
        else:
            yield self._undecided(one, f"the target {target} of the rule {rule.text}"), True

    @staticmethod
    def _undecided(one: Outcome, what: str) -> Outcome:
        return one._replace(verdict="unknown", notes=(*one.notes, f"not modelled: {what}"))

    def _rule(self, place: int) -> Rule:
        if place not in self._compiled:
            self._compiled[place] = compiled(self.texts[place])
        return self._compiled[place]


def _marked(packet: Packet, rule: Rule) -> Packet | None:
    """The packet with its mark set; None for a way of setting it that is not known here."""
    if (word := rule.given.get("--set-xmark")) is None:
        return None
    value, _, mask = word.partition("/")
    bits = int(mask or "0xffffffff", 0)
    return packet._replace(mark=(packet.mark & ~bits & 0xFFFFFFFF) ^ int(value, 0))


def _slices(rules: pd.DataFrame) -> dict[tuple[str, str], Sequence[int]]:
    """The places of each chain's rules, in order: as a range where they stand together, as they should.

    Ranges and tuples of numbers are nothing to the garbage collector, which would else look through 100,000
    lists again and again.
    """
    found: dict[tuple[str, str], Sequence[int]] = {}
    keys = list(zip(rules["table"].tolist(), rules["chain"].tolist(), strict=True))
    start = 0
    for place in range(1, len(keys) + 1):
        if place == len(keys) or keys[place] != keys[start]:
            before = found.get(keys[start], ())
            found[keys[start]] = (*before, *range(start, place)) if before else range(start, place)
            start = place
    return found


def _by_address(
    places: Sequence[int], destinations: list[Any]
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """A long chain's rules by the one address that they are for, and those that may be for any."""
    exact: dict[str, tuple[int, ...]] = {}
    others: tuple[int, ...] = ()
    for place in places:
        dst = destinations[place]
        if isinstance(dst, str) and dst.endswith(HOST_PREFIXES) and dst[0] != "!":
            address = dst.rpartition("/")[0]
            exact[address] = (*exact.get(address, ()), place)
        else:
            others = (*others, place)
    return exact, others
