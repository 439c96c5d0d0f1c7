"""What happened to a packet from point to point, and what each stretch cost."""

from functools import cache

import pandas as pd
import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Dot1Q
from scapy.packet import Raw

from labkit.analysis.clocks import clocks
from labkit.analysis.flows import translations
from labkit.analysis.journeys import HOPS, answered, hops
from labkit.analysis.packets import journeys
from labkit.collect import captures, kubernetes, node, pod
from tests.analysis.wire import ASKED, PODS, SERVICES, answer, at, echo, geneve, seen, syn, wireguard

NODES = pd.DataFrame([("n0", "boot-0"), ("n1", "boot-1")], columns=["node", "boot_id"])
AHEAD_US = 1_000_000
#: A connection's first packet and its answer through DNAT and a tunnel; n1's clock is a second ahead.
WAY = (
    ("client", "pod", syn(dst="10.0.0.80")),
    ("n0 veth1", "veth", syn(dst="10.0.0.80")),
    ("n0 eth0", "nic", geneve(syn(ttl=63))),
    ("n1 eth0", "nic", geneve(syn(ttl=63))),
    ("n1 veth2", "veth", syn(ttl=62)),
    ("n1 veth2", "veth", answer()),
    ("n1 eth0", "nic", geneve(answer(ttl=63), "n1", "n0")),
    ("n0 eth0", "nic", geneve(answer(ttl=63), "n1", "n0")),
    ("client", "pod", answer(src="10.0.0.80", ttl=62)),
)
TIMES = (0, 3, 20, 25 + AHEAD_US, 40 + AHEAD_US, 90 + AHEAD_US, 95 + AHEAD_US, 100, 110)


@cache
def of(cluster) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sightings and the journeys of a recording."""
    found = journeys(captures.packets(cluster), kubernetes.pods(cluster), kubernetes.services(cluster))
    fetches = translations(found, captures.asked(cluster))
    apart = clocks(found, kubernetes.nodes(cluster))
    return found, hops(found, apart, node.links(cluster), pod.links(cluster), fetches)


def made(sightings, times=None, nodes: pd.DataFrame = NODES) -> pd.DataFrame:
    found = seen(*sightings)
    found = journeys(found if times is None else at(found, times), PODS, SERVICES)
    return hops(found, clocks(found, nodes))


def changes(frame: pd.DataFrame) -> list[str]:
    return frame["changed"].fillna("").tolist()


#: What happens to the first packet of a connection to a Service and to its answer, on the way between nodes.
CHANGES = {
    "overlay-vxlan": [
        "", "", "DNAT 10.0.68.134:80 → 10.244.1.3:80", "TTL 64 → 63", "into vxlan, +50 bytes; MTU 1450 → 1500",
        "", "out of vxlan, -50 bytes; MTU 1500 → 1450", "TTL 63 → 62", "",
        "", "", "TTL 64 → 63", "into vxlan, +50 bytes; MTU 1450 → 1500",
        "", "out of vxlan, -50 bytes; MTU 1500 → 1450", "DNAT undone 10.244.1.3:80 → 10.0.68.134:80; TTL 63 → 62", "", "",
    ],
    "overlay-routed": [
        "", "", "DNAT 10.0.49.29:80 → 10.246.1.3:80; TTL 64 → 63", "TTL 63 → 62", "TTL 62 → 61",
        "", "TTL 64 → 63", "TTL 63 → 62", "DNAT undone 10.246.1.3:80 → 10.0.49.29:80; TTL 62 → 61", "",
    ],
    "cilium": [
        "DNAT in the socket 10.0.234.81 → 10.245.1.206", "", "TTL 64 → 63", "",
        "", "TTL 64 → 63", "", "TTL 63 → 62",
    ],
}  # fmt: skip


def test_what_changed_on_the_way_to_a_service_and_back(cluster):
    found, frame = of(cluster)
    assert changes(answered(frame, found)) == CHANGES[cluster.arm]


def test_every_recorded_packet_has_a_journey_whose_costs_add_up(cluster):
    found, frame = of(cluster)
    assert {n: str(t) for n, t in frame.dtypes.items()} == {c.name: c.dtype for c in HOPS.columns}
    assert len(frame) == len(found)
    assert not frame.duplicated(["packet", "hop"]).any()
    ways = frame.groupby("packet", sort=False)
    assert (ways["hop"].max() + 1 == ways.size()).all()
    assert (ways["cost_us"].sum() - ways["since_us"].last()).abs().max() < 0.001
    assert (ways["since_us"].first() == 0).all()
    assert frame["clock_offset_us"].eq(0).all()  # nodes of one kernel
    between = frame[frame["flow"].notna()]
    assert (between["cost_us"].dropna() >= -5).all()  # a point may be a little late with what it saw
    assert between["mtu"].notna().all()


def test_an_echo_between_nodes_and_its_answer(vxlan):
    found, frame = of(vxlan)
    one = answered(frame, found, of="ping")
    assert one["hop"].tolist() == [*range(9), *range(9)]
    assert one["request"].tolist() == [True] * 9 + [False] * 9
    assert one["since_us"].is_monotonic_increasing
    assert one["since_us"].iloc[-1] == 202


def test_times_are_by_one_clock():
    frame = made(WAY, TIMES)
    found = journeys(at(seen(*WAY), TIMES), PODS, SERVICES)
    one = answered(frame, found)
    offset = AHEAD_US  # both ways take 5 microseconds
    assert one["clock_offset_us"].tolist() == [0, 0, 0, *[offset] * 4, 0, 0]
    assert one["since_us"].tolist() == [0, 3, 20, 25, 40, 90, 95, 100, 110]
    assert one["cost_us"].fillna(-1).tolist() == [-1, 3, 17, 5, 15, -1, 5, 5, 10]
    assert changes(one) == [
        "", "", "DNAT 10.0.0.80:80 → 10.1.1.2:80; TTL 64 → 63; into geneve, +50 bytes",
        "", "TTL 63 → 62; out of geneve, -50 bytes",
        "", "TTL 64 → 63; into geneve, +50 bytes", "", "DNAT undone 10.1.1.2:80 → 10.0.0.80:80; TTL 63 → 62; out of geneve, -50 bytes",
    ]  # fmt: skip


def test_without_a_common_clock_there_is_no_time_on_the_other_node():
    frame = made(WAY[:5], TIMES[:5])
    assert frame["since_us"].fillna(-1).tolist() == [0, 3, 20, -1, -1]
    assert frame["cost_us"].fillna(-1).tolist() == [-1, 3, 17, -1, -1]
    assert frame["clock_offset_us"].isna().tolist() == [False] * 3 + [True] * 2
    assert frame["time"].notna().all()


def query(src: str, sport: int, ttl: int = 64) -> IP:
    return (
        IP(src=src, dst="10.1.1.2", ttl=ttl, id=0)
        / UDP(sport=sport, dport=53)
        / Raw(b"a question of 24 bytes..")
    )


def ping(src: str, number: int, ttl: int = 64) -> IP:
    return IP(src=src, dst="10.1.1.2", ttl=ttl, id=9) / ICMP(id=number, seq=1) / Raw(b"0123456789abcdef" * 2)


@pytest.mark.parametrize(("packet", "numbers", "said"), [
    (syn, None, "SNAT 10.1.0.2:40000 → 192.0.2.1:40000; TTL 64 → 63"),
    (query, (40000, 61000), "SNAT 10.1.0.2:40000 → 192.0.2.1:61000; TTL 64 → 63"),
    (ping, (7, 40123), "SNAT 10.1.0.2 → 192.0.2.1; TTL 64 → 63"),
])  # fmt: skip
def test_a_translated_source_is_the_same_packet(packet, numbers, said):
    """Also where the translation changes the port of UDP, or the identifier of an echo."""
    own, others = ([], []) if numbers is None else ([numbers[0]], [numbers[1]])
    frame = made([
        ("client", "pod", packet("10.1.0.2", *own)),
        ("n0 eth0", "nic", packet("192.0.2.1", *others, ttl=63)),
        ("n1 eth0", "nic", packet("192.0.2.1", *others, ttl=63)),
    ])  # fmt: skip
    assert len(set(frame["packet"])) == 1
    assert changes(frame) == ["", said, ""]


def test_questions_that_are_alike_but_for_what_they_ask_are_two_packets():
    other = (
        IP(src="10.1.0.2", dst="10.1.1.2", id=0)
        / UDP(sport=40000, dport=53)
        / Raw(b"b question of 24 bytes..")
    )
    frame = made([("client", "pod", query("10.1.0.2", 40000)), ("n0 eth0", "nic", other)])
    assert frame["packet"].nunique() == 2


def test_an_error_message_has_a_journey_too():
    """It has neither ports nor an identifier of its own."""
    error = (
        IP(src="10.1.1.2", dst="192.0.2.1", id=4) / ICMP(type=3, code=3) / bytes(query("192.0.2.1", 61000))
    )
    undone = IP(src="10.1.1.2", dst="10.1.0.2", id=4, ttl=62) / error.payload
    frame = made([("n0 eth0", "nic", error), ("client", "pod", undone)])
    assert len(set(frame["packet"])) == 1
    assert frame["hop"].tolist() == [0, 1]
    assert frame["packet"].notna().all()


def test_a_tag_is_a_change():
    tagged = Dot1Q(vlan=42) / syn(ttl=63)
    frame = made([("client", "pod", syn()), ("n0 eth0", "nic", tagged), ("n1 eth0", "nic", syn(ttl=63))])
    assert changes(frame) == ["", "TTL 64 → 63; VLAN none → 42", "VLAN 42 → none"]


def test_what_is_encrypted_is_a_packet_of_nodes():
    frame = made([("n0 eth0", "nic", wireguard()), ("n1 eth0", "nic", wireguard())])
    assert frame["encap"].tolist() == ["wireguard"] * 2
    assert frame["src"].tolist() == ["192.0.2.1:51871"] * 2
    assert frame["packet_bytes"].tolist() == frame["ip_bytes"].tolist() == [122, 122]
    assert frame["flow"].isna().all()


def test_an_mtu_belongs_to_a_device_of_its_own_machine():
    found = journeys(seen(("client", "pod", echo()), ("n0 eth0", "nic", echo(63))), PODS, SERVICES)
    links = pd.DataFrame({"node": ["n0", "n1"], "interface": "eth0", "mtu": [1500, 9000]})
    inside = pd.DataFrame({"pod": ["client"], "interface": "eth0", "mtu": [1400]})
    frame = hops(found, clocks(found, NODES), links, inside)
    assert frame["mtu"].tolist() == [1400, 1500]
    assert changes(frame) == ["", "TTL 64 → 63; MTU 1400 → 1500"]


def test_a_socket_that_translates_is_only_told_of_by_the_client():
    found = journeys(seen(*[(place, kind, packet) for place, kind, packet in (
        ("client", "pod", syn()), ("n0 eth0", "nic", syn(ttl=63)),
    )]), PODS, SERVICES)  # fmt: skip
    fetches = translations(found, ASKED)
    assert changes(hops(found, clocks(found, NODES), fetches=fetches)) == [
        "DNAT in the socket 10.0.0.80 → 10.1.1.2", "TTL 64 → 63",
    ]  # fmt: skip
    assert changes(hops(found, clocks(found, NODES))) == ["", "TTL 64 → 63"]


def test_an_echo_is_no_connection_of_the_same_number():
    found = journeys(seen(("client", "pod", ping("10.1.0.2", 40000))), PODS, SERVICES)
    fetches = translations(journeys(seen(("client", "pod", syn())), PODS, SERVICES), ASKED)
    assert fetches["local_port"].tolist() == found["client_port"].tolist() == [40000]
    assert changes(hops(found, clocks(found, NODES), fetches=fetches)) == [""]


def test_arms_stay_apart():
    found = at(seen(*WAY), TIMES)
    both = pd.concat([found.assign(arm=arm) for arm in "ab"], ignore_index=True)
    frames = [
        pd.concat([f.assign(arm=arm) for arm in "ab"], ignore_index=True) for f in (PODS, SERVICES, NODES)
    ]
    ways = journeys(both, *frames[:2])
    frame = hops(ways, clocks(ways, frames[2]))
    assert list(frame.columns) == ["arm", *HOPS.names]
    assert answered(frame, ways).groupby("arm")["since_us"].last().to_dict() == {"a": 110, "b": 110}


def test_nothing_captured_has_every_column(routed):
    found = journeys(captures.CAPTURED.empty(), kubernetes.pods(routed), kubernetes.services(routed))
    frame = hops(found, clocks(found, kubernetes.nodes(routed)))
    assert {n: str(t) for n, t in frame.dtypes.items()} == {c.name: c.dtype for c in HOPS.columns}
    assert answered(frame, found).empty
