"""Verdicts of the claims on network policies, on each recording."""

import pytest

from labkit.claims import policies, policy_support
from labkit.findings import judge
from tests.conftest import RECORDINGS, arm

#: On overlay-vxlan, overlay-routed, cilium.
WANTED = {
    "policies-enforced": ("refuted", "refuted", "supported"),
    "deny-all-stops-traffic": ("refuted", "refuted", "supported"),
    "name-probe-shows-policy": ("inconclusive", "inconclusive", "refuted"),
    "allow-rules-work": ("inconclusive", "inconclusive", "supported"),
    "ingress-rules-tested": ("inconclusive",) * 3,
    "removal-restores-traffic": ("inconclusive", "inconclusive", "supported"),
    "basic-policies-on-overlay": ("refuted", "refuted", "inconclusive"),
    "enhanced-l7-policies": ("inconclusive", "inconclusive", "refuted"),
    "drops-visible": ("inconclusive", "inconclusive", "supported"),
}


@pytest.fixture(scope="module")
def ledger():
    return judge([arm(name) for name in RECORDINGS], (*policies.CLAIMS, *policy_support.CLAIMS))


@pytest.mark.parametrize("claim", WANTED)
def test_verdicts(ledger, claim):
    found = ledger.of(claim)
    assert tuple(found[name].verdict for name in RECORDINGS) == WANTED[claim]


def test_every_claim_is_tested_here(ledger):
    assert {finding.claim for finding in ledger.findings} == set(WANTED)


def test_the_canary_rests_on_the_policy_and_on_probes_before_and_after(ledger):
    finding = ledger.of("policies-enforced")["cilium"]
    assert finding.numbers == {"canaries": 6, "stopped": 6}
    assert {"r00926", "r00904", "r00927"} <= set(finding.evidence)  # the policy, before it, under it
    assert len(finding.evidence) == 13


def test_what_is_not_enforced_is_not_a_failure_of_its_rules(ledger):
    for claim in ("allow-rules-work", "removal-restores-traffic", "name-probe-shows-policy"):
        assert "policies are not enforced" in ledger.of(claim)["overlay-routed"].reason


def test_the_probe_by_name_stops_at_the_name(ledger):
    finding = ledger.of("name-probe-shows-policy")["cilium"]
    assert finding.numbers["stopped_at_the_name"] == finding.numbers["by_name"] == 3
    assert finding.numbers["by_address_stopped_at_the_connection"] == 3
    assert "Resolving timed out" in finding.reason


def test_no_probe_came_to_an_ingress_rule(ledger):
    finding = ledger.of("ingress-rules-tested")["cilium"]
    assert finding.numbers == {"blocked": 31, "only_at_ingress": 0}


def test_numbers_of_the_others(ledger):
    assert ledger.of("allow-rules-work")["cilium"].numbers == {"may": 11, "may_not": 4, "otherwise": 0}
    assert ledger.of("drops-visible")["cilium"].numbers == {
        "blocked": 31,
        "without_a_drop": 0,
        "dropped_packets": 59,
    }
    assert ledger.of("basic-policies-on-overlay")["overlay-vxlan"].numbers["iptables_rules_added"] == 0
    assert ledger.of("deny-all-stops-traffic")["overlay-vxlan"].numbers["passed"] == 15
