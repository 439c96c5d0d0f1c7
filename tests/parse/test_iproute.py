import json
from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import bridge, iproute, iproute_routes
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parents[1] / "cases" / "iproute"


def case(name):
    """Printed by iproute2 6.1.0 in a namespace with a bridge, two veth pairs, a VXLAN device and odd routes."""
    return (CASES / f"6.1.0-{name}.json").read_bytes()


PARSERS = {
    "ip -j -d -s link show": iproute.links,
    "ip -j -d link show": iproute.links,
    "ip -j link show": iproute.links,
    "ip -j addr show": iproute.addresses,
    "ip -j neigh show": iproute.neighbours,
    "ip -j route show": iproute_routes.routes,
    "ip -j rule show": iproute_routes.rules,
    "bridge -j fdb show": bridge.forwarding,
    "bridge -j -d link show": bridge.ports,
}


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("words", PARSERS)
def test_every_recorded_reply_is_read(name, words):
    recording = arm(name).executor.recording
    replies = [recording.find(r) for r in recording.requests() if r.words.startswith(words)]
    assert replies
    for reply in replies:
        assert (
            len(PARSERS[words](reply.stdout)) == len(json.loads(reply.stdout)) or words == "ip -j addr show"
        )


def test_links_of_a_vxlan_node():
    reply = recorded("overlay-vxlan", "ip -j -d -s link show", subject="vxlan-node-0")[0]
    frame = iproute.links(reply.stdout).set_index("interface")
    flannel, veth = frame.loc["flannel.1"], frame.loc["veth7ea013b9"]
    assert (flannel["kind"], flannel["mtu"], flannel["vxlan_id"], flannel["vxlan_port"]) == (
        "vxlan",
        1450,
        1,
        8472,
    )
    assert (flannel["vxlan_local_ip"], flannel["vxlan_interface"]) == ("10.240.0.4", "eth0")
    assert (bool(flannel["vxlan_learning"]), flannel["rx_packets"], flannel["tx_dropped"]) == (False, 0, 11)
    assert (veth["kind"], veth["master"], veth["peer_ifindex"], veth["peer_netns"]) == ("veth", "cni0", 2, 3)
    assert frame.loc["lo"].isna()[["kind", "peer_ifindex", "vxlan_id", "master"]].all()
    assert frame.loc["eth0", "rx_bytes"] == 444246978


def test_a_peer_in_the_same_namespace_has_a_name():
    reply = recorded("cilium", "ip -j -d -s link show")[0]
    frame = iproute.links(reply.stdout).set_index("interface")
    assert (frame.loc["cilium_net", "peer"], frame.loc["cilium_host", "peer"]) == (
        "cilium_host",
        "cilium_net",
    )
    assert frame.loc["cilium_net"].isna()["peer_ifindex"]


def test_without_statistics_and_details_they_are_unknown_and_not_zero():
    frame = iproute.links(recorded("cilium", "ip -j link show")[0].stdout)
    assert frame[["kind", "rx_packets", "tx_dropped"]].isna().all(axis=None)


def test_empty_objects_of_older_versions_are_no_links():
    assert iproute.links(b"[{},{},{}]").empty
    assert list(iproute.links(b"[]").columns) == iproute.LINKS.names


def test_addresses_keep_their_prefix():
    reply = recorded("cilium", "ip -j addr show", subject="tmbh6")[0]
    frame = iproute.addresses(reply.stdout)
    row = frame[frame["scope"] == "global"].iloc[0]
    assert (row["interface"], row["ip"], row["prefix_length"]) == ("eth0", "10.245.1.51", 32)


def test_a_neighbour_that_is_not_resolved_has_no_mac():
    frame = iproute.neighbours(case("neigh-incomplete")).set_index("dst_ip")
    assert frame.loc["192.0.2.77", "state"] == "INCOMPLETE"
    assert frame.loc["192.0.2.77"].isna()["mac"]
    assert frame.loc["192.0.2.2", "mac"] == "0e:bc:c1:f3:e6:9a"


def test_routes_are_masked_and_defaults_filled_in():
    reply = recorded("overlay-routed", "ip -j route show table all", subject="routed-node-0")[0]
    frame = iproute_routes.routes(reply.stdout)
    pod = frame[frame["interface"] == "vethb3a97e2c"].set_index("prefix").loc["10.246.0.6/32"]
    assert (pod["table"], pod["type"], pod["protocol"], pod["scope"]) == ("main", "unicast", "boot", "host")
    assert pod.isna()["next_hop"]
    default = frame[frame["prefix"] == "default"].iloc[0]
    assert (default["family"], default["next_hop"], default["metric"]) == ("inet", "10.242.0.1", 0)
    assert frame["prefix"].isin(["::1/128"]).any()
    assert set(frame["table"]) == {"main", "local"}


def test_a_route_may_set_an_mtu_and_a_flag():
    cilium = iproute_routes.routes(recorded("cilium", "ip -j route show", subject="pod/")[0].stdout)
    assert cilium.set_index("prefix").loc["default", "mtu"] == 1500
    vxlan = iproute_routes.routes(recorded("overlay-vxlan", "ip -j route show table all")[0].stdout)
    assert vxlan.set_index("prefix").loc["10.244.1.0/24", "flags"] == "onlink"


def test_several_next_hops_are_several_rows():
    frame = iproute_routes.routes(case("routes"))
    several = frame[frame["prefix"] == "10.8.0.0/16"]
    assert several[["next_hop", "weight"]].values.tolist() == [["192.0.2.2", 1], ["192.0.2.3", 2]]
    assert (frame["prefix"] == "2001:db8:7::/48").sum() == 2


def test_odd_routes():
    frame = iproute_routes.routes(case("routes")).set_index("prefix")
    assert frame.loc["10.7.0.0/16", "next_hop"] == "fe80::1"  # IPv4 by an IPv6 router
    assert frame.loc["10.99.0.0/16", "type"] == "blackhole"
    assert frame.loc["10.99.0.0/16"].isna()["interface"]
    assert (frame.loc["10.98.0.0/16", "type"], frame.loc["10.98.0.0/16", "metric"]) == ("unreachable", 50)
    assert (frame.loc["10.55.0.1/32", "table"], frame.loc["10.55.0.1/32", "mtu"]) == ("100", 1400)
    assert set(frame.loc["default", "family"]) == {"inet", "inet6"}


def test_rules_of_policy_routing():
    frame = iproute_routes.rules(case("rules")).set_index("priority")
    assert frame["table"].tolist()[:3] == ["local", "2004", "100"]
    assert (frame.loc[9, "mark"], frame.loc[100, "src"]) == ("0x200/0xf00", "10.9.0.0/24")
    odd = frame.loc[200]
    assert (bool(odd["inverted"]), odd["src"], odd["dst"], odd["in_interface"], odd["action"]) == (
        True,
        "10.1.0.0/16",
        "10.2.3.4",
        "br0",
        "prohibit",
    )
    assert odd.isna()["table"]


def test_forwarding_entry_of_a_tunnel():
    frame = bridge.forwarding(
        recorded("overlay-vxlan", "bridge -j fdb show", subject="vxlan-node-0")[0].stdout
    )
    far = frame[frame["interface"] == "flannel.1"]
    assert far[["mac", "dst_ip", "state", "flags"]].values.tolist() == [
        ["02:42:0a:f4:00:02", "10.240.0.5", "permanent", "self"]
    ]
    learnt = frame[frame["state"] == ""]
    assert set(learnt["master"]) == {"cni0"}
    assert len(learnt) == 5


def test_forwarding_entry_with_its_own_port_and_network():
    frame = bridge.forwarding(case("fdb")).set_index("mac")
    entry = frame.loc["02:aa:bb:cc:dd:ee"]
    assert (entry["dst_ip"], entry["port"], entry["vxlan_id"]) == ("192.0.2.21", 8472, 78)
    assert frame.loc["00:00:00:00:00:00", "dst_ip"] == "192.0.2.20"


def test_ports_of_a_bridge():
    frame = bridge.ports(
        recorded("overlay-vxlan", "bridge -j -d link show", subject="vxlan-node-0")[0].stdout
    )
    assert len(frame) == 5
    assert set(frame["master"]) == {"cni0"}
    assert frame["hairpin"].all()
    assert bridge.ports(recorded("cilium", "bridge -j -d link show")[0].stdout).empty
    assert bridge.ports(case("bridge-links"))["interface"].tolist() == ["veth0"]


@pytest.mark.parametrize("words", PARSERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[{",
        b'{"ifindex": 1}',
        b"[1]",
        b'[{"ifindex": 1}]',
        b"Cannot open netlink socket: Permission denied\n",
    ],
)
def test_what_is_no_answer_is_refused(words, data):
    with pytest.raises(ParseError):
        PARSERS[words](data)


@pytest.mark.parametrize("words", PARSERS)
def test_what_is_cut_off_is_refused(words):
    whole = recorded("overlay-vxlan", words)[0].stdout
    assert len(whole) > 100
    with pytest.raises(ParseError):
        PARSERS[words](whole[: len(whole) // 2])


def test_links_of_another_machine():
    frame = iproute.links(case("links")).set_index("interface")
    assert frame.loc["vx1", ["vxlan_id", "vxlan_port", "vxlan_local_ip"]].tolist() == [77, 4789, "192.0.2.10"]
    assert frame.loc["veth0", ["peer", "master"]].tolist() == ["veth1", "br0"]
    assert iproute.links(case("vxlan"))["interface"].tolist() == ["vx1"]


def test_a_device_without_addresses_has_no_row():
    frame = iproute.addresses(case("addresses"))
    assert frame.loc[frame["interface"] == "up0", "ip"].tolist()[:2] == ["192.0.2.10", "2001:db8::10"]
    assert frame["interface"].isin(["veth0", "lo"]).any()
