import pytest

from labkit.claims import kube_proxy, routing
from labkit.findings import judge
from tests.conftest import arm

YES, NO, UNKNOWN = "supported", "refuted", "inconclusive"
CLAIMS = {claim.id: claim for claim in (*routing.CLAIMS, *kube_proxy.CLAIMS)}

#: Verdicts on the recordings overlay-vxlan, overlay-routed and cilium.
EXPECTED = {
    "vxlan-device": (YES, NO, NO),
    "node-bridge": (YES, NO, NO),
    "cni-only-ipam": (NO, NO, NO),
    "pod-ips-from-pod-cidr": (YES, YES, YES),
    "node-addresses-10-240": (YES, NO, NO),
    "pod-addresses-10-244": (YES, NO, NO),
    "remote-pods-by-node-route": (YES, NO, YES),
    "full-mtu-between-pods": (NO, YES, YES),
    "kube-proxy-iptables": (YES, YES, NO),
    "equal-chances": (YES, YES, UNKNOWN),
    "conntrack-holds-services": (YES, YES, NO),
    "nat-table-is-all": (NO, NO, NO),
    "brctl-shows-bridge": (YES, NO, NO),
    "trace-names-every-hop": (YES, YES, NO),
    "pods-reach-pods": (YES, YES, YES),
    "service-by-name": (YES, YES, YES),
}


@pytest.mark.parametrize("claim_id", EXPECTED)
def test_verdicts_on_the_recordings(claim_id):
    verdicts = []
    for name in ("overlay-vxlan", "overlay-routed", "cilium"):
        cluster = arm(name)
        finding = CLAIMS[claim_id].judge(cluster)
        verdicts.append(finding.verdict)
        known = {cluster.executor.recording.find(r).id for r in cluster.executor.recording.requests()}
        assert set(finding.evidence) <= known
        assert finding.evidence or finding.verdict == UNKNOWN
    assert tuple(verdicts) == EXPECTED[claim_id]


def test_every_claim_has_an_expected_verdict():
    assert set(CLAIMS) == {*EXPECTED, "fewer-devices"}


def test_fewer_devices_than_with_a_tunnel_and_as_many_as_without(vxlan, routed, cilium):
    ledger = judge([vxlan, routed, cilium], [CLAIMS["fewer-devices"]])
    found = ledger.of("fewer-devices")
    tunnel, plain = found["cilium vs overlay-vxlan"], found["cilium vs overlay-routed"]
    assert (tunnel.verdict, tunnel.numbers["devices"], tunnel.numbers["devices_versus"]) == (YES, 6, 10)
    assert (plain.verdict, plain.numbers["devices"], plain.numbers["devices_versus"]) == (NO, 6, 6)
    assert (tunnel.numbers["contrast"], plain.numbers["contrast"]) == ("better", "no difference")
    ours = [reply for reply in tunnel.evidence if not reply.startswith("versus:")]
    assert len(ours) == len(tunnel.evidence) - len(ours)


def test_mtu_carries_its_numbers(vxlan):
    numbers = CLAIMS["full-mtu-between-pods"].judge(vxlan).numbers
    assert numbers == {"node_mtu_bytes": 1500, "pod_mtu_bytes": 1450, "largest_passed_bytes": 1450}
