"""Paths on an arm with Cilium, as recorded and as its agents could be configured otherwise."""

import pandas as pd
import pytest

from labkit.analysis.paths import Model
from labkit.collect import cilium
from tests.analysis.paths.states import devices, leaves, model, of_way, state
from tests.conftest import arm

ANY = "0.0.0.0"  # noqa: S104  (a key of a map)
FRONTEND, NEAR, FAR = "app-frontend-7674669fd8-xqrjn", "10.245.0.165", "10.245.1.206"


def status(**values):
    """The recorded state with other words of the agents."""
    return state("cilium").changed(status=state("cilium").frames["status"].assign(**values))


def option(found, name, value):
    options = found.frames["config"].copy()
    assert (options["option"] == name).any()
    options.loc[options["option"] == name, "value"] = value
    return found.changed(config=options)


def test_a_socket_translates_and_programs_pass_the_packet_on():
    hops = model("cilium").explain(FRONTEND, "backend-service")
    assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
    assert devices(hops) == [
        ("eth0", "out", NEAR, 64),
        ("lxc31aeeadc0e6a", "in", NEAR, 64),
        ("eth0", "in", NEAR, 63),
    ]
    assert devices(hops, branch=1) == [
        ("eth0", "out", FAR, 64), ("lxc31aeeadc0e6a", "in", FAR, 64), ("eth0", "out", FAR, 63), ("eth0", "in", FAR, 63),
        ("eth0", "in", FAR, 62),
    ]  # fmt: skip
    way = of_way(hops, branch=1)
    assert way["place"].tolist() == [
        "name", "socket", "routing", "neighbour", "device", "device", "policy", "routing", "masquerade", "device",
        "network", "device", "delivery", "policy", "device",
    ]  # fmt: skip
    assert way["rules_walked"].isna().all()
    policy = way[way["place"] == "policy"].iloc[1]
    assert policy["decision"] == "ingress policy of endpoint 215 for identity 46548: allow"
    assert "ipcache 10.245.0.183/32 identity=46548" in policy["rests_on"]
    assert of_way(hops, "2").iloc[-1]["decision"] == "the socket shows 10.0.234.81 again"


def test_without_socket_lb_the_program_at_the_pod_chooses_by_maglev():
    hops = Model(status(socket_lb_coverage="Hostns-only")).explain(FRONTEND, "backend-service")
    assert devices(hops)[:2] == [
        ("eth0", "out", "10.0.234.81", 64),
        ("lxc31aeeadc0e6a", "in", "10.0.234.81", 64),
    ]
    tables = state("cilium").frames["maglev"]
    mine = tables[(tables["node"] == "cilium-node-0") & (tables["service_id"] == 6)]
    shares = sorted((mine["slots"] / mine["table_size"]).round(6))
    assert sorted(chance for chance, _ in leaves(hops)) == shares
    assert sum(shares) == pytest.approx(1)
    assert shares[0] != shares[1]
    back = of_way(hops, "2")
    assert f"source {NEAR} becomes 10.0.234.81 again" in back["decision"].tolist()
    drawn = Model(status(socket_lb_coverage="Hostns-only", lb_algorithm="Random"))
    assert leaves(drawn.explain(FRONTEND, "backend-service")) == [(0.5, "delivered"), (0.5, "delivered")]


def test_legacy_host_routing_goes_through_the_hooks():
    hops = Model(status(host_routing="Legacy")).explain(FRONTEND, "backend-service")
    assert devices(hops) == [
        ("eth0", "out", NEAR, 64), ("lxc31aeeadc0e6a", "in", NEAR, 64), ("lxceac8f50d2519", "out", NEAR, 63),
        ("eth0", "in", NEAR, 63),
    ]  # fmt: skip
    hooks = of_way(hops, branch=1)
    named = hooks.loc[hooks["place"] == "netfilter", "decision"].str.partition(":")[0].tolist()
    assert named == ["PREROUTING", "FORWARD", "POSTROUTING"] * 2  # on both nodes


def test_masquerading_keeps_cluster_addresses_and_nodes():
    explain = model("cilium").explain
    for to, kept in ((FAR, True), ("cilium-node-1", True), ("8.8.8.8", False)):
        masked = of_way(explain(FRONTEND, to, port=443)).set_index("place").loc["masquerade"]
        assert (masked["src_ip"] == "10.245.0.183") is kept
    back = of_way(explain(FRONTEND, "8.8.8.8", port=443), "2")
    assert (back.iloc[-1]["dst_ip"], back.iloc[-1]["verdict"]) == ("10.245.0.183", "delivered")
    masked = Model(option(state("cilium"), "EnableRemoteNodeMasquerade", "true"))
    assert (
        of_way(masked.explain(FRONTEND, "cilium-node-1")).set_index("place").loc["masquerade", "src_ip"]
        == "10.241.0.4"
    )


def test_in_tunnel_mode_without_such_a_device_it_is_inconclusive():
    last = of_way(Model(status(routing="Tunnel")).explain(FRONTEND, FAR)).iloc[-1]
    assert (last["verdict"], last["place"]) == ("inconclusive", "tunnel")


def test_in_tunnel_mode_the_ipcache_names_the_far_end():
    links = state("cilium").frames["links"]
    device = links[links["interface"] == "cilium_net"].assign(
        interface="cilium_vxlan",
        kind="vxlan",
        vxlan_port=8472,
        vxlan_id=None,
        ifindex=99,
        peer=None,
        mac=None,
    )
    found = status(routing="Tunnel").changed(links=pd.concat([links, device.astype(links.dtypes)]))
    hops = Model(found).explain(FRONTEND, FAR)
    tunnel = of_way(hops).set_index("place").loc["tunnel"]
    assert (tunnel["outer_dst_ip"], tunnel["rests_on"]) == (
        "10.241.0.5", "ipcache 10.245.1.206/32: identity=18648 tunnelendpoint=10.241.0.5"
    )  # fmt: skip
    assert [name for name, *_ in devices(hops)] == [
        "eth0", "lxc31aeeadc0e6a", "cilium_vxlan", "eth0", "eth0", "cilium_vxlan", "eth0"
    ]  # fmt: skip
    assert leaves(hops) == [(1.0, "delivered")]


def test_a_policy_that_is_in_force_drops_what_it_should():
    denied = state("cilium").changed(policy_map=cilium.policy_map(arm("cilium").at("policy-deny-all")))
    last = of_way(Model(denied).explain(FRONTEND, "backend-service")).iloc[-1]
    assert (last["verdict"], last["place"]) == ("dropped", "policy")
    assert "egress policy of endpoint 3998" in last["decision"]
    assert leaves(Model(denied).explain("kube-system/" + dns(), "8.8.8.8")) != []


def dns():
    pods = state("cilium").frames["pods"]
    return pods.loc[pods["app"] == "kube-dns", "pod"].iloc[0]


def test_a_frontend_without_backends_refuses_the_connection():
    slots = state("cilium").frames["lb_map"]
    found = state("cilium").changed(
        lb_map=slots[~((slots["frontend_ip"] == "10.0.234.81") & (slots["slot"] > 0))]
    )
    last = of_way(Model(found).explain(FRONTEND, "backend-service")).iloc[-1]
    assert (last["verdict"], last["place"]) == ("rejected", "socket")


def test_what_cilium_does_with_other_ports_of_a_service_is_not_modelled():
    last = of_way(model("cilium").explain(FRONTEND, "backend-service", protocol="icmp")).iloc[-1]
    assert last["verdict"] == "inconclusive"
    assert "not modelled" in last["note"]


def test_an_l7_proxy_is_not_modelled():
    entries = state("cilium").frames["policy_map"].assign(proxy_port=15001)
    last = of_way(Model(state("cilium").changed(policy_map=entries)).explain(FRONTEND, NEAR)).iloc[-1]
    assert (last["verdict"], last["note"]) == ("inconclusive", "not modelled: the L7 proxy at port 15001")


def with_node_port(found):
    """The state with a NodePort of the Service, as the agents write it for any address of a node."""
    slots = found.frames["lb_map"]
    mine = slots[(slots["frontend_ip"] == "10.0.234.81") & (slots["port"] == 80)]
    return found.changed(lb_map=pd.concat([slots, mine.assign(frontend_ip=ANY, port=30080)]))


def test_a_socket_translates_a_node_port_by_any_nodes_address():
    found = with_node_port(state("cilium"))
    for sender, node in ((FRONTEND, "cilium-node-1"), ("cilium-node-0", "cilium-node-0")):
        hops = Model(found).explain(sender, f"{node}:30080")
        assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
        asked = hops[(hops["place"] == "socket") & hops["way"].str.startswith("1")]
        assert set(asked["dst_ip"]) == {NEAR, FAR}


def test_a_node_port_from_outside_is_not_modelled():
    last = of_way(Model(with_node_port(state("cilium"))).explain("192.0.2.7", "cilium-node-1:30080")).iloc[-1]
    assert (last["verdict"], last["place"]) == ("inconclusive", "service")


def test_a_pod_that_is_its_own_backend_asks_by_lo_or_is_not_modelled():
    by_socket = model("cilium").explain("app=backend", "backend-service")
    alone = by_socket[by_socket["branch"] == 0]
    assert alone.loc[alone["place"] == "routing", "device"].tolist() == ["lo", "lo"]
    by_program = Model(status(socket_lb_coverage="Hostns-only")).explain("app=backend", "backend-service")
    assert {verdict for _, verdict in leaves(by_program)} == {"inconclusive", "delivered"}
