"""What is measured in turns: which scenarios, how often, in which order. Chosen before, and written in the header.

A scenario is a pattern of traffic, where its server is, the way it is addressed, the size of a message and the
load. Every scenario that uses the address of a pod or a Service has a counterpart between the nodes
themselves (`host`), in the same round: the baseline of its pair of nodes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BY", "CORE", "FULL", "PATTERNS", "PLACES", "STREAMS", "WORDS", "Design", "Scenario", "planned"]

#: iperf3 with so many connections, or as UDP; the others are patterns of labkit.probe.
STREAMS = {"stream": 1, "stream-4": 4, "udp-stream": 0}
PROBES = ("rr", "crr", "udp", "http", "http-keep")
PATTERNS = (*STREAMS, *PROBES)
PLACES = ("same-node", "other-node")
BY = ("pod-ip", "cluster-ip", "node-port", "host")
#: Shares of what the pattern does at full speed.
LOADS = (30, 60, 90)


@dataclass(frozen=True, slots=True, order=True)
class Scenario:
    """One way of asking. `size` is the bytes of a message (0: as the tool does it), `load` a share in per cent
    of the full speed that the same arm had just before; 0 is full speed."""

    pattern: str
    place: str
    by: str
    size: int = 0
    load: int = 0

    @property
    def name(self) -> str:
        """As headers and schedules have it: `rr/other-node/pod-ip/64/0`."""
        return f"{self.pattern}/{self.place}/{self.by}/{self.size}/{self.load}"

    @property
    def full_speed(self) -> Scenario:
        """The same without a limit."""
        return Scenario(self.pattern, self.place, self.by, self.size)

    @classmethod
    def named(cls, name: str) -> Scenario:
        """The scenario of a name. Raises ParameterError where it is none."""
        parts = name.split("/")
        known = len(parts) == 5 and parts[0] in PATTERNS and parts[1] in PLACES and parts[2] in BY
        if not known or not parts[3].isdigit() or not parts[4].isdigit():
            raise ParameterError(
                f"no scenario {name!r}; one is pattern/place/by/size/load, as rr/other-node/pod-ip/64/0"
            )
        pattern, place, by, size, load = parts
        return cls(pattern, place, by, int(size), int(load))


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Everything that decides what is asked, so that the same design on the same arms asks the same.

    After `rounds` rounds it ends as soon as every median is known to `precision_pct` (half the width of its 95 %
    interval), and in any case after `most_rounds`.
    """

    scenarios: tuple[str, ...]
    rounds: int
    most_rounds: int
    #: Pairs of nodes: client's and another's.
    pairs: int = 1
    seed: int = 20261127
    #: Requests of a probe, and seconds of a stream.
    requests: int = 2000
    stream_s: int = 1
    #: Seconds of a TCP stream before those.
    omit_s: int = 0
    precision_pct: float = 3.0

    def __post_init__(self) -> None:
        """Raises ParameterError where nothing could be measured so."""
        if not self.scenarios or not 1 <= self.rounds <= self.most_rounds or not 1 <= self.pairs <= 9:
            raise ParameterError(
                f"a design measures scenarios, in 1 round or more, between 1 to 9 pairs of nodes: {self}"
            )
        if min(self.requests, self.stream_s) < 1 or self.omit_s < 0 or self.precision_pct <= 0:
            raise ParameterError(f"a design has requests and seconds: {self}")
        for scenario in self.scenarios:
            Scenario.named(scenario)

    @property
    def step(self) -> str:
        """The step in which what it needs is there."""
        return f"measure-{self.pairs}"

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Design:
        """As a header has it. Raises ParameterError where it names what no design has."""
        if unknown := set(told) - {field.name for field in fields(cls)}:
            raise ParameterError(
                f"what this arm measured in turns has an unknown part {', '.join(sorted(unknown))}; update labkit"
            )
        return cls(**{**told, "scenarios": tuple(told["scenarios"])})

    def to_json(self) -> dict[str, Any]:
        """As a header has it."""
        return {**asdict(self), "scenarios": list(self.scenarios)}


def _names(*scenarios: Scenario) -> tuple[str, ...]:
    return tuple(scenario.name for scenario in scenarios)


SMALL, STREAM = 64, 0
#: What shows in a minute that there is something to see.
CORE = Design(
    scenarios=_names(
        *(Scenario("stream", "other-node", by) for by in ("pod-ip", "host")),
        *(Scenario("rr", "other-node", by, SMALL) for by in ("pod-ip", "cluster-ip", "host")),
        Scenario("rr", "same-node", "pod-ip", SMALL),
        *(Scenario("crr", "other-node", by, SMALL) for by in ("pod-ip", "cluster-ip", "node-port", "host")),
        Scenario("rr", "other-node", "pod-ip", SMALL, 60),
        Scenario("http", "other-node", "cluster-ip"),
    ),
    rounds=3,
    most_rounds=3,
)
#: What a comparison is made with.
FULL = Design(
    scenarios=_names(
        *(
            Scenario(p, place, by)
            for p in ("stream", "stream-4")
            for place in PLACES
            for by in ("pod-ip", "host")
        ),
        *(Scenario("stream", "other-node", by) for by in ("cluster-ip", "node-port")),
        *(Scenario("udp-stream", "other-node", by) for by in ("pod-ip", "cluster-ip", "host")),
        *(Scenario(p, place, by, SMALL) for p in ("rr", "crr") for place in PLACES for by in BY),
        *(Scenario("rr", "other-node", by, size) for size in (1024, 16384) for by in ("pod-ip", "host")),
        *(Scenario("udp", "other-node", by, SMALL) for by in ("pod-ip", "cluster-ip", "host")),
        *(Scenario(p, "other-node", by) for p in ("http", "http-keep") for by in ("pod-ip", "cluster-ip")),
        *(
            Scenario("rr", "other-node", by, SMALL, load)
            for load in LOADS
            for by in ("pod-ip", "cluster-ip", "host")
        ),
    ),
    rounds=8,
    most_rounds=15,
    pairs=2,
    stream_s=3,
    omit_s=1,
)
#: The design of each plan, and what a plan's words can set of it.
PLANNED = {"quick": CORE, "full": FULL}
WORDS = ("rounds", "most_rounds", "pairs", "requests", "stream_s")


def planned(plan: str, parts: Mapping[str, str]) -> Design:
    """The design of a plan with parts set anew, as `turns-rounds=8` sets `rounds`.

    Where only `rounds` is set, there are no more than those. Raises ParameterError for a value that is no number.
    """
    try:
        numbers: dict[str, Any] = {name: int(value) for name, value in parts.items()}
    except ValueError:
        raise ParameterError(f"{parts}: not whole numbers, as turns-rounds=8 has one") from None
    most = {"most_rounds": numbers["rounds"]} if "rounds" in numbers else {}
    return replace(PLANNED[plan], **{**most, **numbers})
