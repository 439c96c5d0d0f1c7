"""Verdicts of the claims on setting up and cleaning up, on each recording."""

import pytest

from labkit.claims import cleanup, setup
from labkit.findings import judge
from tests.conftest import RECORDINGS, arm

WANTED = {
    "azure-cni-pods": ("refuted", "refuted", "refuted"),
    "agent-on-every-node": ("inconclusive", "inconclusive", "supported"),
    "first-pods-cross-nodes": ("supported", "refuted", "refuted"),
    "nginx-has-tools": ("inconclusive",) * 3,
    "deleted-is-gone": ("refuted",) * 3,
    "label-finds-all": ("supported",) * 3,
    "one-command-cleans-both": ("inconclusive",) * 3,
}


@pytest.fixture(scope="module")
def ledger():
    return judge([arm(name) for name in RECORDINGS], (*setup.CLAIMS, *cleanup.CLAIMS))


@pytest.mark.parametrize("claim", WANTED)
def test_verdicts(ledger, claim):
    found = ledger.of(claim)
    assert tuple(found[name].verdict for name in RECORDINGS) == WANTED[claim]


def test_every_claim_is_tested_here(ledger):
    assert {finding.claim for finding in ledger.findings} == {*WANTED, "arms-differ-only-in-dataplane"}


def test_the_recorded_arms_do_differ_in_more_than_the_dataplane(ledger):
    found = ledger.of("arms-differ-only-in-dataplane")
    assert set(found) == {"cilium vs overlay-vxlan", "cilium vs overlay-routed"}
    finding = found["cilium vs overlay-vxlan"]
    assert finding.verdict == "refuted"
    assert "CoreDNS pods" in finding.reason
