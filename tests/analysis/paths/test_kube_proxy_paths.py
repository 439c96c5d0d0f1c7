"""Paths on arms with kube-proxy: what the recorded state says, and what it would say if it were otherwise."""

import pandas as pd
import pytest

from labkit.analysis.paths import HOPS, Model
from labkit.errors import ParameterError
from tests.analysis.paths.states import devices, leaves, model, of_way, state, with_rules, without

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


@pytest.mark.parametrize(("src", "dst"), [("nobody", "backend-service"), (FRONTEND, "no-such-service"),
                                          ("app=nothing", BACKEND), ("other/" + FRONTEND, BACKEND)])  # fmt: skip
def test_unknown_names_are_errors_that_say_what_there_is(src, dst):
    with pytest.raises(
        ParameterError, match=r"there are the nodes vxlan-node-0, vxlan-node-1 and the pods cni-lab/"
    ):
        model("overlay-vxlan").explain(src, dst)


def test_a_loop_between_nodes_is_told():
    found = without(state("overlay-routed"), "routes", prefix="10.246.1.3/32")
    last = of_way(Model(found).explain("app=frontend", "10.246.1.3")).iloc[-1]
    assert last["verdict"] == "dropped"
    assert last["decision"].startswith("a loop")
