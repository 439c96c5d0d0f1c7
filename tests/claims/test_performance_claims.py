from functools import cache

import pytest

from labkit.claims import balancing, performance, scaling
from labkit.findings import judge
from tests.conftest import RECORDINGS, arm

CLAIMS = (*performance.CLAIMS, *balancing.CLAIMS, *scaling.CLAIMS)


@cache
def ledger():
    return judge([arm(name) for name in RECORDINGS], CLAIMS)


def finding(claim, about):
    return ledger().of(claim)[about]


VXLAN, ROUTED = "cilium vs overlay-vxlan", "cilium vs overlay-routed"

EXPECTED = [
    ("cilium-faster-throughput", {VXLAN: "supported", ROUTED: "inconclusive"}),
    ("cilium-lower-latency", {VXLAN: "supported", ROUTED: "inconclusive"}),
    ("cilium-faster-connect", {VXLAN: "refuted", ROUTED: "refuted"}),
    ("cilium-less-cpu", {VXLAN: "supported", ROUTED: "inconclusive"}),
    ("cilium-scales-with-services", {VXLAN: "inconclusive", ROUTED: "inconclusive"}),
    ("service-costs-latency", dict.fromkeys(RECORDINGS, "inconclusive")),
    ("even-load-balancing", dict.fromkeys(RECORDINGS, "supported")),
    ("spread-as-programmed", dict.fromkeys(RECORDINGS, "supported")),
    ("ten-fetches-show-balance", dict.fromkeys(RECORDINGS, "refuted")),
    ("runbook-iperf3-works", dict.fromkeys(RECORDINGS, "inconclusive")),
    (
        "udp-by-service-measurable",
        {"overlay-vxlan": "refuted", "overlay-routed": "supported", "cilium": "supported"},
    ),
    (
        "rules-grow-with-services",
        {"overlay-vxlan": "supported", "overlay-routed": "supported", "cilium": "refuted"},
    ),
    (
        "services-slow-connections",
        {"overlay-vxlan": "supported", "overlay-routed": "supported", "cilium": "inconclusive"},
    ),
    ("new-service-works-at-once", dict.fromkeys(RECORDINGS, "refuted")),
    ("change-effective-in-a-second", dict.fromkeys(RECORDINGS, "inconclusive")),
    ("policies-slow-connections", dict.fromkeys(RECORDINGS, "inconclusive")),
]


#: What the recordings were made without.
NOT_RECORDED = ("change-effective-in-a-second", "policies-slow-connections")


@pytest.mark.parametrize(("claim", "verdicts"), EXPECTED, ids=[claim for claim, _ in EXPECTED])
def test_verdicts(claim, verdicts):
    assert {about: found.verdict for about, found in ledger().of(claim).items()} == verdicts


def test_no_claim_is_without_an_expected_verdict():
    assert {claim.id for claim in CLAIMS} == {claim for claim, _ in EXPECTED}
    assert {claim.topic for claim in CLAIMS} == {"performance"}


def test_every_finding_has_its_evidence_in_the_recordings():
    for found in ledger().findings:
        assert found.evidence or found.claim in NOT_RECORDED
        for reply in found.evidence:
            name = found.versus if reply.startswith("versus:") else found.arm
            assert arm(name).executor.recording.by_id(reply.removeprefix("versus:")) is not None


def test_contrasts_say_n_interval_and_that_arms_were_not_measured_together():
    found = finding("cilium-faster-connect", VXLAN)
    assert "n = 6 and 6" in found.reason
    assert "95 % interval" in found.reason
    assert "one after the other" in found.reason
    assert found.numbers["low"] > 1.05
    assert any(reply.startswith("versus:") for reply in found.evidence)


def test_unknown_is_inconclusive_and_says_how_noisy_it_was():
    found = finding("cilium-faster-throughput", ROUTED)
    assert found.numbers["low"] < 1 < found.numbers["high"]
    assert "without the dataplane the measure varied by a factor of" in found.reason


def test_udp_and_tcp_were_parted_where_it_failed():
    failed = finding("udp-by-service-measurable", "overlay-vxlan")
    assert "Connection refused" in failed.reason
    assert "60 of TCP to 10.244.1.5, 6 of UDP to 10.244.0.6" in failed.reason
    assert "which is chance" in finding("udp-by-service-measurable", "overlay-routed").reason
    assert "not known" in finding("udp-by-service-measurable", "cilium").reason


def test_growth_that_the_machine_can_explain_is_no_growth():
    found = finding("services-slow-connections", "cilium")
    assert found.numbers["ratio"] < 1  # faster with more Services
    assert found.numbers["control"] < 0.7  # and so was what sends no packet
    assert "more Services cannot make connections faster" in found.reason


def test_the_lag_of_a_new_service_names_the_control_planes_part():
    for name in RECORDINGS:
        found = finding("new-service-works-at-once", name)
        assert "control plane" in found.reason
        assert found.numbers["no_slice_for_s"] < found.numbers["at_least_s"] < found.numbers["at_most_s"]


def test_one_arm_alone_has_no_pairs():
    alone = judge([arm("overlay-routed")], performance.CLAIMS)
    assert [found.claim for found in alone.findings] == ["service-costs-latency"]
