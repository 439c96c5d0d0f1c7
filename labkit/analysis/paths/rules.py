"""One rule of iptables, made ready to be held against packets.

Read is the text that iptables-save prints (iptables-extensions(8)). A match that is not known here makes the
rule undecided where all its other matches hold: whoever walks it must say so instead of guessing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labkit.analysis.paths.packet import Packet

__all__ = ["Devices", "Rule", "compiled"]


@dataclass(frozen=True, slots=True)
class Devices:
    """Where the packet came in and goes out, and what kind of address another is for this node."""

    incoming: str | None = None
    outgoing: str | None = None
    address_type: Callable[[str], str] = lambda _: "UNICAST"
    #: What was done to the connection on this node: SNAT, DNAT, both or nothing.
    translations: frozenset[str] = frozenset()


@dataclass(slots=True)
class Rule:
    """What a rule asks for and does."""

    text: str
    tests: list[Callable[[Packet, Devices], bool]] = field(default_factory=list)
    chance: float | None = None
    #: Options that cannot be evaluated.
    unknown: list[str] = field(default_factory=list)
    target: str | None = None
    goto: bool = False
    given: dict[str, str] = field(default_factory=dict)
    #: Why it does not hold although all else fits; what to know of that.
    never: str | None = None

    def matches(self, packet: Packet, devices: Devices) -> bool | None:
        """Whether the rule is for this packet; None where that cannot be told."""
        if not all(test(packet, devices) for test in self.tests):
            return False
        return None if self.unknown else True


WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
#: Options that a match takes no decision by, and how many words follow them.
PASSED_BY = {
    "-A": 1, "-m": 1, "--comment": 1, "--mode": 1, "--seconds": 1, "--name": 1, "--mask": 1, "--reap": 0,
    "--rsource": 0, "--set": 0, "--nfacct-name": 1, "--random-fully": 0, "--random": 0, "--persistent": 0,
    "--notrack": 0,
}  # fmt: skip
#: What a target is told.
VALUES = (
    "--to-destination",
    "--to-source",
    "--set-xmark",
    "--set-mark",
    "--or-mark",
    "--reject-with",
    "--to-ports",
)


def compiled(text: str) -> Rule:
    """A rule as iptables-save prints it, without its counters."""
    rule = Rule(text)
    words = iter(_words(text))
    inverted = False
    for word in words:
        if word == "!":
            inverted = True
            continue
        if word in PASSED_BY:
            for _ in range(PASSED_BY[word]):
                next(words)
        elif word in ("-j", "-g"):
            rule.target, rule.goto = next(words), word == "-g"
        elif word in VALUES:
            rule.given[word] = next(words)
        else:
            _match(rule, word, words, inverted=inverted)
        inverted = False
    return rule


def _words(text: str) -> list[str]:
    """The words of a rule; quotes are taken off. shlex does the same, ten times as slowly."""
    return [re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for quoted, plain in WORD.findall(text)]


def _match(rule: Rule, word: str, words: Iterator[str], *, inverted: bool) -> None:
    if word == "--probability":
        rule.chance = float(next(words))
    elif word == "--rcheck":
        # Who was here before is in /proc/net/xt_recent, which is not read: a new client is followed.
        rule.never = (
            "a client that was here before goes to the same endpoint again (recent); this is a new one"
        )
    elif word == "--transparent":
        rule.never = "no transparent socket (of a proxy) is taken into account"
    elif word in MATCHES:
        test = MATCHES[word](next(words))
        rule.tests.append(_inverted(test) if inverted else test)
    else:
        rule.unknown.append(word)


def _inverted(test: Callable[[Packet, Devices], bool]) -> Callable[[Packet, Devices], bool]:
    return lambda packet, devices: not test(packet, devices)


def _source(value: str) -> Callable[[Packet, Devices], bool]:
    networks = [ip_network(part, strict=False) for part in value.split(",")]
    return lambda packet, _: any(ip_address(packet.src) in network for network in networks)


def _destination(value: str) -> Callable[[Packet, Devices], bool]:
    networks = [ip_network(part, strict=False) for part in value.split(",")]
    return lambda packet, _: any(ip_address(packet.dst) in network for network in networks)


def _device(name: str | None, pattern: str) -> bool:
    return fnmatchcase(name or "", pattern[:-1] + "*" if pattern.endswith("+") else pattern)


def _ports(value: str) -> Sequence[tuple[int, int]]:
    ranges = (part.partition(":") for part in value.split(","))
    return [(int(low or 0), int(high or 65535) if colon else int(low)) for low, colon, high in ranges]


def _destination_port(value: str) -> Callable[[Packet, Devices], bool]:
    ranges = _ports(value)
    return lambda packet, _: packet.dport is not None and any(a <= packet.dport <= b for a, b in ranges)


def _source_port(value: str) -> Callable[[Packet, Devices], bool]:
    ranges = _ports(value)
    return lambda packet, _: packet.sport is not None and any(a <= packet.sport <= b for a, b in ranges)


def _mark(value: str) -> Callable[[Packet, Devices], bool]:
    wanted, _, mask = value.partition("/")
    number, bits = int(wanted, 0), int(mask or "0xffffffff", 0)
    return lambda packet, _: packet.mark & bits == number


def _state(value: str) -> Callable[[Packet, Devices], bool]:
    states = set(value.split(","))
    return lambda packet, devices: packet.state in states or bool(states & devices.translations)


def _echo(value: str) -> Callable[[Packet, Devices], bool]:
    """Of ICMP, echoes are all that is explained: types 8 and 0, of IPv6 128 and 129."""
    asked, _, code = value.partition("/")
    return lambda packet, _: (
        packet.protocol in ECHOES
        and (
            value == "any" or (code in ("", "0") and asked == str(ECHOES[packet.protocol][not packet.opens]))
        )
    )


def _type(side: str) -> Callable[[str], Callable[[Packet, Devices], bool]]:
    return lambda value: (
        lambda packet, devices: devices.address_type(getattr(packet, side)) in value.split(",")
    )


ECHOES = {"icmp": (8, 0), "icmpv6": (128, 129)}
_NUMBERS = {
    "icmp": ("1",),
    "tcp": ("6",),
    "udp": ("17",),
    "icmpv6": ("58", "ipv6-icmp"),
    "sctp": ("132",),
}
MATCHES: dict[str, Callable[[str], Callable[[Packet, Devices], bool]]] = {
    "-s": _source,
    "-d": _destination,
    "-i": lambda value: lambda _, devices: _device(devices.incoming, value),
    "-o": lambda value: lambda _, devices: _device(devices.outgoing, value),
    "-p": lambda value: (
        lambda packet, _: value in ("all", packet.protocol, *_NUMBERS.get(packet.protocol, ()))
    ),
    "--dport": _destination_port,
    "--dports": _destination_port,
    "--sport": _source_port,
    "--sports": _source_port,
    "--mark": _mark,
    "--icmp-type": _echo,
    "--icmpv6-type": _echo,
    "--ctstate": _state,
    "--state": _state,
    "--dst-type": _type("dst"),
    "--src-type": _type("src"),
}
