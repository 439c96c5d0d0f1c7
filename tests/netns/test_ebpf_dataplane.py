"""Real packets between namespaces, through the programs of the eBPF dataplane."""

import json
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, permutations

import pytest
from scipy.stats import chisquare

from labkit.analysis.policy_model import Flow, Peer, decide, records
from labkit.errors import ProvisionError
from labkit.netns.ebpf import EbpfDataplane, layout
from labkit.parse import network_policy
from tests.netns import ebpf_lab
from tests.netns.conftest import require
from tests.netns.ebpf_lab import NAMESPACE, endpoint_slice, policy, service

WEB = [(80, 8080, "TCP"), (80, 8080, "UDP")]
SELF = [(80, 80, "TCP"), (80, 80, "UDP")]
VIP, NOBODY, HAIRPIN, STICKY, LOCAL = "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5"
NODES = ("node-1", "node-2")
FORWARDED, DENIED, NO_BACKEND, SPOOFED = 1, 2, 3, 5


class Lab:
    """The namespaces, the dataplane, and the objects it was last given."""

    def __init__(self, machines):
        self.machines = machines
        self.dataplane = EbpfDataplane(machines)
        client = machines.pod("client", "node-1", {"role": "client"}, 80)
        self.near = machines.pod("near", "node-1", {"role": "backend"}, 8080)
        self.far = machines.pod("far", "node-2", {"role": "backend"}, 8080)
        machines.pod("other", "node-2", {"role": "other"}, 80)
        where = {self.near: "node-1", self.far: "node-2"}
        both = [self.near, self.far]
        self.objects = {
            "Service": [
                service("web", VIP, WEB),
                service("nobody", NOBODY, WEB),
                service("self", HAIRPIN, SELF),
                service("sticky", STICKY, WEB, sessionAffinity="ClientIP",
                        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 1}}),
                service("local", LOCAL, WEB, internalTrafficPolicy="Local"),
            ],
            "EndpointSlice": [
                endpoint_slice("web", both, WEB),
                endpoint_slice("self", [client], SELF),
                endpoint_slice("sticky", both, WEB),
                endpoint_slice("local", both, WEB, where),
            ],
            "Pod": list(machines.pods.values()),
            "Namespace": [{"metadata": {"name": NAMESPACE, "labels": {}}}],
            "NetworkPolicy": [],
        }  # fmt: skip
        self.sync()

    def sync(self, **changed):
        begun = time.perf_counter()
        self.dataplane.sync({**self.objects, **changed})
        return time.perf_counter() - begun

    def ask(self, *args, **options):
        return self.machines.ask(*args, **options)

    def counts(self, node, ip, direction, outcome):
        """Packets with this fate."""
        for entry in self.machines.dump(node, "counters"):
            key = entry["formatted"]["key"]
            if (".".join(map(str, key["ip"])), key["direction"], key["outcome"]) == (ip, direction, outcome):
                return sum(cpu["value"]["packets"] for cpu in entry["formatted"]["values"])
        return 0


@pytest.fixture(scope="module")
def shared():
    require("ebpf")
    with ebpf_lab.lab() as machines:
        yield Lab(machines)


@pytest.fixture
def lab(shared):
    yield shared
    shared.sync()


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("client", ["client", "other", "node/node-1", "node/node-2"])
def test_a_service_leads_to_backends_here_and_there_and_answers_as_itself(lab, client, protocol):
    found = lab.ask(client, VIP, 80, protocol, count=40)
    assert set(found.names) == {"near", "far"}
    assert found.sources == {VIP}


def test_backends_are_chosen_at_random_with_equal_chances(lab):
    names = lab.ask("client", VIP, 80, count=400).names
    counts = Counter(names)
    assert chisquare([counts["near"], counts["far"]]).pvalue > 1e-4
    runs = 1 + sum(a != b for a, b in pairwise(names))
    assert 140 < runs < 260  # 200 +- 6 standard deviations: neither in turn, nor in blocks


def test_the_backend_sees_the_client_itself(lab):
    addresses = {answer.split()[1] for answer, _, _ in lab.ask("client", VIP, 80, count=20).rows}
    assert addresses == {lab.machines.addresses["client"]}


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_affinity_holds_for_its_time_and_no_longer(lab, protocol):
    first = set(lab.ask("client", STICKY, 80, protocol, count=30).names)
    assert len(first) == 1
    seen = Counter(first)
    for _ in range(12):
        time.sleep(1.1)
        seen.update(lab.ask("client", STICKY, 80, protocol, count=1).names)
        if len(seen) == 2:
            break
    assert len(seen) == 2  # fails by chance once in 4096 runs


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("client", ["client", "node/node-1"])
def test_a_service_without_backends_refuses_at_once(lab, client, protocol):
    found = lab.ask(client, NOBODY, 80, protocol, count=2)
    assert found.names == ["ConnectionRefusedError"] * 2
    assert max(found.seconds) < 0.5


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_a_pod_that_is_its_own_backend_is_asked_from_another_address(lab, protocol):
    found = lab.ask("client", HAIRPIN, 80, protocol, count=5)
    assert {answer.split()[1] for answer, _, _ in found.rows} == {"169.254.42.1"}
    assert found.sources == {HAIRPIN}


@pytest.mark.parametrize("client", ["client", "other", "node/node-1"])
def test_a_node_port_leads_pods_and_other_nodes_to_the_backends(lab, client):
    outer, local = (service(name, ip, WEB, type="NodePort", externalTrafficPolicy=kept)
                    for name, ip, kept in (("outer", "10.0.1.6", "Cluster"), ("inner", "10.0.1.7", "Local")))  # fmt: skip
    for number, each in ((30080, outer), (30081, local)):
        for port in each["spec"]["ports"]:
            port["nodePort"] = number
    where = {lab.near: "node-1", lab.far: "node-2"}
    slices = [endpoint_slice(name, [lab.near, lab.far], WEB, where) for name in ("outer", "inner")]
    lab.sync(Service=[outer, local], EndpointSlice=slices)
    second = lab.machines.topology.nodes[1].ip
    found = lab.ask(client, second, 30080, count=40)
    assert set(found.names) == {"near", "far"}
    assert found.sources == {second}
    assert set(lab.ask(client, second, 30081, count=20).names) == {"far"}


def test_local_traffic_policy_keeps_to_the_clients_node(lab):
    assert set(lab.ask("client", LOCAL, 80, count=10).names) == {"near"}
    assert set(lab.ask("other", LOCAL, 80, count=10).names) == {"far"}


def test_what_is_no_service_port_passes_untranslated(lab):
    assert lab.ask("client", lab.far, 8080).sources == {lab.far}
    assert lab.machines.run("pod/client", ["ping", "-c1", "-W1", "-s", "4000", lab.far]).exit_code == 0


def test_a_datagram_in_fragments_is_translated_whole(lab):
    found = lab.ask("client", VIP, 80, "UDP", count=20, size=5000)
    assert {answer.split()[0] for answer, _, _ in found.rows} == {"near", "far"}
    assert {answer.split()[2] for answer, _, _ in found.rows} == {"5000"}


@pytest.mark.parametrize("made_by", ["nobody", "the sender", "the next device"])
def test_checksums_are_right_whoever_makes_them(lab, made_by):
    """A veth passes packets on without their sums, and whoever gets them does not look, unless one has to be made."""
    pods, nowhere = ("client", "near", "far"), [(90, 9999, "TCP"), (90, 9999, "UDP")]
    devices = {
        "nobody": [],
        "the sender": [(f"pod/{pod}", "eth0") for pod in pods],
        "the next device": [("node/node-1", "eth0"), ("node/node-1", "azvclient"), ("node/node-1", "azvnear"),
                            ("node/node-2", "eth0"), ("node/node-2", "azvfar")],
    }[made_by]  # fmt: skip
    for target, device in devices:
        lab.machines.do(target, f"ethtool -K {device} tx off")
    refusing = lab.objects["Service"] + [service("refusing", "10.0.1.9", nowhere)]
    slices = lab.objects["EndpointSlice"] + [endpoint_slice("refusing", [lab.near, lab.far], nowhere)]
    lab.sync(Service=refusing, EndpointSlice=slices)
    for protocol, size in (("TCP", 1), ("TCP", 100_000), ("UDP", 1), ("UDP", 5000)):
        assert set(lab.ask("client", VIP, 80, protocol, count=10, size=size).names) == {"near", "far"}
        assert set(lab.ask("client", HAIRPIN, 80, protocol, size=size).names) == {"client"}
        for vip, port in ((NOBODY, 80), ("10.0.1.9", 90)):
            found = lab.ask("client", vip, port, protocol, count=4)
            assert found.names == ["ConnectionRefusedError"] * 4, (protocol, size, vip)
    for pod in pods:
        errors = lab.machines.do(f"pod/{pod}", "nstat -asz TcpInCsumErrors UdpInCsumErrors IcmpInCsumErrors")
        assert [line.split()[1] for line in errors.splitlines()[1:]] == ["0", "0", "0"]
    for target, device in devices:
        lab.machines.do(target, f"ethtool -K {device} tx on")


def test_connections_stay_where_they_are_when_a_service_changes(lab):
    lab.sync(EndpointSlice=[endpoint_slice("web", [lab.near], WEB)])
    with lab.machines.talk("client", VIP, 80, "TCP") as ask:
        assert ask() == "near"
        lab.sync(EndpointSlice=[endpoint_slice("web", [lab.far], WEB)])
        assert set(lab.ask("client", VIP, 80, count=10).names) == {"far"}
        assert ask() == "near"


def test_datagrams_of_one_socket_move_to_the_backend_that_is_left(lab):
    lab.sync(EndpointSlice=[endpoint_slice("web", [lab.near], WEB)])
    with lab.machines.talk("client", VIP, 80, "UDP") as ask:
        assert [ask(), ask()] == ["near", "near"]
        lab.sync(EndpointSlice=[endpoint_slice("web", [lab.far], WEB)])
        assert ask() == "far"


def test_replies_that_could_not_be_told_apart_are_avoided(lab):
    """Two Services, asked from one port, have other backends; where there is no other, the second has to wait."""
    alone = endpoint_slice("self", [lab.near], WEB)
    lab.sync(Service=[service("web", VIP, WEB), service("self", HAIRPIN, WEB)], EndpointSlice=[
        endpoint_slice("web", [lab.near], WEB), endpoint_slice("self", [lab.near, lab.far], WEB)])  # fmt: skip
    for number in range(6):
        with lab.machines.talk("client", VIP, 80, "UDP", 40000 + number) as ask:
            assert ask() == "near"
            with lab.machines.talk("client", HAIRPIN, 80, "UDP", 40000 + number) as second:
                assert second() == "far"
    lab.sync(Service=[service("web", VIP, WEB), service("self", HAIRPIN, WEB)], EndpointSlice=[
        endpoint_slice("web", [lab.near], WEB), alone])  # fmt: skip
    with lab.machines.talk("client", VIP, 80, "UDP", 40010) as ask:
        assert ask() == "near"
        with lab.machines.talk("client", HAIRPIN, 80, "UDP", 40010) as second:
            assert second() == "silence"
        assert ask() == "near"


DENY = policy("deny", {"policyTypes": ["Ingress", "Egress"]})
BACKEND, CLIENT = {"matchLabels": {"role": "backend"}}, {"matchLabels": {"role": "client"}}
ALLOW = [
    policy("in", {"podSelector": BACKEND, "policyTypes": ["Ingress"], "ingress": [
        {"from": [{"podSelector": CLIENT}], "ports": [{"protocol": "TCP", "port": 8080}]}]}),
    policy("out", {"podSelector": CLIENT, "policyTypes": ["Egress"], "egress": [
        {"to": [{"podSelector": BACKEND}], "ports": [{"protocol": "TCP", "port": 8080}]}]}),
]  # fmt: skip


def test_deny_all_stops_everything_and_counts_it(lab):
    client = lab.machines.addresses["client"]
    before = lab.counts("node-1", client, 1, DENIED)
    lab.sync(NetworkPolicy=[DENY])
    for ip, port in ((VIP, 80), (lab.near, 8080), (lab.far, 8080)):
        for protocol in ("TCP", "UDP"):
            assert lab.ask("client", ip, port, protocol, limit_s=0.2).names == ["TimeoutError"]
    assert lab.machines.run("pod/client", ["ping", "-c1", "-W1", lab.near]).exit_code == 1
    assert lab.counts("node-1", client, 1, DENIED) - before == 7
    assert lab.ask("node/node-1", lab.near, 8080).names == ["near"]  # from the own node, always
    assert lab.ask("node/node-1", lab.far, 8080, limit_s=0.2).names == ["TimeoutError"]
    assert lab.counts("node-2", lab.far, 2, DENIED)
    lab.sync()
    assert lab.ask("client", VIP, 80).sources == {VIP}


def test_allow_lists_open_what_they_name_and_nothing_else(lab):
    lab.sync(NetworkPolicy=[DENY, *ALLOW])
    assert set(lab.ask("client", VIP, 80, count=20).names) == {"near", "far"}
    assert lab.ask("client", VIP, 80, "UDP", limit_s=0.2).names == ["TimeoutError"]
    assert lab.ask("other", VIP, 80, limit_s=0.2).names == ["TimeoutError"]
    assert lab.ask("near", lab.far, 8080, limit_s=0.2).names == ["TimeoutError"]


def test_policies_on_packets_agree_with_the_model(lab):
    names = {"client": 80, "near": 8080, "far": 8080, "other": 80}
    labels = {name: pod["metadata"]["labels"] for name, pod in lab.machines.pods.items()}
    peers = {n: Peer(lab.machines.addresses[n], NAMESPACE, labels[n], {}) for n in names}
    sets = [
        [ALLOW[0]],
        [ALLOW[1], policy("x", {"policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 1, "endPort": 80}]}]})],
        [policy("x", {"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {"matchExpressions": [
            {"key": "role", "operator": "In", "values": ["client", "other"]}]}}]}]})],
    ]  # fmt: skip
    for policies in sets:
        lab.sync(NetworkPolicy=policies)
        rules = records(network_policy.rules(json.dumps({"kind": "List", "items": policies}).encode()))
        pairs = list(permutations(names, 2))
        expected = [decide(rules, Flow(peers[a], peers[b], "TCP", names[b])).allowed for a, b in pairs]
        with ThreadPoolExecutor(4) as pool:
            asked = list(pool.map(lambda p: lab.ask(p[0], peers[p[1]].ip, names[p[1]], limit_s=0.5), pairs))
        got = [answers.names == [b] for answers, (_, b) in zip(asked, pairs, strict=True)]
        assert dict(zip(pairs, got, strict=True)) == dict(zip(pairs, expected, strict=True))
        assert set(got) == {True, False}


def test_a_new_policy_ends_connections_that_it_forbids(lab):
    with lab.machines.talk("client", lab.far, 8080, "TCP") as ask:
        assert ask() == "far"
        lab.sync(NetworkPolicy=[DENY])
        assert ask() == "silence"


def test_replies_need_no_policy_of_their_own(lab):
    """Who may be asked may answer, and who may ask may be answered; neither may begin."""
    both = [policy("in", {"podSelector": BACKEND, "policyTypes": ["Ingress", "Egress"], "ingress": [{}]}),
            policy("out", {"podSelector": CLIENT, "policyTypes": ["Ingress", "Egress"], "egress": [{}]})]  # fmt: skip
    lab.sync(NetworkPolicy=both)
    client = lab.machines.addresses["client"]
    for protocol in ("TCP", "UDP"):
        assert set(lab.ask("client", VIP, 80, protocol, count=20).names) == {"near", "far"}
    assert lab.machines.run("pod/client", ["ping", "-c1", "-W1", lab.far]).exit_code == 0
    assert lab.machines.run("pod/far", ["ping", "-c1", "-W1", client]).exit_code == 1
    assert lab.ask("far", client, 80, limit_s=0.2).names == ["TimeoutError"]


def test_a_pod_cannot_send_from_an_address_that_is_not_its_own(lab):
    lab.machines.do("pod/client", "ip addr add 10.244.0.99/32 dev eth0")
    try:
        argv = ["ping", "-c1", "-W1", "-I", "10.244.0.99", lab.near]
        assert lab.machines.run("pod/client", argv).exit_code == 1
        assert lab.counts("node-1", "10.244.0.99", 1, SPOOFED) == 1
    finally:
        lab.machines.do("pod/client", "ip addr del 10.244.0.99/32 dev eth0")


def test_a_pod_that_comes_later_is_served(lab):
    machines = lab.machines
    machines.pod("late", "node-2", {"role": "late"})
    lab.objects["Pod"] = list(machines.pods.values())
    lab.sync()
    assert lab.ask("late", VIP, 80).sources == {VIP}


def test_only_what_changed_is_written(lab):
    chosen = {
        json.dumps(e["formatted"]["key"]): e["formatted"]["value"]
        for e in lab.machines.dump("node-1", "backends")
    }
    assert any(value["chosen"] for value in chosen.values())
    lab.sync(Service=[*lab.objects["Service"], service("more", "10.0.2.1", WEB)])
    after = {
        json.dumps(e["formatted"]["key"]): e["formatted"]["value"]
        for e in lab.machines.dump("node-1", "backends")
    }
    assert {key: after[key] for key in chosen} == chosen


def test_too_many_services_change_nothing(lab):
    before = len(lab.machines.dump("node-1", "services"))
    half = [(port, port, "TCP") for port in range(1, layout.CAPACITY["services"] // 2 + 2)]
    with pytest.raises(ProvisionError, match="services of node-1 has room for"):
        lab.sync(Service=[service("huge", "10.0.3.1", half), service("large", "10.0.3.2", half)])
    assert len(lab.machines.dump("node-1", "services")) == before


def test_ten_thousand_services_in_seconds(lab):
    """Entries grow with the Services; the time of a connection does not (it is measured elsewhere)."""
    for number in (1, 100, 1000, 10000):
        ips = [f"10.0.{64 + n // 250}.{1 + n % 250}" for n in range(number)]
        services = [service(f"scale-{n:05}", ip, WEB[:1]) for n, ip in enumerate(ips)]
        slices = [endpoint_slice(f"scale-{n:05}", [lab.near, lab.far], WEB[:1]) for n in range(number)]
        seconds = lab.sync(Service=services, EndpointSlice=slices)
        assert lab.ask("client", ips[-1], 80).sources == {ips[-1]}
        for node in NODES:
            dumped = lab.machines.run(
                f"node/{node}",
                ["bpftool", "-j", "map", "dump", "pinned", f"/sys/fs/bpf/labkit/{node}/maps/services"],
            )
            assert len(json.loads(dumped.stdout)) == number
        assert seconds < 20  # on a machine that is busy with much else


def test_the_structures_are_those_of_the_programs(lab):
    """What Python packs, the type information of the compiled object reads the same."""
    key, value = layout.frontend(VIP, 80, 6), struct.unpack("=III", layout.service(1, 2, 3))
    dumped = {
        bytes(int(b, 16) for b in e["key"]): e["formatted"] for e in lab.machines.dump("node-1", "services")
    }
    assert dumped[key]["key"] == {"vip": [10, 0, 1, 1], "port": 80, "protocol": 6, "unused": 0}
    assert list(dumped[key]["value"]) == ["service", "backends", "affinity_s"]
    assert dumped[key]["value"]["backends"] == value[1]
    shown = json.loads(lab.machines.run("node/node-1", ["bpftool", "-j", "map", "show"]).stdout)
    room = {m["name"]: m["max_entries"] for m in shown if m["name"] in layout.CAPACITY}
    assert room == layout.CAPACITY
