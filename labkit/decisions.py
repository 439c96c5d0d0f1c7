"""From verdicts to a choice: for each question a winner, no difference, or unknown and why.

A question is decided by one claim. A claim that is judged on each arm alone is won by the arms where it is
supported; one that compares two arms by its own verdict, or by the contrast it measured (`better`, `worse`,
`no difference`). Nothing is weighed or summed up: which question matters is the reader's to say.
"""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from labkit.on_aks import on_aks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labkit.findings import Finding, Ledger

__all__ = ["MIME", "QUESTIONS", "Decision", "Decisions", "Question", "decide"]

MIME = "application/vnd.labkit.decisions+json"
NO_DIFFERENCE = "no difference"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of someone who must choose, and the claim that decides it.

    `wanted` is the verdict that speaks for an arm; `if_all` and `if_none` say what it means that all arms,
    or none, have it. `rivals` is the claim that decides it between arms that `claim` does not compare.
    """

    topic: str
    text: str
    claim: str
    wanted: str = "supported"
    if_all: str = "all arms do"
    if_none: str = "no arm does"
    rivals: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: who wins, what that rests on, and the findings behind it (`claim @ arm`).

    `on_aks` is who would win by what is written of AKS itself; empty where nothing is.
    """

    topic: str
    question: str
    winner: str
    reason: str
    findings: tuple[str, ...]
    on_aks: str = ""


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions in the order of their questions. Shows as a table, and carries them as data."""

    decisions: tuple[Decision, ...]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        rows = "".join(
            f"<tr><td>{html.escape(d.topic)}</td><td>{html.escape(d.question)}</td>"
            f"<td><b>{html.escape(d.winner)}</b></td><td>{html.escape(d.on_aks)}</td>"
            f"<td>{html.escape(d.reason)}</td></tr>"
            for d in self.decisions
        )
        head = "<tr><th></th><th>question</th><th>winner here</th><th>on AKS</th><th>because</th></tr>"
        return {
            MIME: [{**asdict(d), "findings": list(d.findings)} for d in self.decisions],
            "text/html": f"<table class='decisions'><thead>{head}</thead><tbody>{rows}</tbody></table>",
            "text/plain": "\n".join(f"{d.question} {d.winner}: {d.reason}" for d in self.decisions),
        }


def decide(ledger: Ledger, questions: Iterable[Question]) -> Decisions:
    """Decide each question from the ledger. One that compares arms gives a decision for each pair."""
    return Decisions(tuple(d for question in questions for d in _decide(ledger, question)))


def _decide(ledger: Ledger, question: Question) -> Iterator[Decision]:
    claims = {question.claim, question.rivals}
    found = [finding for finding in ledger.findings if finding.claim in claims]
    pairs = [finding for finding in found if finding.versus]
    if pairs:
        for finding in pairs:
            yield _decision(question, _pair_winner(finding), finding.reason, [finding])
    elif found:
        yield _decision(question, *_winner(found, question), found)
    else:
        yield _decision(question, UNKNOWN, "no two arms to compare", [])


def _decision(question: Question, winner: str, reason: str, findings: list[Finding]) -> Decision:
    text = (
        question.text if not findings or not findings[0].versus else f"{question.text} ({findings[0].about})"
    )
    rests_on = tuple(f"{f.claim} @ {f.about}" for f in findings)
    return Decision(question.topic, text, winner, reason, rests_on, _on_aks(question))


def _on_aks(question: Question) -> str:
    """Who would win by documentation and source code of AKS: the dataplane, no difference, or nothing known."""
    known = on_aks()
    rows = known[known["claim"] == question.claim]
    verdicts = dict(zip(rows["dataplane"], rows["verdict"], strict=True))
    if set(verdicts) < {"overlay", "cilium"} or "inconclusive" in verdicts.values():
        return ""
    winners = [dataplane for dataplane, verdict in verdicts.items() if verdict == question.wanted]
    return winners[0] if len(winners) == 1 else NO_DIFFERENCE


def _pair_winner(finding: Finding) -> str:
    contrast = finding.numbers.get("contrast")
    if finding.verdict == "inconclusive":
        return UNKNOWN
    if finding.verdict == "supported" or contrast == "better":
        return finding.arm
    return finding.versus if contrast == "worse" else NO_DIFFERENCE


def _winner(found: list[Finding], question: Question) -> tuple[str, str]:
    """Winner and reason among arms that were judged alone."""
    said = "; ".join(f"{f.arm}: {f.reason}" for f in found)
    if len(found) == 1:
        return UNKNOWN, f"one arm has nothing to be compared with ({said})"
    known = [f for f in found if f.verdict != "inconclusive"]
    winners = [f.arm for f in known if f.verdict == question.wanted]
    if winners and len(winners) < len(known):
        return ", ".join(winners), said
    if len(known) < len(found):
        return UNKNOWN, said
    return NO_DIFFERENCE, f"{question.if_all if winners else question.if_none}: {said}"


QUESTIONS = (
    Question("routing", "Which arm sends pod packets between nodes without a tunnel?", "vxlan-between-nodes",
             wanted="refuted"),
    Question("routing", "Where can pods use the node's full MTU?", "full-mtu-between-pods"),
    Question("routing", "Which arm has fewer devices on the way?", "fewer-devices",
             rivals="fewer-devices-than-first"),
    Question("load balancing", "Where is exactly what the API says programmed?", "programmed-matches-api"),
    Question("load balancing", "Where does that hold while Services are added?", "programmed-keeps-up"),
    Question("load balancing", "Where are connections spread evenly over the backends?", "even-load-balancing"),
    Question("policy", "Where does a NetworkPolicy stop anything?", "policies-enforced"),
    Question("policy", "Where can rules look into HTTP?", "enhanced-l7-policies"),
    Question("policy", "Where can what a policy stops be seen?", "drops-visible"),
    Question("observability", "Which arm shows flows without further tools?", "built-in-flow-monitoring"),
    Question("observability", "Where do the usual tools (conntrack) still tell the truth?",
             "conntrack-accounts-for-requests"),
    Question("performance", "Which arm moves more data between nodes?", "cilium-faster-throughput",
             rivals="faster-throughput"),
    Question("performance", "Which arm answers sooner between nodes?", "cilium-lower-latency",
             rivals="lower-latency"),
    Question("performance", "Which arm connects to a Service sooner?", "cilium-faster-connect",
             rivals="faster-connect"),
    Question("performance", "Which arm needs less CPU for the same data?", "cilium-less-cpu",
             rivals="less-cpu"),
    Question("scale", "Whose connection time grows less with the number of Services?", "cilium-scales-with-services"),
    Question("scale", "Where does a new Service work as soon as it is applied?", "new-service-works-at-once"),
)  # fmt: skip
