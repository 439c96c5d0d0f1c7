"""What nodes should hold and hold: on the recordings all matches; each kind of fault is found on its node."""

import pandas as pd
import pytest

from labkit.analysis.audit import STATES, audit, summary
from labkit.collect import cilium
from labkit.explain.state import read
from tests.analysis.paths.states import state, with_rules, without
from tests.conftest import RECORDINGS, arm, recorded


def bad(found):
    rows = audit(found)
    return rows[rows["state"] != "matching"]


@pytest.mark.parametrize("name", RECORDINGS)
def test_all_matches_at_rest(name):
    found = audit(state(name))
    assert found["state"].eq("matching").all()
    assert found["reply"].notna().all()
    counted = summary(found).set_index("kind")
    assert list(counted.columns) == list(STATES)
    assert {"route", "neighbour"} < set(counted.index)
    assert counted.loc["route", "matching"] == 2 * len(set(found.loc[found["kind"] == "route", "entry"]))


def test_a_missing_a_stale_and_a_doubled_way_of_a_service():
    gone = with_rules("overlay-vxlan", "vxlan-node-1", drop=("-j KUBE-SEP-7LFAJJI5DVLPUKRP",))
    (row,) = bad(gone).to_dict("records")
    assert (row["node"], row["kind"], row["state"], row["intended"]) == (
        "vxlan-node-1",
        "iptables",
        "missing",
        "10.244.0.3:80",
    )
    assert row["entry"] == "cni-lab/backend-service 10.0.68.134:80/TCP"
    stale = with_rules(
        "overlay-vxlan", "vxlan-node-0", ("--to-destination 10.244.1.3:80", "--to-destination 10.244.1.77:80")
    )
    assert bad(stale)["state"].tolist() == ["missing", "stale"]
    slots = state("cilium").frames["lb_map"]
    twice = slots[(slots["backend_ip"] == "10.245.1.206") & (slots["node"] == "cilium-node-0")].assign(slot=3)
    (row,) = bad(state("cilium").changed(lb_map=pd.concat([slots, twice]))).to_dict("records")
    assert (row["kind"], row["state"], row["programmed"]) == (
        "service map",
        "duplicate",
        "10.245.1.206:80, 2 times",
    )


def test_a_rule_that_is_there_twice_takes_more_than_its_share():
    (reply,) = recorded("overlay-vxlan", "iptables-save -c", subject="vxlan-node-0")
    jump = next(
        line for line in reply.stdout.decode().splitlines() if line.endswith("-j KUBE-SEP-7LFAJJI5DVLPUKRP")
    )
    (row,) = bad(with_rules("overlay-vxlan", "vxlan-node-0", at=((jump, jump),))).to_dict("records")
    assert (row["kind"], row["state"], row["programmed"]) == (
        "iptables",
        "duplicate",
        "10.244.0.3:80, 2 times",
    )


def test_a_tunnel_that_is_there_twice_and_a_range_that_is_no_nodes():
    entries, routes = (state("overlay-vxlan").frames[name] for name in ("forwarding", "routes"))
    mine = entries[
        (entries["interface"] == "flannel.1")
        & (entries["node"] == "vxlan-node-0")
        & entries["dst_ip"].notna()
    ]
    twice = state("overlay-vxlan").changed(
        forwarding=pd.concat([entries, mine.assign(mac="02:00:00:00:00:99")])
    )
    (row,) = bad(twice).to_dict("records")
    assert (row["kind"], row["state"]) == ("tunnel", "duplicate")
    old = routes[(routes["prefix"] == "10.244.1.0/24") & (routes["node"] == "vxlan-node-0")]
    left = pd.concat([routes, old.assign(prefix="10.244.9.0/24", next_hop="10.244.9.0")])
    (row,) = bad(state("overlay-vxlan").changed(routes=left)).to_dict("records")
    assert (row["kind"], row["state"], row["entry"]) == ("route", "stale", "10.244.9.0/24")
    direct = state("cilium").frames["routes"]
    gone = direct[(direct["prefix"] == "10.245.1.0/24")].assign(
        prefix="10.245.7.0/24", next_hop="10.241.0.77"
    )
    (row,) = bad(state("cilium").changed(routes=pd.concat([direct, gone]))).to_dict("records")
    assert (row["state"], row["programmed"]) == ("stale", "10.245.7.0/24 via 10.241.0.77 dev eth0")


def test_routes_that_are_missing_wrong_or_stale():
    gone = bad(without(state("overlay-vxlan"), "routes", node="vxlan-node-0", prefix="10.244.1.0/24"))
    assert set(gone["state"]) == {"wrong"}
    assert gone["programmed"].eq("default via 10.240.0.1 dev eth0").all()
    assert gone["node"].eq("vxlan-node-0").all()
    routes = state("overlay-routed").frames["routes"].copy()
    mine = routes["prefix"] == "10.246.0.6/32"
    routes.loc[mine, "interface"] = "vethd413748f"
    (row,) = bad(state("overlay-routed").changed(routes=routes)).to_dict("records")
    assert (row["state"], row["intended"]) == ("wrong", "dev vethb3a97e2c")
    left = routes[mine].assign(prefix="10.246.0.99/32")
    found = state("overlay-routed").changed(
        routes=pd.concat([state("overlay-routed").frames["routes"], left])
    )
    (row,) = bad(found).to_dict("records")
    assert (row["state"], row["entry"]) == ("stale", "10.246.0.99")


def test_a_tunnel_that_leads_elsewhere_or_nowhere():
    entries = state("overlay-vxlan").frames["forwarding"].copy()
    mine = (entries["interface"] == "flannel.1") & (entries["node"] == "vxlan-node-0")
    entries.loc[mine, "dst_ip"] = "10.240.0.77"
    found = bad(state("overlay-vxlan").changed(forwarding=entries))
    tunnels = found[found["kind"] == "tunnel"]
    assert tunnels["state"].tolist() == ["stale", "missing"]
    assert found.loc[found["kind"] == "route", "state"].eq("wrong").all()


def test_neighbours_of_pods_that_are_gone_or_have_another_mac():
    entries = state("overlay-vxlan").frames["neighbours"].copy()
    entries.loc[entries["dst_ip"] == "10.244.0.2", "dst_ip"] = "10.244.0.99"
    (row,) = bad(state("overlay-vxlan").changed(neighbours=entries)).to_dict("records")
    assert (row["kind"], row["state"], row["entry"]) == ("neighbour", "stale", "10.244.0.99")


@pytest.mark.parametrize(("frame", "where", "change", "kind", "verdict"), [
    ("ipcache", {"prefix": "10.245.1.206/32", "node": "cilium-node-0"}, {"identity": 15076}, "ipcache", "wrong"),
    ("ipcache", {"prefix": "10.245.1.206/32", "node": "cilium-node-0"}, {"tunnel_endpoint": "10.241.0.9"}, "ipcache", "wrong"),
    ("endpoint_map", {"ip": "10.245.0.165"}, {"ifindex": 77}, "endpoint map", "wrong"),
])  # fmt: skip
def test_values_of_ciliums_maps_that_are_wrong(frame, where, change, kind, verdict):
    rows = state("cilium").frames[frame].copy()
    mine = pd.Series(data=True, index=rows.index)
    for column, value in where.items():
        mine &= (rows[column] == value).fillna(value=False)
    for column, value in change.items():
        rows.loc[mine, column] = value
    (row,) = bad(state("cilium").changed(**{frame: rows})).to_dict("records")
    assert (row["kind"], row["state"]) == (kind, verdict)


def test_entries_of_ciliums_maps_that_are_missing_or_stale():
    gone = bad(without(state("cilium"), "ipcache", prefix="10.245.1.206/32", node="cilium-node-0"))
    assert gone[["kind", "state"]].to_numpy().tolist()[0] == ["ipcache", "missing"]
    pods = state("cilium").frames["pods"]
    deleted = pods[pods["pod"] != "app-backend-7b798cd7cb-7zdlm"]
    stale = bad(state("cilium").changed(pods=deleted))
    assert {("endpoint map", "stale"), ("ipcache", "stale"), ("route", "stale")} <= set(
        zip(stale["kind"], stale["state"], strict=True)
    )


def test_policies_that_are_not_programmed_and_blocks_that_nothing_wants():
    here, denied = state("cilium"), arm("cilium").at("policy-deny-all")
    wanted, programmed = read(denied).frames["policy_rules"], cilium.policy_map(denied)
    assert len(wanted)
    matching = audit(here.changed(policy_rules=wanted, policy_map=programmed))
    policies = matching[matching["kind"] == "policy map"]
    assert policies["state"].eq("matching").all()
    assert policies["intended"].eq("blocked").sum() > 20
    missing = bad(here.changed(policy_rules=wanted))
    assert set(missing["state"]) == {"missing"}
    stale = bad(here.changed(policy_map=programmed))
    assert set(stale["state"]) == {"stale"}
    assert len(stale) == len(missing) == policies["intended"].eq("blocked").sum()


def test_what_was_not_read_is_not_audited():
    found = audit(state("overlay-vxlan").changed(rules=state("overlay-vxlan").frames["rules"].iloc[:0]))
    assert "iptables" not in set(found["kind"])


def lab_maps():
    """The recorded Services as the maps of a lab would hold them."""
    found = state("overlay-routed")
    ports = found.frames["services"].dropna(subset="cluster_ip").fillna({"port_name": ""})
    fronts, slots = [], []
    for node in found.frames["nodes"]["node"]:
        for number, row in enumerate(ports.to_dict("records")):
            ends = found.frames["endpoints"].fillna({"port_name": ""})
            mine = ends[
                (ends["service"] == row["service"])
                & (ends["port_name"] == row["port_name"])
                & (ends["protocol"] == row["protocol"])
            ]
            fronts.append({"node": node, "vip": row["cluster_ip"], "protocol": row["protocol"], "port": row["port"],
                           "service": number, "backends": len(mine), "reply": "r1"})  # fmt: skip
            slots += [{"node": node, "service": number, "slot": slot, "backend_ip": end["address"], "backend_port": end["port"]}
                      for slot, end in enumerate(mine.to_dict("records"))]  # fmt: skip
    backends = pd.DataFrame(slots).astype({"backend_ip": "str", "backend_port": "Int64"})
    frontends = pd.DataFrame(fronts).astype(
        {"vip": "str", "protocol": "str", "port": "Int64", "reply": "str"}
    )
    rules = found.frames["rules"]
    return found.changed(rules=rules.iloc[:0], lab_frontends=frontends, lab_backends=backends)


def test_the_maps_of_a_lab_are_audited_and_node_ports_are_none_of_the_services_addresses():
    good = lab_maps()
    assert bad(good).empty
    assert audit(good)["kind"].eq("eBPF maps").sum() == 22
    fronts, backs = good.frames["lab_frontends"], good.frames["lab_backends"]
    port = fronts.head(1).assign(vip="10.242.0.5", port=30080)
    assert bad(good.changed(lab_frontends=pd.concat([fronts, port]))).empty
    twice = fronts.assign(backends=fronts["backends"] + 1)
    slot = backs[backs["slot"] == 0].assign(slot=fronts.loc[0, "backends"])
    found = bad(good.changed(lab_frontends=twice, lab_backends=pd.concat([backs, slot])))
    assert set(found["state"]) == {"duplicate"}
