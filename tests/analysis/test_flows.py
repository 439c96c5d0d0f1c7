from functools import cache

import pandas as pd
import pytest

from labkit.analysis.flows import completeness, encapsulation, interfaces, on_the_wire, translations
from labkit.analysis.packets import journeys
from labkit.collect import captures, kubernetes
from tests.analysis.wire import ASKED, PODS, SERVICES, answer, echo, geneve, seen, syn, wireguard


@cache
def of(cluster) -> pd.DataFrame:
    return journeys(captures.packets(cluster), kubernetes.pods(cluster), kubernetes.services(cluster))


def made(*sightings) -> pd.DataFrame:
    return journeys(seen(*sightings), PODS, SERVICES)


@pytest.mark.parametrize(("arm", "how"), [
    ("overlay-vxlan", [("icmp", "vxlan", 2, 8), ("udp", "vxlan", 13, 52), ("tcp", "vxlan", 3, 30)]),
    ("overlay-routed", [("icmp", "none", 2, 8), ("udp", "none", 16, 64), ("tcp", "none", 4, 40)]),
    ("cilium", [("icmp", "none", 2, 8), ("udp", "none", 16, 64), ("tcp", "none", 3, 30)]),
])  # fmt: skip
def test_flows_on_the_wire(request, arm, how):
    cluster = request.getfixturevalue(arm.removeprefix("overlay-"))
    wire = on_the_wire(of(cluster))
    assert (wire["nics"] == 2).all()
    assert (wire["packets"] == wire["packets_on_the_wire"]).all()
    assert not wire["source_rewritten"].any()
    short = encapsulation(wire)
    assert list(short[["protocol", "encap", "flows", "packets"]].itertuples(index=False, name=None)) == how
    expected = {(8472, 1, 50)} if arm == "overlay-vxlan" else {(pd.NA, pd.NA, 0)}
    assert set(short[["outer_port", "vni", "overhead_bytes"]].itertuples(index=False, name=None)) == expected


def test_the_overhead_is_what_the_wire_carries_more(request):
    found = of(request.getfixturevalue("vxlan"))
    same = found[found["cross_node"].fillna(value=False) & found["device"].isin(["nic", "vxlan"])]
    nic, vxlan = (
        same[same["device"] == device].set_index("packet")["wire_bytes"] for device in ("nic", "vxlan")
    )
    assert len(nic) == len(vxlan) == 2 * 90  # on both nodes
    assert (nic.groupby("packet").first() - vxlan.groupby("packet").first() == 50).all()


def test_interfaces_show_address_and_ttl_at_each_point(routed):
    flows = interfaces(of(routed))
    one = flows[(flows["protocol"] == "tcp") & flows["cross_node"]].drop_duplicates(
        ["flow", "node", "interface", "tap"]
    )
    one = one[one["flow"] == one["flow"].iloc[0]]
    assert one["ttl_request"].tolist() == [64, 64, 63, 62, 61]
    assert one["ttl_reply"].tolist() == [61, 61, 62, 63, 64]
    assert one["server_ip"].tolist() == ["10.0.49.29"] * 2 + ["10.246.1.3"] * 3
    assert set(one["packets"]) == {10}


@pytest.mark.parametrize(("arm", "places"), [
    ("vxlan", {"on vxlan-node-0, veth7ea013b9 to cni0",
               "on vxlan-node-0, veth7ea013b9 to vethc229e748",
               "on vxlan-node-1, vethec241eeb to veth567ae3b8"}),
    ("routed", {"on routed-node-0, vethb3a97e2c to eth0",
                "on routed-node-0, vethb3a97e2c to vethfd6a3e6b",
                "on routed-node-1, veth47b41716 to eth0",
                "on routed-node-1, veth47b41716 to veth3397ada9"}),
    ("cilium", {"inside the pod, before its first packet"}),
])  # fmt: skip
def test_where_the_service_address_is_translated(request, arm, places):
    cluster = request.getfixturevalue(arm)
    found = translations(of(cluster), captures.asked(cluster))
    assert len(found) == 8
    assert set(found["translated"]) == places
    backends = set(kubernetes.pods(cluster).query("app == 'backend'")["pod_ip"])
    assert set(found["last_ip"]) == backends
    assert (found["first_ip"] == found["believed_ip"]).all() == (arm != "cilium")
    assert not found["source_rewritten"].any()


def test_nothing_the_frontends_sent_is_missing(cluster):
    found = completeness(of(cluster), captures.asked(cluster))
    assert len(found) == 4
    assert found["sent"].tolist() == found["captured"].tolist() == [4, 4, 4, 4]


def test_source_translation_is_seen_on_the_wire():
    found = made(("client", "pod", syn()), ("n0 eth0", "nic", syn(src="192.0.2.1", ttl=63)))
    (wire,) = on_the_wire(found).to_dict("records")
    assert wire["source_rewritten"]
    assert (wire["client_ip"], wire["server_ip"], wire["nics"], wire["encap"]) == (
        "192.0.2.1",
        "10.1.1.2",
        1,
        "none",
    )


def test_a_reply_that_is_translated_back_is_no_source_translation():
    found = made(
        ("client", "pod", syn(dst="10.0.0.80")),
        ("n0 eth0", "nic", syn(ttl=63)),
        ("n0 eth0", "nic", answer(ttl=63)),
        ("client", "pod", answer(src="10.0.0.80", ttl=62)),
    )
    (wire,) = on_the_wire(found).to_dict("records")
    assert not wire["source_rewritten"]
    assert (wire["server_ip"], wire["packets_on_the_wire"], wire["service"]) == ("10.1.1.2", 2, "shop/web")
    (fetch,) = translations(found, ASKED).to_dict("records")
    assert fetch["translated"] == "client eth0 to n0 eth0"


def test_a_flow_in_two_ways_says_both():
    found = made(("n0 eth0", "nic", geneve(syn())), ("n0 eth0", "nic", answer()))
    (wire,) = on_the_wire(found).to_dict("records")
    assert wire["encap"] in ("geneve,none", "none,geneve")


def test_a_flow_that_no_card_saw_is_not_called_bare():
    found = made(("client", "pod", syn()), ("n0 eth0", "nic", wireguard()))
    (wire,) = on_the_wire(found).to_dict("records")
    assert (wire["nics"], wire["packets_on_the_wire"]) == (0, 0)
    assert pd.isna(wire["encap"])
    assert encapsulation(on_the_wire(found))["encap"].tolist() == ["not seen"]


def test_flows_on_one_node_are_not_on_the_wire():
    pods = PODS.assign(node="n0")
    found = journeys(seen(("client", "pod", echo()), ("n0 veth1", "veth", echo())), pods, SERVICES)
    assert on_the_wire(found).empty
    assert len(interfaces(found)) == 2


def test_a_translation_by_the_node_behind_the_pods_interface():
    """As with Cilium where socket load balancing is for the host only: at the pod's host side, in tc."""
    found = made(
        ("client", "pod", syn(dst="10.0.0.80")),
        ("n0 lxc1", "veth", syn(dst="10.0.0.80")),
        ("n0 eth0", "nic", syn(ttl=63)),
    )
    (fetch,) = translations(found, ASKED).to_dict("records")
    assert (fetch["first_ip"], fetch["last_ip"]) == ("10.0.0.80", "10.1.1.2")
    assert fetch["translated"] == "on n0, lxc1 to eth0"


@pytest.mark.parametrize(("sightings", "translated"), [
    ([("client", "pod", syn(dst="10.0.0.80"))], "nowhere"),
    ([("n0 eth0", "nic", syn())], None),  # without the pod's own interface nobody knows what it sent
    ([("client", "pod", syn(sport=41000))], None),  # another connection
])  # fmt: skip
def test_what_was_not_seen_is_not_guessed(sightings, translated):
    (fetch,) = translations(made(*sightings), ASKED).to_dict("records")
    assert fetch["translated"] == translated or (translated is None and pd.isna(fetch["translated"]))


def test_frames_of_nothing_keep_their_columns(vxlan):
    whole, asked = of(vxlan), captures.asked(vxlan)
    nothing = journeys(captures.CAPTURED.empty(), kubernetes.pods(vxlan), kubernetes.services(vxlan))
    for build in (interfaces, on_the_wire):
        assert list(build(nothing).columns) == list(build(whole).columns)
    assert list(encapsulation(on_the_wire(nothing)).columns) == list(
        encapsulation(on_the_wire(whole)).columns
    )
    assert translations(nothing, asked)["translated"].isna().all()
    assert completeness(nothing, asked)["captured"].tolist() == [0] * 4
