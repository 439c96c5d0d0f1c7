"""Claims and findings: a sentence that can be true or false of an arm, and its verdict with evidence.

A claim is a function from a cluster (or from all arms) to an `Outcome`; the decorator turns it into a
`Claim`. Judging it gives a `Finding`, which a notebook shows: its output carries the finding under its
own MIME type, so that the executed notebooks are the ledger and nothing has to be passed beside them.

    @claim("no-bridge", "Nodes have no bridge.", topic="routing", said="Architecture Overview")
    def no_bridge(cluster):
        links = node.links(cluster)
        bridges = links[links["kind"] == "bridge"]
        if bridges.empty:
            return supported("no link of kind bridge", links["reply"])
        return refuted(f"{len(bridges)} bridges", bridges["reply"], bridges=len(bridges))
"""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from labkit.collect.kubernetes import is_cilium
from labkit.errors import MissingFeature, NotReady, ReplayMiss, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = [
    "MIME", "NOT_ANSWERED", "Claim", "Finding", "Ledger", "Number", "Outcome", "Verdict",
    "claim", "inconclusive", "judge", "refuted", "supported", "unanswered",
]  # fmt: skip

MIME = "application/vnd.labkit.findings+json"
MARKS = {"supported": "✔", "refuted": "✘", "inconclusive": "?"}

#: How the reason of a verdict begins that is open because the arm did not answer.
NOT_ANSWERED = "not answered"

Scope = Literal["arm", "pair", "rivals"]
Verdict = Literal["supported", "refuted", "inconclusive"]
Number = int | float | str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test of a claim found: verdict, one sentence why, the numbers in it, the replies under it."""

    verdict: Verdict
    reason: str
    evidence: tuple[str, ...] = ()
    numbers: Mapping[str, Number] = field(default_factory=dict)


def supported(reason: str, evidence: Iterable[str], **numbers: Number) -> Outcome:
    """The claim holds. `evidence` are reply ids; numbers carry their unit in their name."""
    return Outcome("supported", reason, _ids(evidence), numbers)


def refuted(reason: str, evidence: Iterable[str], **numbers: Number) -> Outcome:
    """The claim does not hold."""
    return Outcome("refuted", reason, _ids(evidence), numbers)


def inconclusive(reason: str, evidence: Iterable[str] = (), **numbers: Number) -> Outcome:
    """It cannot be known here, for this reason."""
    return Outcome("inconclusive", reason, tuple(dict.fromkeys(evidence)), numbers)


def unanswered(error: RequestError | NotReady) -> Outcome:
    """The arm should have answered and did not, so it cannot be known; another run may."""
    return inconclusive(f"{NOT_ANSWERED}: {error}")


def _ids(evidence: Iterable[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(evidence))
    if not found:
        raise ValueError("a verdict needs evidence: the ids of the replies it rests on")
    return found


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the run-book (or about it), and the test that decides it.

    `scope` is `arm` where it is judged on each arm alone. Where it compares two, the test takes (cluster,
    reference): `pair` runs for each arm with Cilium against each arm without, `rivals` for each later arm against
    the first where `pair` does not.
    """

    id: str
    text: str
    topic: str
    said: str
    scope: Scope
    test: Callable[..., Outcome] = field(repr=False, compare=False)

    def judge(self, *arms: Cluster) -> Finding:
        """Run the test. What an arm lacks, does not answer, or a recording does not hold, makes it inconclusive."""
        try:
            outcome = self.test(*arms)
        except MissingFeature as missing:
            outcome = inconclusive(missing.reason)
        except ReplayMiss as miss:
            outcome = inconclusive(f"not recorded: {miss.request.words[:80]} in step {miss.request.step}")
        except (RequestError, NotReady) as error:
            outcome = unanswered(error)
        return self.finding(outcome, *arms)

    def finding(self, outcome: Outcome, *arms: Cluster) -> Finding:
        """An outcome as the verdict on these arms."""
        return Finding(
            claim=self.id,
            text=self.text,
            topic=self.topic,
            said=self.said,
            arm=arms[0].arm,
            versus=arms[1].arm if len(arms) > 1 else "",
            verdict=outcome.verdict,
            reason=outcome.reason,
            numbers=dict(outcome.numbers),
            evidence=outcome.evidence,
            source=arms[0].source,
            versus_source=arms[1].source if len(arms) > 1 else "",
            origin="+".join(dict.fromkeys(arm.origin for arm in arms)),
        )


def claim(
    id: str,
    text: str,
    *,
    topic: str,
    said: str,
    scope: Scope = "arm",
) -> Callable[[Callable[..., Outcome]], Claim]:
    """Turn a test into a Claim. `said` is where the run-book says it."""
    return lambda test: Claim(id, text, topic, said, scope, test)


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim's verdict on an arm.

    `evidence` are ids of replies in `source`; of a pair, those of the other arm are written `versus:id`.
    """

    claim: str
    text: str
    topic: str
    said: str
    arm: str
    versus: str
    verdict: Verdict
    reason: str
    numbers: dict[str, Number]
    evidence: tuple[str, ...]
    source: str
    versus_source: str
    origin: str

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return {**asdict(self), "evidence": list(self.evidence)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """The finding of `to_json`."""
        return cls(**{**data, "evidence": tuple(data["evidence"])})

    @property
    def about(self) -> str:
        """The arm, or `arm vs other`."""
        return f"{self.arm} vs {self.versus}" if self.versus else self.arm


@dataclass(frozen=True, slots=True)
class Ledger:
    """Findings, in order. Shows as a table in a notebook, and carries them as data in its output."""

    findings: tuple[Finding, ...]

    def __len__(self) -> int:
        return len(self.findings)

    def frame(self) -> pd.DataFrame:
        """One row a finding: claim, arm, verdict, reason, evidence."""
        import pandas as pd  # noqa: PLC0415

        rows = [(f.topic, f.claim, f.about, f.verdict, f.reason, " ".join(f.evidence)) for f in self.findings]
        return pd.DataFrame(
            rows, columns=["topic", "claim", "arm", "verdict", "reason", "evidence"], dtype="str"
        )

    def of(self, claim_id: str) -> dict[str, Finding]:
        """The findings of one claim, by arm (`arm vs other` for a pair)."""
        return {f.about: f for f in self.findings if f.claim == claim_id}

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {
            MIME: [f.to_json() for f in self.findings],
            "text/html": self._html(),
            "text/plain": "\n".join(
                f"{MARKS[f.verdict]} {f.about}: {f.text} {f.reason}" for f in self.findings
            ),
        }

    def _html(self) -> str:
        rows = "".join(
            f"<tr class='{f.verdict}'><td>{html.escape(f.text)}</td><td>{html.escape(f.about)}</td>"
            f"<td><b>{MARKS[f.verdict]}&nbsp;{f.verdict}</b></td><td>{html.escape(f.reason)}</td>"
            f"<td>{_shown(f.evidence)}</td></tr>"
            for f in self.findings
        )
        head = "<tr><th>claim</th><th>arm</th><th>verdict</th><th>because</th><th>evidence</th></tr>"
        return f"<table class='findings'><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _shown(evidence: tuple[str, ...]) -> str:
    more = f" +{len(evidence) - 4}" if len(evidence) > 4 else ""
    return html.escape(" ".join(evidence[:4]) + more)


def judge(arms: Iterable[Cluster], claims: Iterable[Claim]) -> Ledger:
    """Every claim on every arm it is about, claim by claim.

    Of an arm that does not even say whether it has Cilium, claims that compare arms are open.
    """
    every, judged = list(arms), list(claims)
    said = every
    silent: list[tuple[Cluster, RequestError | NotReady]] = []
    if any(each.scope != "arm" for each in judged):
        said, silent = _kinds(every)
    found = []
    for each in judged:
        groups = {"arm": alone, "pair": pairs, "rivals": rivals}[each.scope](
            every if each.scope == "arm" else said
        )
        found += [each.judge(*group) for group in groups]
        if each.scope == "pair" and len(every) > 1:
            found += [each.finding(unanswered(error), arm) for arm, error in silent]
    return Ledger(tuple(found))


def _kinds(arms: list[Cluster]) -> tuple[list[Cluster], list[tuple[Cluster, RequestError | NotReady]]]:
    """The arms that say whether they have Cilium, and those that do not answer, with what came instead."""
    said: list[Cluster] = []
    silent: list[tuple[Cluster, RequestError | NotReady]] = []
    for arm in arms:
        try:
            is_cilium(arm)
        except ReplayMiss:
            raise
        except (RequestError, NotReady) as error:
            silent.append((arm, error))
        else:
            said.append(arm)
    return said, silent


def alone(arms: Iterable[Cluster]) -> list[tuple[Cluster, ...]]:
    """Each arm by itself."""
    return [(arm,) for arm in arms]


def rivals(arms: Iterable[Cluster]) -> list[tuple[Cluster, ...]]:
    """Each later arm against the first, where both have Cilium or neither has."""
    every = list(arms)
    return [(arm, every[0]) for arm in every[1:] if is_cilium(arm) == is_cilium(every[0])]


def pairs(arms: Iterable[Cluster]) -> list[tuple[Cluster, ...]]:
    """Each arm with Cilium against each arm without."""
    every = list(arms)
    with_cilium = {arm.arm: is_cilium(arm) for arm in every}
    return [(a, b) for a in every for b in every if with_cilium[a.arm] and not with_cilium[b.arm]]
