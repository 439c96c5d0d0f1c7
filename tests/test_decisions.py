import pytest

from labkit.claims import CLAIMS, routing
from labkit.decisions import MIME, QUESTIONS, Question, decide
from labkit.findings import Finding, Ledger, judge
from tests.conftest import arm

ALONE = Question("t", "Who does it?", "does-it")
PAIR = Question("t", "Who is faster?", "faster")


def finding(claim, arm, verdict, versus="", **numbers):
    return Finding(
        claim, "", "t", "", arm, versus, verdict, f"because {arm}", numbers, ("r1",), "s", "", "live"
    )


def winner(question, *findings):
    return [d.winner for d in decide(Ledger(findings), [question]).decisions]


@pytest.mark.parametrize(
    ("verdicts", "wins"),
    [
        (("supported", "refuted"), "a"),
        (("refuted", "supported"), "b"),
        (("supported", "supported"), "no difference"),
        (("refuted", "refuted"), "no difference"),
        (("supported", "inconclusive"), "unknown"),
        (("inconclusive", "refuted"), "unknown"),
        (("supported", "refuted", "supported"), "a, c"),
        (("supported", "refuted", "inconclusive"), "a"),
    ],
)
def test_arms_judged_alone(verdicts, wins):
    found = [finding("does-it", arm, verdict) for arm, verdict in zip("abc", verdicts, strict=False)]
    assert winner(ALONE, *found) == [wins]


def test_one_arm_wins_nothing():
    assert winner(ALONE, finding("does-it", "a", "supported")) == ["unknown"]


@pytest.mark.parametrize(
    ("verdict", "contrast", "wins"),
    [
        ("supported", "better", "c"),
        ("refuted", "worse", "o"),
        ("refuted", "no difference", "no difference"),
        ("inconclusive", "unknown", "unknown"),
    ],
)
def test_a_pair_is_won_by_its_contrast(verdict, contrast, wins):
    assert winner(PAIR, finding("faster", "c", verdict, "o", contrast=contrast)) == [wins]


@pytest.mark.parametrize(
    ("claim", "contrast"), [("cilium-faster-connect", "worse"), ("cilium-faster-throughput", "better")]
)
def test_a_measured_contrast_says_who_won(claim, contrast):
    (judged,) = [c for c in CLAIMS if c.id == claim]
    assert judged.judge(arm("cilium"), arm("overlay-vxlan")).numbers["contrast"] == contrast


def test_every_pair_is_decided_for_itself():
    found = [finding("faster", "c", "supported", other) for other in ("o", "p")]
    decisions = decide(Ledger(tuple(found)), [PAIR]).decisions
    assert [d.question for d in decisions] == ["Who is faster? (c vs o)", "Who is faster? (c vs p)"]


def test_a_question_nobody_could_judge_is_unknown():
    assert winner(PAIR) == ["unknown"]


def test_every_question_is_about_a_claim_that_exists():
    scopes = {claim.id: claim.scope for claim in CLAIMS} | {"": "rivals"}
    assert {question.claim for question in QUESTIONS} <= set(scopes)
    assert {scopes[question.rivals] for question in QUESTIONS} == {"rivals"}


def test_two_arms_without_cilium_have_a_winner_in_devices():
    ledger = judge([arm("overlay-vxlan"), arm("overlay-routed")], routing.CLAIMS)
    (question,) = [q for q in QUESTIONS if q.claim == "fewer-devices"]
    (decision,) = decide(ledger, [question]).decisions
    assert decision.winner == "overlay-routed"
    assert decision.findings == ("fewer-devices-than-first @ overlay-routed vs overlay-vxlan",)


def test_claims_have_names_of_their_own():
    ids = [claim.id for claim in CLAIMS]
    assert len(set(ids)) == len(ids)


def test_what_is_written_of_aks_stands_beside_the_winner():
    asked = {q.claim: q for q in QUESTIONS}
    ledger = Ledger(
        tuple(finding("vxlan-between-nodes", a, v) for a, v in (("x", "supported"), ("y", "refuted")))
    )
    (tunnel,) = decide(ledger, [asked["vxlan-between-nodes"]]).decisions
    assert (tunnel.winner, tunnel.on_aks) == ("y", "no difference")
    (policy,) = decide(ledger, [asked["policies-enforced"]]).decisions
    assert policy.on_aks == "cilium"
    assert decide(ledger, [ALONE]).decisions[0].on_aks == ""


def test_decisions_carry_themselves_as_data():
    decisions = decide(
        Ledger((finding("does-it", "a", "supported"), finding("does-it", "b", "refuted"))), [ALONE]
    )
    bundle = decisions._repr_mimebundle_()
    assert bundle[MIME][0]["winner"] == "a"
    assert bundle[MIME][0]["findings"] == ["does-it @ a", "does-it @ b"]
    assert "<b>a</b>" in bundle["text/html"]
