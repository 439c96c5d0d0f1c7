"""kube-proxy in a mode that is not read here (IPVS, nftables): what rests on its rules is not known, and not wrong."""

from dataclasses import replace

import pytest

from labkit.claims import CLAIMS
from labkit.cluster import Cluster
from labkit.findings import judge
from tests.conftest import arm

RESTS_ON_RULES = {
    "ebpf-load-balancing", "equal-chances", "kube-proxy-iptables", "packets-go-as-explained", "programmed-keeps-up",
    "programmed-matches-api", "rules-grow-with-services", "services-without-iptables", "spread-as-programmed",
}  # fmt: skip


class WithoutRules:
    """The recording of an arm whose kube-proxy writes no rules of iptables."""

    def __init__(self, inner):
        self.inner, self.about = inner, inner.about

    def run(self, request):
        reply = self.inner.run(request)
        if request.words.startswith("iptables-save"):
            kept = [line for line in reply.text.splitlines(keepends=True) if "KUBE-" not in line]
            return replace(reply, output="".join(kept).encode())
        return reply


@pytest.mark.parametrize("name", ["overlay-vxlan", "overlay-routed"])
def test_what_rests_on_rules_is_not_known(name):
    cluster = Cluster(name, "replay", WithoutRules(arm(name).executor))
    before = {finding.claim: finding.verdict for finding in judge([arm(name)], CLAIMS).findings}
    found = {finding.claim: finding for finding in judge([cluster], CLAIMS).findings}
    assert {claim for claim in RESTS_ON_RULES if found[claim].verdict != "inconclusive"} == set()
    turned = {claim for claim, finding in found.items() if finding.verdict != before[claim]}
    assert turned <= RESTS_ON_RULES | {"nat-table-is-all"}  # it counts the rules there are
