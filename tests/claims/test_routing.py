import json
from dataclasses import replace

import pytest

from labkit.claims import kube_proxy, routing
from labkit.cluster import Cluster
from labkit.collect import captures, kubernetes
from labkit.explain import between_nodes
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
    assert set(CLAIMS) == {*EXPECTED, "fewer-devices", "fewer-devices-than-first"}


def devices(finding):
    return finding.verdict, finding.numbers["devices"], finding.numbers["devices_versus"]


def test_fewer_devices_than_with_a_tunnel_and_one_fewer_than_without(vxlan, routed, cilium):
    found = judge([vxlan, routed, cilium], [CLAIMS["fewer-devices"]]).of("fewer-devices")
    tunnel, plain = found["cilium vs overlay-vxlan"], found["cilium vs overlay-routed"]
    assert devices(tunnel) == (YES, 5, 10)
    assert devices(plain) == (YES, 5, 6)
    assert tunnel.numbers["contrast"] == plain.numbers["contrast"] == "better"
    assert tunnel.reason.startswith(
        "5 devices (eth0, lxc31aeeadc0e6a, eth0, eth0, eth0) against 10 devices ("
    )
    assert "assumed" not in tunnel.reason
    assert plain.reason.endswith("assumed: 10.242.0.1 is no node; what routes behind it is not read, "
                                 "and must bring it to routed-node-1)")  # fmt: skip
    for finding, other in ((tunnel, vxlan), (plain, routed)):
        ours = {reply for reply in finding.evidence if not reply.startswith("versus:")}
        theirs = {reply.removeprefix("versus:") for reply in {*finding.evidence} - ours}
        assert ours == rested_on(cilium)
        assert theirs == rested_on(other)


def rested_on(cluster):
    """The replies under the way to the other frontend."""
    hops = between_nodes(cluster)
    return {reply for cell in hops[hops["way"] == "1 request"]["reply"].dropna() for reply in cell.split()}


def test_the_one_fewer_is_no_device_in_the_captures(routed, cilium):
    """Nothing that comes from another node is seen at a host's end of a veth of Cilium's."""
    for cluster, behind in ((routed, True), (cilium, False)):
        pods = kubernetes.pods(cluster)
        home = pods[~pods["host_network"]].set_index("pod_ip")["node"]
        pings = captures.packets(cluster)
        pings = pings[(pings["icmp_type"] == 8) & pings["src_ip"].isin(home.index) & (pings["tap"] == "node")]
        away = pings[
            (pings["src_ip"].map(home) != pings["node"]) & (pings["dst_ip"].map(home) == pings["node"])
        ]
        assert len(away) > 0
        assert away["interface"].ne("eth0").any() == behind


def test_arms_without_cilium_are_held_against_the_first(vxlan, routed, cilium):
    ledger = judge([vxlan, routed, cilium], [CLAIMS["fewer-devices-than-first"]])
    (finding,) = ledger.findings
    assert finding.about == "overlay-routed vs overlay-vxlan"
    assert devices(finding) == (YES, 6, 10)
    (back,) = judge([routed, vxlan], [CLAIMS["fewer-devices-than-first"]]).findings
    assert devices(back) == (NO, 10, 6)
    assert back.numbers["contrast"] == "worse"
    (same,) = judge([routed, routed], [CLAIMS["fewer-devices-than-first"]]).findings
    assert (same.verdict, same.numbers["contrast"]) == (NO, "no difference")


class Altered:
    """A replay whose answers to some words are other ones."""

    def __init__(self, inner, words, alter):
        self.inner, self.words, self.alter, self.about = inner, words, alter, inner.about

    def run(self, request):
        reply = self.inner.run(request)
        return replace(reply, output=self.alter(reply.stdout)) if self.words in request.words else reply


def of_one_node(answer):
    """The pods that run on the first node."""
    found = json.loads(answer)
    found["items"] = [item for item in found["items"] if item["spec"].get("nodeName", "").endswith("-0")]
    return json.dumps(found).encode()


def without_pod_routes(answer):
    """Routes of a node, without those that lead to the other node's pods."""
    routes = json.loads(answer)
    return json.dumps(
        [route for route in routes if route.get("dev") != "flannel.1" and route["dst"] != "default"]
    ).encode()


@pytest.mark.parametrize(
    ("words", "alter", "reason"),
    [
        ("/pods", of_one_node, "there are no two frontends on two nodes"),
        (
            "ip -j route show table all",
            without_pod_routes,
            "on altered the way does not end in the other pod: ",
        ),
    ],
)
def test_without_a_way_to_another_node_nothing_is_counted(vxlan, routed, words, alter, reason):
    altered = Cluster("altered", vxlan.source, Altered(vxlan.executor, words, alter))
    for finding in (
        CLAIMS["fewer-devices-than-first"].judge(altered, routed),
        CLAIMS["fewer-devices"].judge(routed, altered),
    ):
        assert finding.verdict == UNKNOWN
        assert finding.reason.startswith(reason)


def test_mtu_carries_its_numbers(vxlan):
    numbers = CLAIMS["full-mtu-between-pods"].judge(vxlan).numbers
    assert numbers == {"node_mtu_bytes": 1500, "pod_mtu_bytes": 1450, "largest_passed_bytes": 1450}
