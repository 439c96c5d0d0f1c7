from functools import cache

import pandas as pd
import pytest

from labkit.analysis.packets import JOURNEYS, example, journeys, on_a_card
from labkit.collect import captures, kubernetes
from tests.analysis.wire import PODS, SERVICES, answer, echo, geneve, seen, syn, wireguard


@cache
def of(cluster) -> pd.DataFrame:
    return journeys(captures.packets(cluster), kubernetes.pods(cluster), kubernetes.services(cluster))


@pytest.fixture
def lengths():
    """How many sightings a packet has, between nodes and on one node, in each recording."""
    return {"overlay-vxlan": (9, 3), "overlay-routed": (5, 3), "cilium": (4, 2)}


def test_every_packet_between_pods_is_followed_all_the_way(cluster, lengths):
    found = of(cluster)
    mine = found[found["flow"].notna()]
    counts = mine.groupby("packet").agg(n=("step", "size"), cross=("cross_node", "first"))
    between, local = lengths[cluster.arm]
    assert set(counts.loc[counts["cross"], "n"]) == {between}
    assert set(counts.loc[~counts["cross"], "n"]) == {local}
    assert (mine.groupby("packet")["step"].max() + 1 == counts["n"]).all()
    assert (mine.groupby("packet")["ttl"].diff().dropna() <= 0).all()  # it only ever gets older


def test_the_way_of_an_echo_request_through_a_bridge_and_a_tunnel(vxlan):
    way = example(of(vxlan), of="ping")
    assert way["device"].tolist() == [
        "pod",
        "veth",
        "bridge",
        "vxlan",
        "nic",
        "nic",
        "vxlan",
        "bridge",
        "veth",
    ]
    assert way["ttl"].tolist() == [64, 64, 64, 63, 63, 63, 63, 62, 62]
    assert way["encap"].fillna("").tolist() == [""] * 4 + ["vxlan"] * 2 + [""] * 3
    assert way["overhead_bytes"].tolist() == [0] * 4 + [50] * 2 + [0] * 3
    assert way["direction"].tolist()[1:] == ["otherhost", "in", "out", "out", "in", "in", "out", "out"]
    assert set(way["ip_bytes"]) == {84}


def test_cilium_hands_packets_to_pods_past_the_host_side(cilium):
    found = of(cilium)
    mine = found[found["flow"].notna() & (found["device"] == "veth")]
    assert set(mine["direction"]) == {"in"}  # into the node; what the node sends to a pod is on no veth


def test_the_fabric_between_routed_nodes_takes_one_from_the_ttl(routed):
    way = example(of(routed))
    assert way["ttl"].tolist() == [64, 64, 63, 62, 61]
    assert way["dst_ip"].nunique() == 2
    assert way["service"].unique().tolist() == ["cni-lab/backend-service"]


def test_agents_traffic_is_no_flow_between_pods(cilium):
    found = of(cilium)
    assert set(found.loc[found["flow"].isna(), "src_ip"]) == {"10.241.0.4", "10.241.0.5", "10.245.1.188"}


def test_clocks_of_nodes_are_not_compared():
    """n0 is five hours ahead; the client is on n0."""
    found = journeys(
        seen(
            ("n1 veth1", "veth", syn(ttl=62)),
            ("n1 eth0", "nic", syn(ttl=63)),
            ("n0 eth0", "nic", syn(ttl=63)),
            ("client", "pod", syn()),
        ),
        PODS,
        SERVICES,
    )
    assert (found["node"] + " " + found["interface"]).tolist() == [
        "n0 eth0",
        "n0 eth0",
        "n1 veth1",
        "n1 eth0",
    ]
    assert found["tap"].tolist() == ["pod", "node", "node", "node"]


def test_ends_are_found_behind_translation_of_both_addresses():
    found = journeys(
        seen(
            ("client", "pod", syn(dst="10.0.0.80")),
            ("n0 eth0", "nic", syn(src="192.0.2.1", ttl=63)),
            ("n1 eth0", "nic", syn(src="192.0.2.1", ttl=63)),
            ("n1 eth0", "nic", answer(dst="192.0.2.1")),
            ("client", "pod", answer(src="10.0.0.80", ttl=63)),
        ),
        PODS,
        SERVICES,
    )
    assert found["packet"].nunique() == 2
    assert set(found["client_pod"]) == {"client"}
    assert set(found["server_pod"]) == {"server"}
    assert len(set(found["flow"])) == 1
    assert found["request"].sum() == 3
    assert set(found["service"]) == {"shop/web"}
    assert set(found["service_ip"]) == {"10.0.0.80"}
    assert found["cross_node"].all()


def test_inside_and_outside_of_a_tunnel():
    found = journeys(seen(("client", "pod", echo()), ("n0 eth0", "nic", geneve(echo(63)))), PODS, SERVICES)
    assert len(set(found["packet"])) == 1
    (pod, nic) = found.to_dict("records")
    assert (nic["encap"], nic["vni"], nic["outer_port"], nic["overhead_bytes"]) == ("geneve", 9, 6081, 50)
    assert (nic["src_ip"], nic["outer_src_ip"]) == (pod["src_ip"], "192.0.2.1")


def test_what_is_encrypted_has_no_inside():
    found = journeys(seen(("n0 eth0", "nic", wireguard())), PODS, SERVICES)
    assert found["encap"].tolist() == ["wireguard"]
    assert found[["flow", "overhead_bytes", "outer_src_ip"]].isna().all(axis=None)
    assert found["src_ip"].tolist() == ["192.0.2.1"]


def test_arms_do_not_meet():
    one = seen(("client", "pod", syn()), ("n0 eth0", "nic", syn()))
    both = pd.concat([one.assign(arm="a"), one.assign(arm="b")], ignore_index=True)
    pods, services = (
        pd.concat([frame.assign(arm=arm) for arm in "ab"], ignore_index=True) for frame in (PODS, SERVICES)
    )
    found = journeys(both, pods, services)
    assert found["arm"].tolist() == ["a", "a", "b", "b"]
    assert found["step"].tolist() == [0, 1, 0, 1]


def test_where_a_card_first_saw_the_packet(vxlan):
    way = example(of(vxlan)).assign(arm="a")
    ((arm, reply, n),) = on_a_card(way)
    assert (arm, reply, n) == ("a", *way.loc[4, ["reply", "n"]])
    assert on_a_card(way.head(0)) == ()


def test_nothing_captured_has_every_column(routed):
    nothing = journeys(captures.CAPTURED.empty(), kubernetes.pods(routed), kubernetes.services(routed))
    assert list(nothing.columns) == list(JOURNEYS)
    assert example(nothing).empty
