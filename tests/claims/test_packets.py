from dataclasses import dataclass, replace

import pytest

from labkit.claims.packets import CLAIMS
from labkit.findings import judge
from labkit.parse.capture_file import records
from tests.parse.capture import pcap

VERDICTS = {
    "vxlan-between-nodes": ("supported", "refuted", "refuted"),
    "pod-address-on-the-wire": ("refuted", "supported", "supported"),
    "clusterip-on-the-wire": ("supported", "supported", "refuted"),
    "host-filter-shows-vxlan": ("refuted", "inconclusive", "inconclusive"),
    "any-shows-a-packet-once": ("refuted", "refuted", "refuted"),
}


@pytest.fixture(scope="module")
def findings():
    from tests.conftest import RECORDINGS, arm  # noqa: PLC0415

    return judge([arm(name) for name in RECORDINGS], CLAIMS)


@pytest.mark.parametrize("claim", VERDICTS)
def test_verdicts(findings, claim):
    assert tuple(f.verdict for f in findings.of(claim).values()) == VERDICTS[claim]


def test_every_claim_has_an_expected_verdict():
    assert {claim.id for claim in CLAIMS} == set(VERDICTS)


def test_numbers(findings):
    numbers = {about: finding.numbers for about, finding in findings.of("vxlan-between-nodes").items()}
    assert numbers["overlay-vxlan"] == {
        "cross_node_flows": 18, "packets": 90, "encapsulated_flows": 18, "bare_flows": 0,
        "overhead_bytes": 50, "udp_port": 8472, "vni": 1,
    }  # fmt: skip
    assert numbers["overlay-routed"]["bare_flows"] == 22
    assert numbers["cilium"]["bare_flows"] == 21
    fetches = {about: finding.numbers for about, finding in findings.of("clusterip-on-the-wire").items()}
    assert [n["syns_to_the_clusterip"] for n in fetches.values()] == [8, 8, 0]
    assert [n["fetches"] for n in fetches.values()] == [8, 8, 8]
    assert findings.of("host-filter-shows-vxlan")["overlay-vxlan"].numbers["matched_by_host"] == 0


def test_evidence_is_the_captures(findings):
    for finding in findings.findings:
        assert finding.evidence
    taps = set(findings.of("any-shows-a-packet-once")["cilium"].evidence)
    assert taps == {"r00338", "r00340"}


@dataclass(frozen=True)
class Captures:
    """An executor whose captures are something else."""

    executor: object
    made: object

    @property
    def about(self):
        return self.executor.about

    def run(self, request):
        reply = self.executor.run(request)
        return replace(reply, output=self.made(reply.stdout)) if "tcpdump" in request.words else reply

    def wait(self, seconds):
        self.executor.wait(seconds)


def with_captures(cluster, made):
    return replace(cluster, executor=Captures(cluster.executor, made), memo={})


def test_captures_without_a_packet_prove_nothing(cilium):
    ledger = judge([with_captures(cilium, lambda data: data[:24])], CLAIMS)
    assert {f.verdict for f in ledger.findings} == {"inconclusive"}


def without_the_cards(data: bytes) -> bytes:
    """The packets of all interfaces but the second, which is the network card in all recordings."""
    found, link = records(data), int.from_bytes(data[20:22], "little")
    kept = [data[at : at + size] for at, size in zip(found.start, found.captured, strict=True)]
    return pcap([frame for frame in kept if link == 1 or frame[7] != 2], link=link)


def test_flows_that_no_card_saw_prove_nothing(routed):
    ledger = judge([with_captures(routed, without_the_cards)], CLAIMS[:2])
    assert {f.verdict for f in ledger.findings} == {"inconclusive"}
    assert all("network card" in f.reason for f in ledger.findings)


def only_encrypted(data: bytes) -> bytes:
    """What a card carries where the nodes encrypt: WireGuard, and nothing else."""
    ip = bytes.fromhex("4500005c000100004011 0000 0af0 0004 0af0 0005") + bytes.fromhex("ca9f ca9f 0048 0000")
    link = int.from_bytes(data[20:22], "little")
    sll2 = bytes.fromhex("0800 0000 0000 0002 0001 04 06 0242 0af0 0004 0000")
    frames = [sll2 + ip + b"\4\0\0\0" + bytes(60)] if link == 276 else []
    return pcap(frames, link=link)


def test_encrypted_traffic_is_named(routed):
    finding = judge([with_captures(routed, only_encrypted)], CLAIMS[:1]).findings[0]
    assert finding.verdict == "inconclusive"
    assert "wireguard" in finding.reason
