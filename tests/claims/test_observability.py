"""Verdicts of the claims on observability and troubleshooting, on each recording."""

import pytest

from labkit.claims import observability, troubleshooting
from labkit.findings import judge
from tests.conftest import RECORDINGS, arm

NO_AGENT = ("inconclusive", "inconclusive")
WANTED = {
    "built-in-flow-monitoring": ("refuted", "refuted", "supported"),
    "limited-to-standard-tools": ("supported", "supported", "refuted"),
    "hubble-needs-no-extra": (*NO_AGENT, "supported"),
    "flows-account-for-all-requests": (*NO_AGENT, "refuted"),
    "hubble-sees-every-policy-drop": (*NO_AGENT, "supported"),
    "clusterip-in-flows": (*NO_AGENT, "refuted"),
    "l7-visibility": (*NO_AGENT, "refuted"),
    "envoy-available": (*NO_AGENT, "refuted"),
    "monitor-shows-all-packets": (*NO_AGENT, "refuted"),
    "runbook-azure-cni-networkmonitor": ("refuted",) * 3,
    "service-name-resolves": ("supported",) * 3,
    "backend-sees-client-address": ("supported",) * 3,
    "conntrack-accounts-for-requests": ("supported", "supported", "refuted"),
    "node-counters-see-pods": ("supported", "supported", "refuted"),
    "service-filter-shows-traffic": (*NO_AGENT, "refuted"),
    "runbook-config-shows-envoy": (*NO_AGENT, "refuted"),
}


@pytest.fixture(scope="module")
def ledger():
    return judge([arm(name) for name in RECORDINGS], (*observability.CLAIMS, *troubleshooting.CLAIMS))


@pytest.mark.parametrize("claim", WANTED)
def test_verdicts(ledger, claim):
    found = ledger.of(claim)
    assert tuple(found[name].verdict for name in RECORDINGS) == WANTED[claim]


def test_every_claim_is_tested_here(ledger):
    assert {finding.claim for finding in ledger.findings} == set(WANTED)


@pytest.mark.parametrize("name", RECORDINGS)
def test_verdicts_lead_back_to_replies(ledger, name):
    recording = arm(name).executor.recording
    ids = {recording.find(request).id for request in recording.requests()}
    for finding in ledger.findings:
        if finding.arm == name:
            assert set(finding.evidence) <= ids


@pytest.mark.parametrize(
    ("claim", "numbers"),
    [
        ("flows-account-for-all-requests", {"requests": 1400, "connections": 167, "coverage_pct": 11.9,
                                            "span_requests": 137, "span_connections": 137, "lost_events": 0}),
        ("hubble-sees-every-policy-drop", {"drop_events": 63, "denied_packets": 63, "policy_verdicts": 63}),
        ("clusterip-in-flows", {"flows": 2000, "packets_to_clusterip": 0, "connect_events": 1}),
        ("monitor-shows-all-packets", {"echo_requests": 8, "shown": 4}),
        ("conntrack-accounts-for-requests", {"requests": 1424, "connections": 0}),
        ("node-counters-see-pods", {"forwarded_packets": 0}),
        ("service-filter-shows-traffic", {"flows_as_written": 0, "flows_with_namespace": 1, "flows_to_backends": 1072}),
    ],
)  # fmt: skip
def test_numbers(ledger, claim, numbers):
    assert ledger.of(claim)["cilium"].numbers == numbers
