"""What is said of an arm whose Services and policies are the eBPF maps of a lab."""

import pytest

from labkit.claims import CLAIMS
from labkit.findings import judge
from labkit.source import connect
from tests.netns.conftest import require

SAID = {
    "ebpf-load-balancing": ("supported", "labkit's own eBPF maps (not Cilium's)"),
    "programmed-matches-api": ("supported", "eBPF maps: all "),
    "kube-proxy-iptables": ("refuted", "no DaemonSet kube-proxy"),
    "policies-enforced": ("supported", "were stopped"),
    "basic-policies-on-overlay": ("supported", "policy engine: eBPF maps of labkit; 0 iptables rules"),
    "agent-on-every-node": ("inconclusive", "no Cilium agent"),
    "clusterip-in-ct": ("inconclusive", "no Cilium agent"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    require("ebpf")
    arm = connect("netns:ebpf", record=tmp_path_factory.mktemp("ebpf") / "recording")
    try:
        ledger = judge([arm], [claim for claim in CLAIMS if claim.id in SAID])
    finally:
        arm.close()
    return {finding.claim: finding for finding in ledger.findings}


@pytest.mark.parametrize("claim", SAID)
def test_maps_of_a_lab_are_judged_and_never_called_cilium(found, claim):
    verdict, reason = SAID[claim]
    assert found[claim].verdict == verdict
    assert reason in found[claim].reason
    assert found[claim].evidence or verdict == "inconclusive"
