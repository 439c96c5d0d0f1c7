"""The verdict of each claim on all three recordings."""

import pytest

from labkit.claims import cilium, cilium_commands, service_maps
from labkit.findings import judge
from tests.conftest import RECORDINGS, arm

S, R, I = "supported", "refuted", "inconclusive"
EXPECTED = {
    "ebpf-load-balancing": (R, R, S),
    "programmed-matches-api": (S, S, S),
    "programmed-keeps-up": (S, S, R),
    "maglev-tables": (I, I, S),
    "maglev-chooses-for-pods": (I, I, I),
    "maglev-same-on-nodes": (I, I, S),
    "agent-knows-cluster": (I, I, R),
    "native-routing": (I, I, S),
    "ebpf-routing": (I, I, S),
    "cilium-does-ipam": (I, I, S),
    "endpoint-routes": (I, I, S),
    "clusterip-in-ct": (I, I, R),
    "config-shows-maglev": (I, I, R),
    "bpf-prog-list": (I, I, R),
    "lb-list-statistics": (I, I, R),
    "service-jq-frontend": (I, I, R),
    "endpoint-id-by-grep": (I, I, R),
}
CLAIMS = (*service_maps.CLAIMS, *cilium.CLAIMS, *cilium_commands.CLAIMS)


@pytest.fixture(scope="module")
def ledger():
    return judge([arm(name) for name in RECORDINGS], CLAIMS)


def test_every_claim_is_judged(ledger):
    assert {claim.id for claim in CLAIMS} == set(EXPECTED)
    assert len(ledger) == len(EXPECTED) * len(RECORDINGS)


@pytest.mark.parametrize("claim", EXPECTED)
def test_verdicts(claim, ledger):
    found = ledger.of(claim)
    assert tuple(found[name].verdict for name in RECORDINGS) == EXPECTED[claim]


def test_evidence_are_replies_of_the_recording(ledger):
    for finding in ledger.findings:
        recording = arm(finding.arm).executor.recording
        assert all(recording.by_id(reply) for reply in finding.evidence[:3])
        assert finding.evidence or finding.verdict == I


def test_numbers_behind_verdicts(ledger):
    assert ledger.of("clusterip-in-ct")["cilium"].numbers == {"entries": 3451, "with_cluster_ip": 0}
    assert ledger.of("agent-knows-cluster")["cilium"].numbers == {
        "endpoints_of_first": 3,
        "endpoints_of_all": 10,
    }
    assert ledger.of("programmed-keeps-up")["cilium"].numbers["missing_services-1000"] == 412
    assert ledger.of("maglev-tables")["cilium"].numbers["with_table"] == 16
    assert "no Cilium agent" in ledger.of("maglev-tables")["overlay-vxlan"].reason
