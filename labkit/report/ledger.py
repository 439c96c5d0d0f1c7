"""What the index and the claims' pages show: arms, and findings by topic and claim."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from labkit.figures.style import ARMS
from labkit.findings import Verdict
from labkit.report.words import slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.findings import Finding

__all__ = ["VERDICTS", "Arm", "ClaimRow", "arms_of", "by_topic", "decided"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
ORIGINS = {
    "live": "recorded from a running cluster",
    "netns": "recorded in network namespaces, not from a cluster",
    "synthetic": "synthetic: written by hand, not measured",
}
MEASURED = {
    "live": "measured in this run on a running cluster",
    "netns": "measured in this run in network namespaces, not on a cluster",
}


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm as every page shows it: who it is, where its answers come from, its colour in figures."""

    name: str
    source: str
    origin: str
    note: str
    recorded_at: str
    checksum: str
    colour: str
    tally: Mapping[str, int]
    #: Topics of the claims that were judged on it.
    topics: frozenset[str] = frozenset()

    @property
    def judged(self) -> int:
        """How many claims were judged on it."""
        return sum(self.tally.values())


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A claim with its findings, by arm in the order of the run; one that compares arms stands at its first."""

    id: str
    text: str
    topic: str
    said: str
    findings: Mapping[str, tuple[Finding, ...]]

    @property
    def page(self) -> str:
        """The file of its page."""
        return f"{slug(self.id)}.html"

    @property
    def all(self) -> list[Finding]:
        """Its findings in order."""
        return [finding for findings in self.findings.values() for finding in findings]


def arms_of(about: Mapping[str, Any], findings: Iterable[Finding]) -> list[Arm]:
    """The arms of a run, in its order."""
    judged = list(findings)
    counts = Counter((f.arm, f.verdict) for f in judged)
    return [
        Arm(
            name=name,
            source=arm["source"],
            origin=_origin(arm),
            note=arm["note"],
            recorded_at=arm["recorded_at"],
            checksum=arm.get("replies_sha256", ""),
            colour=ARMS[i % len(ARMS)],
            tally={verdict: counts[name, verdict] for verdict in VERDICTS},
            topics=frozenset(f.topic for f in judged if f.arm == name),
        )
        for i, (name, arm) in enumerate(about["arms"].items())
    ]


def _origin(arm: Mapping[str, Any]) -> str:
    """Where its answers come from, in words; of an arm that was live, that it was."""
    words = MEASURED if "recording" in arm else ORIGINS
    return str(words.get(arm["origin"], arm["origin"]))


def by_topic(findings: Iterable[Finding], arms: Iterable[str]) -> dict[str, list[ClaimRow]]:
    """Claims by topic, in the order the notebooks judged them."""
    order = list(arms)
    claims: dict[str, list[Finding]] = {}
    for finding in findings:
        claims.setdefault(finding.claim, []).append(finding)
    topics: dict[str, list[ClaimRow]] = {}
    for claim, found in claims.items():
        columns = {arm: tuple(f for f in found if f.arm == arm) for arm in order}
        row = ClaimRow(claim, found[0].text, found[0].topic, found[0].said, columns)
        topics.setdefault(row.topic, []).append(row)
    return topics


def decided(decision: Mapping[str, Any], arms: Iterable[str]) -> dict[str, Any]:
    """A decision with its findings (`claim @ arm`) as links, and the arms that win it, if any do."""
    links = [tuple(text.split(" @ ", 1)) for text in decision.get("findings", ())]
    named = str(decision.get("winner", "")).split(", ")
    return {**decision, "links": links, "winners": named if set(named) <= set(arms) else []}
