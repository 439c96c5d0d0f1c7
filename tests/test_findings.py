import pytest

from labkit.errors import MissingFeature
from labkit.findings import MIME, Finding, claim, inconclusive, judge, refuted, supported
from tests.conftest import RECORDINGS, arm

ARMS = [arm(name) for name in RECORDINGS]


@claim("two-nodes", "The arm has two nodes.", topic="test", said="nowhere")
def two_nodes(cluster):
    reply = cluster.read("/api/v1/nodes")
    return supported("two", [reply.id, reply.id], nodes=2)


@claim("has-agent", "The arm has an agent.", topic="test", said="nowhere")
def has_agent(cluster):
    raise MissingFeature(cluster.arm, "no Cilium agent in this arm")


@claim("asks-too-much", "The arm answers what nobody recorded.", topic="test", said="nowhere")
def asks_too_much(cluster):
    return supported("yes", [cluster.run("node/nowhere", ["true"]).id])


@claim("faster", "Cilium is faster.", topic="test", said="nowhere", scope="pair")
def faster(mine, other):
    return refuted("no", [mine.read("/version").id, f"versus:{other.read('/version').id}"])


def test_a_finding_carries_its_claim_arm_origin_and_evidence_once():
    finding = two_nodes.judge(ARMS[2])
    assert (finding.verdict, finding.arm, finding.origin, finding.source) == (
        "supported",
        "cilium",
        "live",
        "replay:cilium",
    )
    assert finding.evidence == ("r00003",)
    assert finding.numbers == {"nodes": 2}


def test_what_an_arm_lacks_is_inconclusive_with_the_reason():
    finding = has_agent.judge(ARMS[0])
    assert (finding.verdict, finding.reason) == ("inconclusive", "no Cilium agent in this arm")


def test_what_was_not_recorded_is_inconclusive_too():
    finding = asks_too_much.judge(ARMS[0])
    assert finding.verdict == "inconclusive"
    assert "not recorded: true in step baseline" in finding.reason


@pytest.mark.parametrize("verdict", [supported, refuted])
def test_no_verdict_without_evidence(verdict):
    with pytest.raises(ValueError, match="evidence"):
        verdict("because I say so", [])


def test_inconclusive_needs_none():
    assert inconclusive("no data").evidence == ()


def test_pairs_are_each_cilium_arm_against_each_other_arm():
    ledger = judge(ARMS, [faster])
    assert sorted(ledger.of("faster")) == ["cilium vs overlay-routed", "cilium vs overlay-vxlan"]
    finding = ledger.findings[0]
    assert (finding.versus_source, finding.evidence) == ("replay:overlay-vxlan", ("r00002", "versus:r00002"))


def test_a_ledger_shows_itself_and_carries_its_findings_as_data():
    ledger = judge(ARMS, [two_nodes, has_agent])
    bundle = ledger._repr_mimebundle_()
    assert [Finding.from_json(data) for data in bundle[MIME]] == list(ledger.findings)
    assert bundle["text/html"].count("<tr") == 1 + len(ledger)
    assert "? overlay-vxlan: The arm has an agent. no Cilium agent" in bundle["text/plain"]


def test_ledger_frame_has_one_row_a_finding():
    frame = judge(ARMS, [two_nodes]).frame()
    assert frame["verdict"].tolist() == ["supported"] * 3
