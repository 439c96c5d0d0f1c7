"""Paths on arms with kube-proxy: what the recorded state says, and what it would say if it were otherwise."""

import pandas as pd
import pytest

from labkit.analysis.paths import HOPS, Model
from labkit.analysis.paths.ends import split
from labkit.errors import MissingFeature, ParameterError
from labkit.explain import explain
from tests.analysis.paths.states import devices, leaves, model, of_way, state, with_rules, without
from tests.conftest import arm

FRONTEND, BACKEND = "app-frontend-7674669fd8-894jm", "10.244.1.3"
SERVICE = "10.0.68.134"
PORTS = "vethc229e748|vethf282ec69|vethfdb0d526"  # behind which backend is not told: no neighbour entry


def test_to_a_pod_on_another_node_through_the_tunnel():
    hops = model("overlay-vxlan").explain("app=frontend", "app=backend/other-node")
    assert [column.name for column in HOPS.columns] == hops.columns.tolist()
    assert devices(hops) == [
        ("eth0", "out", BACKEND, 64), ("veth7ea013b9", "in", BACKEND, 64), ("cni0", "in", BACKEND, 64),
        ("flannel.1", "out", BACKEND, 63), ("eth0", "out", BACKEND, 63), ("eth0", "in", BACKEND, 63),
        ("flannel.1", "in", BACKEND, 63), ("cni0", "out", BACKEND, 62),
        ("veth567ae3b8|veth61d84b3a", "out", BACKEND, 62), ("eth0", "in", BACKEND, 62),
    ]  # fmt: skip
    tunnel = of_way(hops).set_index("place").loc["tunnel"]
    assert (tunnel["encap"], tunnel["outer_src_ip"], tunnel["outer_dst_ip"]) == (
        "vxlan",
        "10.240.0.4",
        "10.240.0.5",
    )
    assert (
        tunnel["rests_on"]
        == "neighbour 10.244.1.0 02:42:0a:f4:00:02; forwarding entry 02:42:0a:f4:00:02 dst 10.240.0.5"
    )
    assert tunnel["reply"] == "r00026 r00027"


def test_a_service_is_chosen_by_its_rules_and_each_way_has_its_chance():
    hops = model("overlay-vxlan").explain(FRONTEND, "backend-service")
    assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
    near, far = (of_way(hops, branch=branch).set_index("place").loc["service"] for branch in (0, 1))
    assert near["decision"].endswith(
        "by KUBE-SERVICES 4, KUBE-SVC-4K57BTWY6C4HU7BK 2, KUBE-SEP-7LFAJJI5DVLPUKRP 2"
    )
    assert (near["dst_ip"], far["dst_ip"], near["dst_port"]) == ("10.244.0.3", BACKEND, 80)
    assert (near["rules_walked"], far["rules_walked"]) == (1 + 4 + 2 + 2, 1 + 4 + 3 + 2)
    assert near["rests_on"].splitlines()[-1].endswith("-j DNAT --to-destination 10.244.0.3:80")


def test_a_backend_on_the_same_bridge_is_switched_past_the_router():
    hops = model("overlay-vxlan").explain(FRONTEND, "backend-service")
    assert devices(hops) == [
        ("eth0", "out", SERVICE, 64), ("veth7ea013b9", "in", SERVICE, 64), (PORTS, "out", "10.244.0.3", 64),
        ("eth0", "in", "10.244.0.3", 64),
    ]  # fmt: skip
    back = of_way(hops, "2")
    assert back["src_ip"].tolist()[-2:] == [SERVICE, SERVICE]
    assert "POSTROUTING: source 10.244.0.3 becomes 10.0.68.134 again" in back["decision"].tolist()


def test_without_bridge_nf_the_answer_is_one_that_nobody_asked_for():
    settings = state("overlay-vxlan").frames["sysctls"].copy()
    settings.loc[settings["name"] == "net.bridge.bridge-nf-call-iptables", "value"] = "0"
    hops = Model(state("overlay-vxlan").changed(sysctls=settings)).explain(FRONTEND, "backend-service")
    assert ("cni0", "in", SERVICE, 64) in devices(hops)  # so it is translated when it is routed
    last = of_way(hops, "2").iloc[-1]
    assert (last["verdict"], last["place"]) == ("dropped", "delivery")
    assert "asked 10.0.68.134, and takes no answer of 10.244.0.3" in last["decision"]


def test_names_are_asked_as_the_resolver_does():
    hops = model("overlay-vxlan").explain(FRONTEND, "backend-service")
    first = of_way(hops).iloc[0]
    name = "backend-service.cni-lab.svc.cluster.local."
    assert first["decision"] == f"question 4, {name}: 10.0.0.10 answers 10.0.68.134"
    tried = first["rests_on"].partition("asks ")[2].split(", ")
    assert tried[0] == f"{name}cni-lab.svc.cluster.local."
    assert [len(n.split(".")) for n in tried] == [10, 9, 8, 6]


def test_without_a_tunnel_what_the_network_does_is_assumed_and_the_ttl_not_known():
    hops = model("overlay-routed").explain("app=frontend", "app=backend/other-node")
    assert [(device, ttl) for device, _, _, ttl in devices(hops)] == [
        ("eth0", 64), ("vethb3a97e2c", 64), ("eth0", 63), ("eth0", None), ("veth3397ada9", None), ("eth0", None),
    ]  # fmt: skip
    network = of_way(hops).set_index("place").loc["network"]
    assert network["verdict"] == "assumed"
    assert "10.242.0.1 is no node" in network["note"]


@pytest.mark.parametrize(
    ("name", "by"), [("overlay-vxlan", "FLANNEL-POSTRTG 5"), ("overlay-routed", "IP-MASQ-AGENT 2")]
)
def test_what_leaves_is_masqueraded_and_comes_back(name, by):
    hops = model(name).explain("app=frontend", "8.8.8.8", port=443)
    masked = of_way(hops).set_index("place").loc["masquerade"]
    node_ip = state(name).frames["nodes"]["node_ip"].iloc[0]
    assert (masked["src_ip"], masked["verdict"]) == (node_ip, "translated")
    assert masked["decision"].endswith(f"MASQUERADE by {by}")
    assert leaves(hops) == [(1.0, "leaves")]
    back = of_way(hops, "2")
    assert f"destination {node_ip} becomes" in " ".join(back["decision"])
    assert (back.iloc[-1]["verdict"], back.iloc[-1]["src_ip"]) == ("delivered", "8.8.8.8")


def test_a_node_to_a_service_is_marked_and_masqueraded():
    hops = model("overlay-vxlan").explain("vxlan-node-0", "backend-service")
    assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
    assert of_way(hops).set_index("place").loc["masquerade", "src_ip"] == "10.244.0.1"
    back = of_way(hops, "2")
    assert (back.iloc[-1]["src_ip"], back.iloc[-1]["verdict"]) == (SERVICE, "delivered")


def test_a_node_sends_from_the_address_of_the_device_that_it_sends_by():
    """Into the tunnel from that of flannel.1, so that the answer comes back through it; unless another is named."""
    explain = model("overlay-vxlan").explain
    hops = explain("vxlan-node-0", "app=backend/other-node")
    assert hops["src_ip"].iloc[0] == "10.244.0.0"
    assert [name for name, *_ in devices(hops, "2")][-2:] == ["eth0", "flannel.1"]
    assert explain("10.240.0.4", "app=backend/other-node")["src_ip"].iloc[0] == "10.240.0.4"
    assert explain("vxlan-node-0", "app=backend/same-node")["src_ip"].iloc[0] == "10.244.0.1"


def test_between_nodes_and_to_itself():
    explain = model("overlay-vxlan").explain
    assert devices(explain("vxlan-node-0", "vxlan-node-1")) == [
        ("eth0", "out", "10.240.0.5", 64), ("eth0", "in", "10.240.0.5", 64)
    ]  # fmt: skip
    assert devices(explain("vxlan-node-0", "vxlan-node-0")) == [("lo", "in", "10.240.0.4", 64)]


@pytest.mark.parametrize("name", ["overlay-vxlan", "overlay-routed", "cilium"])
def test_every_service_port_from_every_pod_and_node_ends_somewhere_with_chances_that_are_one(name):
    mine, ports = model(name), state(name).frames["services"].dropna(subset="cluster_ip")
    senders = ["app=frontend", "app=perf-client", *mine.world.machines]
    for row in ports.to_dict("records"):
        for sender in senders:
            hops = mine.explain(sender, row["cluster_ip"], port=row["port"], protocol=row["protocol"].lower())
            found = leaves(hops)
            assert abs(sum(chance for chance, _ in found) - 1) < 1e-5
            assert {verdict for _, verdict in found} <= {"delivered", "leaves", "inconclusive"}


EXT = "KUBE-EXT-4K57BTWY6C4HU7BK"
NODE_PORT = (
    f'[0:0] -A KUBE-NODEPORTS -p tcp -m comment --comment "cni-lab/backend-service" -m tcp --dport 30080 -j {EXT}',
    f'[0:0] -A {EXT} -m comment --comment "masquerade traffic for cni-lab/backend-service" -j KUBE-MARK-MASQ',
    f"[0:0] -A {EXT} -j KUBE-SVC-4K57BTWY6C4HU7BK",
)


def node_port(name, node, marks):
    return Model(with_rules(
        name, node,
        at=((marks, NODE_PORT[0]), (marks, NODE_PORT[1]), (marks, NODE_PORT[2]),
            (":KUBE-MARK-MASQ", ":KUBE-EXT-4K57BTWY6C4HU7BK - [0:0]")),
    ))  # fmt: skip


def test_a_node_port_leads_by_kube_ext_and_masquerades():
    mine = node_port("overlay-vxlan", "vxlan-node-1", "[0:0] -A KUBE-POSTROUTING -m comment")
    hops = mine.explain("vxlan-node-0", "vxlan-node-1", port=30080)
    assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
    for branch in (0, 1):
        way = of_way(hops, branch=branch).set_index("place")
        assert "MARK" not in way.loc["service", "decision"]
        assert "KUBE-EXT-4K57BTWY6C4HU7BK" in way.loc["service", "rests_on"]
        assert way.loc["masquerade", "decision"].endswith("MASQUERADE by KUBE-POSTROUTING 3")
        assert of_way(hops, "2", branch).iloc[-1]["src_ip"] == "10.240.0.5"


def test_a_connection_that_crosses_a_node_twice_is_tracked_there_twice():
    """From a pod to a NodePort of the other node, whose backend is beside the client: in, out, and in again."""
    mine = node_port("overlay-vxlan", "vxlan-node-1", "[0:0] -A KUBE-POSTROUTING -m comment")
    hops = mine.explain(FRONTEND, "vxlan-node-1:30080")
    assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
    near = of_way(hops, branch=0)
    assert list(near["node"].dropna().drop_duplicates()) == ["vxlan-node-0", "vxlan-node-1"]
    assert near["node"].iloc[-1] == "vxlan-node-0"
    back = of_way(hops, "2", branch=0)
    assert back["verdict"].eq("translated").sum() == 3
    last = back.iloc[-1]
    assert (last["src_ip"], last["dst_ip"], last["verdict"]) == ("10.240.0.5", "10.244.0.4", "delivered")


def test_a_service_without_endpoints_is_rejected():
    rule = (
        '[0:0] -A KUBE-SERVICES -d 10.0.99.9/32 -p tcp -m comment --comment "cni-lab/empty has no endpoints"'
        " -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable"
    )
    last_of_filter = '[0:0] -A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule"'
    changed = with_rules("overlay-vxlan", "vxlan-node-0", at=((last_of_filter, rule),))
    hops = Model(changed).explain(FRONTEND, "10.0.99.9", port=80)
    last = of_way(hops).iloc[-1]
    assert (last["verdict"], last["place"]) == ("rejected", "netfilter")
    assert "no endpoints" in last["rests_on"]


def test_a_client_that_is_remembered_may_go_elsewhere_and_that_is_said():
    hops = model("overlay-vxlan").explain(FRONTEND, "perf-server", protocol="tcp")
    assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
    assert "goes to the same endpoint again" in of_way(hops).set_index("place").loc["service", "note"]


@pytest.mark.parametrize("match", ["-m set --match-set azure-npm-1 src", "-m string --string x --algo bm"])
def test_a_match_that_is_not_modelled_is_said_and_not_guessed(match):
    line = f"[0:0] -A FORWARD -s 10.244.0.4/32 {match} -j DROP"
    changed = with_rules("overlay-vxlan", "vxlan-node-0", at=(("[5:300] -A FORWARD -m conntrack", line),))
    last = of_way(Model(changed).explain(FRONTEND, BACKEND)).iloc[-1]
    assert last["verdict"] == "inconclusive"
    assert match.split()[2] in last["note"]
    elsewhere = of_way(Model(changed).explain("app=perf-client", BACKEND)).iloc[-1]
    assert elsewhere["verdict"] == "delivered"  # the rule is not for this sender, whatever its set holds


def test_a_policy_of_drop_drops():
    changed = with_rules("overlay-routed", "routed-node-0", (":FORWARD ACCEPT", ":FORWARD DROP"))
    last = of_way(Model(changed).explain("app=frontend", "app=backend/same-node")).iloc[-1]
    assert (last["verdict"], last["place"]) == ("dropped", "netfilter")


def test_services_by_what_is_not_modelled_are_inconclusive():
    rules = state("overlay-vxlan").frames["rules"]
    found = state("overlay-vxlan").changed(rules=rules[~rules["chain"].str.startswith("KUBE-")])
    last = of_way(Model(found).explain(FRONTEND, "backend-service")).iloc[-1]
    assert last["verdict"] == "inconclusive"
    assert "IPVS" in last["note"]


IPVS = (
    "[0:0] -A KUBE-SERVICES ! -s 10.244.0.0/16 -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ",
    "[0:0] -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
)


def test_with_ipvs_a_service_is_inconclusive_although_its_address_is_the_nodes():
    first = "[0:0] -A KUBE-SERVICES -d 10.0.0.1/32 -p tcp"
    changed = with_rules(
        "overlay-vxlan",
        "vxlan-node-0",
        at=((first, IPVS[0]), (first, IPVS[1])),
        drop=('" -m tcp --dport 80 -j KUBE-SVC',),
    )
    routes = changed.frames["routes"]
    mine = routes[(routes["type"] == "local") & (routes["node"] == "vxlan-node-0")].head(1)
    owned = changed.changed(
        routes=pd.concat([routes, mine.assign(prefix=f"{SERVICE}/32", interface="kube-ipvs0")])
    )
    last = of_way(Model(owned).explain(FRONTEND, "backend-service")).iloc[-1]
    assert (last["verdict"], last["place"]) == ("inconclusive", "netfilter")
    assert "--match-set KUBE-CLUSTER-IP" in last["note"]


def test_filters_at_a_device_are_inconclusive():
    qdiscs = state("overlay-routed").frames["qdiscs"]
    there = qdiscs[qdiscs["interface"] == "vethb3a97e2c"].assign(kind="clsact", handle="ffff:")
    found = state("overlay-routed").changed(qdiscs=pd.concat([qdiscs, there]))
    last = of_way(Model(found).explain("app=frontend", "app=backend/same-node")).iloc[-1]
    assert (last["verdict"], last["device"]) == ("inconclusive", "vethb3a97e2c")


def test_what_was_not_read_is_inconclusive():
    found = without(state("overlay-vxlan"), "pod_routes", pod=FRONTEND)
    last = of_way(Model(found).explain(FRONTEND, BACKEND)).iloc[-1]
    assert last["verdict"] == "inconclusive"
    assert "not read" in last["decision"]
    v6 = of_way(model("overlay-vxlan").explain(FRONTEND, "2001:db8::1", port=443)).iloc[-1]
    assert (v6["verdict"], v6["note"]) == ("inconclusive", f"{FRONTEND} has no address of family inet6")


def test_policy_routing_is_followed():
    rule = {"node": "overlay", "priority": 100, "inverted": False, "src": "10.246.0.6", "dst": None, "mark": None,
            "in_interface": None, "action": "lookup", "table": "77", "reply": "r1"}  # fmt: skip
    rules, routes = (state("overlay-routed").frames[name] for name in ("ip_rules", "routes"))
    other = routes[(routes["prefix"] == "10.246.0.5/32")].assign(prefix="default", table="77")
    found = state("overlay-routed").changed(
        ip_rules=pd.concat([rules, pd.DataFrame([rule | {"node": "routed-node-0"}])]).convert_dtypes(),
        routes=pd.concat([routes, other]),
    )
    way = of_way(Model(found).explain("app=frontend", "app=backend/same-node"))
    assert "rule 100: lookup 77: on the link, out by vethd413748f" in way["decision"].tolist()


@pytest.mark.parametrize(("src", "dst", "meant"), [
    ("nobody", "backend-service", ";"), (FRONTEND, "backend-servce", "; did you mean cni-lab/backend-service"),
    ("app=frontent", BACKEND, "; did you mean app=frontend"), (FRONTEND, "app=backend/next-node", ": behind the label stands"),
    ("other/" + FRONTEND, BACKEND, f"; did you mean cni-lab/{FRONTEND}"), (SERVICE, BACKEND, " is the Service cni-lab/backend-service"),
])  # fmt: skip
def test_unknown_names_are_errors_that_say_what_there_is(src, dst, meant):
    with pytest.raises(ParameterError) as raised:
        model("overlay-vxlan").explain(src, dst)
    assert meant in str(raised.value)
    if meant.startswith(";"):
        assert "there are the nodes vxlan-node-0, vxlan-node-1, the pods cni-lab/" in str(raised.value)


@pytest.mark.parametrize(("dst", "port", "protocol"), [
    ("backend-service:80", 80, "tcp"), ("cni-lab/perf-server:udp", 5201, "udp"), ("kube-dns:53/tcp", 53, "tcp"),
    ("10.0.0.10:dns", 53, "udp"), ("1.1.1.1:443", 443, "tcp"), ("app=backend/other-node:80", 80, "tcp"),
    (f"{SERVICE}:80/tcp", 80, "tcp"), ("vxlan-node-1:10250", 10250, "tcp"),
])  # fmt: skip
def test_a_port_may_stand_behind_a_name(dst, port, protocol):
    hops = model("overlay-vxlan").explain(FRONTEND, dst)
    name = dst.partition(":")[0]
    assert hops.equals(model("overlay-vxlan").explain(FRONTEND, name, port=port, protocol=protocol))
    assert hops["dst_port"].iloc[0] == port


@pytest.mark.parametrize(("dst", "options", "message"), [
    ("backend-service:http", {}, "no port 'http'; it has 80/tcp"), ("backend-service:80", {"port": 80}, "another is given"),
    ("backend-service", {"protocol": "udp"}, "no port of protocol udp; it has 80/tcp"),
    ("1.1.1.1", {"protocol": "tcp"}, "write 1.1.1.1:<port>"), ("1.1.1.1", {"protocol": "gre"}, "no protocol 'gre'"),
    ("1.1.1.1:0", {}, "no port '0'"), ("perf-server:x", {}, "it has 5201/tcp (tcp), 5201/udp (udp)"),
])  # fmt: skip
def test_what_cannot_be_asked_says_how_to_ask(dst, options, message):
    with pytest.raises(ParameterError) as raised:
        model("overlay-vxlan").explain(FRONTEND, dst, **options)
    assert message in str(raised.value)


def test_a_label_alone_is_the_first_such_pod_unless_a_service_is_called_so():
    explain = model("overlay-vxlan").explain
    assert explain("frontend", "backend-service").equals(explain("app=frontend", "backend-service"))
    assert explain("frontend", "backend:80").equals(explain("app=frontend", "app=backend:80"))
    assert explain("frontend", "perf-server")["dst_ip"].iloc[0] == "10.0.63.200"
    assert explain("frontend", "backend/other-node").equals(explain("frontend", "app=backend/other-node"))


def test_addresses_with_ports_are_taken_apart():
    assert split("[fd00::1]:80/udp") == ("fd00::1", "80", "udp")
    assert split("fd00::1") == ("fd00::1", None, None)
    assert split("app=backend/same-node") == ("app=backend/same-node", None, None)


def test_a_pod_asks_itself_by_its_loopback_device():
    for name, to in (
        ("overlay-vxlan", "app=frontend"),
        ("cilium", "127.0.0.1:80"),
        ("overlay-routed", "::1"),
    ):
        hops = model(name).explain("app=frontend", to)
        for way in ("1", "2"):
            there = of_way(hops, way)
            assert devices(hops, way) == []
            assert there["place"].tolist() == ["routing", "delivery"]
            assert (there.iloc[0]["device"], there.iloc[1]["verdict"]) == ("lo", "delivered")
            assert there["reply"].notna().all()


def test_a_masqueraded_packet_gets_an_address_even_where_its_device_has_none():
    for sender in ("routed-node-0", "app=backend"):  # to the node's own backend, by a veth without an address
        hops = model("overlay-routed").explain(sender, "backend-service")
        assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
        assert of_way(hops).set_index("place").loc["masquerade", "src_ip"] == "10.242.0.4"
        assert of_way(hops, "2").iloc[-1]["verdict"] == "delivered"


def test_the_address_beside_the_next_hop_is_masqueraded_with():
    addresses = state("overlay-vxlan").frames["addresses"]
    nic = addresses[addresses["interface"].eq("eth0") & addresses["family"].eq("inet")]
    more = nic.assign(ip="10.9.9.9", prefix_length=32)  # the first of the device, but beside no gateway
    found = state("overlay-vxlan").changed(addresses=pd.concat([more, addresses]))
    masked = of_way(Model(found).explain(FRONTEND, "1.1.1.1:443")).set_index("place").loc["masquerade"]
    assert masked["src_ip"] == "10.240.0.4"


def test_from_outside_a_node_port_is_reached_and_answered_under_its_address():
    mine = node_port("overlay-vxlan", "vxlan-node-1", "[0:0] -A KUBE-POSTROUTING -m comment")
    hops = mine.explain("192.0.2.7", "vxlan-node-1:30080")
    assert leaves(hops) == [(0.5, "delivered"), (0.5, "delivered")]
    for branch in (0, 1):
        assert of_way(hops, branch=branch).iloc[0]["verdict"] == "assumed"
        last = of_way(hops, "2", branch).iloc[-1]
        assert (last["src_ip"], last["dst_ip"], last["verdict"]) == ("10.240.0.5", "192.0.2.7", "leaves")
    lost = of_way(mine.explain("192.0.2.7", "backend-service")).iloc[-1]
    assert (lost["verdict"], lost["note"]) == (
        "inconclusive",
        "not modelled: what routes outside of the nodes",
    )


def test_a_port_that_a_service_has_not_is_said():
    last = of_way(model("overlay-vxlan").explain(FRONTEND, "backend-service:81")).iloc[-1]
    assert last["verdict"] == "leaves"
    assert last["note"] == "no rule is for 81/tcp of cni-lab/backend-service, which has 80/tcp"


def test_whether_a_node_listens_is_not_told():
    last = of_way(model("overlay-vxlan").explain(FRONTEND, "vxlan-node-1:9")).iloc[-1]
    assert (last["verdict"], last["note"]) == ("delivered", "not read: whether anything listens at port 9")


ENDS = [("app=frontend", "app=backend/same-node"), ("app=frontend", "app=backend/other-node:80"), ("app=frontend", "kube-dns"),
        ("app=frontend", "1.1.1.1:443"), ("app=frontend", "app=frontend"), ("app=backend", "backend-service:80")]  # fmt: skip


@pytest.mark.parametrize("name", ["overlay-vxlan", "overlay-routed", "cilium"])
def test_every_decision_names_the_state_that_it_rests_on(name):
    first, second = sorted(model(name).world.machines)
    ends = [*ENDS, (first, "backend-service"), (first, second), (first, first), (first, "app=backend/other-node"),
            ("app=frontend", f"{second}:30080"), ("192.0.2.7", f"{first}:22")]  # fmt: skip
    for src, dst in ends:
        hops = model(name).explain(src, dst)
        decisions = hops[~hops["place"].isin(["device", "netfilter"])]
        assert decisions["rests_on"].notna().all(), (src, dst, decisions[decisions["rests_on"].isna()])
        assert hops.loc[hops["place"] != "device", "reply"].notna().all(), (src, dst)


def test_a_loop_between_nodes_is_told():
    found = without(state("overlay-routed"), "routes", prefix="10.246.1.3/32")
    last = of_way(Model(found).explain("app=frontend", "10.246.1.3")).iloc[-1]
    assert last["verdict"] == "dropped"
    assert last["decision"].startswith("a loop")


def test_a_step_in_which_nobody_was_asked_for_explains_nothing():
    with pytest.raises(MissingFeature, match="no nodes were read in step policy-deny-all"):
        explain(arm("overlay-vxlan").at("policy-deny-all"), FRONTEND, "backend-service")
