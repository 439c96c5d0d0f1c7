"""Consistency, Maglev, map fill and one flow: on the recordings, and on frames that are altered on purpose."""

import pandas as pd
import pytest

from labkit import Lab
from labkit.analysis import consistency, maglev, map_fill
from labkit.analysis.one_flow import one_flow
from labkit.collect import cilium, cilium_maps, kubernetes, monitor, services
from labkit.collect.steps import over
from tests.conftest import arm

STEPS = ["baseline", "services-100", "services-1000"]
ARMS = {"overlay": "replay:overlay-vxlan", "cilium": "replay:cilium"}


@pytest.fixture(scope="module")
def both():
    return Lab(ARMS)


@pytest.fixture(scope="module")
def api(both):
    found = (over(STEPS, kubernetes.services), over(STEPS, kubernetes.endpoints), kubernetes.nodes)
    return [both.each(collect) for collect in found]


@pytest.fixture(scope="module")
def programmed(both):
    return [
        consistency.of_rules(both.each(over(STEPS, services.rules))),
        consistency.of_lb_map(both.each(over(STEPS, cilium_maps.lb_map))),
    ]


@pytest.fixture(scope="module")
def compared(api, programmed):
    return consistency.compare(consistency.intended(*api), *programmed)


def test_nodes_at_rest_do_what_the_api_says(compared):
    found = consistency.summary(compared[compared["step"] == "baseline"])
    assert found[["arm", "by", "matching", "missing", "extra"]].drop_duplicates().to_numpy().tolist() == [
        ["overlay", "iptables", 11, 0, 0], ["cilium", "service map", 13, 0, 0],
    ]  # fmt: skip
    assert found["matching_pct"].eq(100).all()


def test_a_thousand_new_services_reach_the_two_dataplanes_differently(compared):
    found = consistency.summary(compared[compared["step"] == "services-1000"]).set_index("node")
    states = found[["matching", "missing", "extra"]]
    assert states.loc["cilium-node-0"].tolist() == [1571, 246, 0]
    assert states.loc["cilium-node-1"].tolist() == [1651, 166, 60]
    assert states.loc["vxlan-node-0"].tolist() == [1825, 0, 186]


def test_arms_and_steps_stay_in_their_order(compared):
    assert list(dict.fromkeys(compared["arm"])) == ["overlay", "cilium"]
    assert list(dict.fromkeys(compared["step"])) == STEPS


def test_traffic_policy_local_means_the_endpoints_of_the_node(api):
    wanted = consistency.intended(*api)
    local = wanted[(wanted["service"] == "hubble-peer") & (wanted["step"] == "baseline")]
    assert local[["node", "endpoint_ip"]].to_numpy().tolist() == [
        ["cilium-node-0", "10.241.0.4"], ["cilium-node-1", "10.241.0.5"],
    ]  # fmt: skip


def test_missing_and_extra_ways_are_found_and_named(api, programmed):
    slots = programmed[1]
    mine = slots[slots["step"] == "baseline"].reset_index(drop=True)
    changed = mine.copy()
    changed.loc[0, "endpoint_ip"] = "10.9.9.9"
    api = [api[0][api[0]["step"] == "baseline"], api[1][api[1]["step"] == "baseline"], api[2]]
    found = consistency.compare(consistency.intended(*api), changed)
    off = found[found["state"] != "matching"].set_index("state")
    assert sorted(off.index) == ["extra", "missing"]
    assert off.loc["extra", "endpoint_ip"] == "10.9.9.9"
    assert off.loc["missing", "endpoint_ip"] == mine.loc[0, "endpoint_ip"]
    assert len(set(off["service"])) == 1
    assert set(found["arm"]) == {"cilium"}  # of the other arm nothing was read here


def test_endpoints_that_are_not_ready_are_not_intended(api):
    services_, endpoints, nodes = api
    rest = endpoints.assign(ready=endpoints["address"] != "10.245.0.165").astype({"ready": "boolean"})
    lost = set(consistency.intended(services_, endpoints, nodes)["endpoint_ip"].dropna())
    lost -= set(consistency.intended(services_, rest, nodes)["endpoint_ip"].dropna())
    assert lost == {"10.245.0.165"}
    rest["ready"] = pd.NA
    assert len(consistency.intended(services_, rest.astype({"ready": "boolean"}), nodes)) > 0


def test_frames_of_one_arm_need_no_arm_column():
    one = arm("cilium")
    wanted = consistency.intended(kubernetes.services(one), kubernetes.endpoints(one), kubernetes.nodes(one))
    found = consistency.compare(wanted, consistency.of_lb_map(cilium_maps.lb_map(one)))
    assert found["state"].eq("matching").all()
    assert "arm" not in found


def test_nothing_programmed_is_nothing_compared():
    lab = Lab({"overlay": "replay:overlay-vxlan"})
    api = [lab.each(c) for c in (kubernetes.services, kubernetes.endpoints, kubernetes.nodes)]
    none = consistency.of_lb_map(lab.each(cilium_maps.lb_map))
    found = consistency.compare(consistency.intended(*api), none)
    assert found.empty
    assert consistency.summary(found).empty
    assert consistency.by_service(found).columns.tolist()[-3:] == list(consistency.STATES)


@pytest.fixture(scope="module")
def tables(both):
    frames = [both.each(c) for c in (cilium_maps.frontends, cilium_maps.lb_map, kubernetes.services)]
    return both.each(cilium_maps.maglev_tables), maglev.backend_names(*frames)


def test_numbers_of_backends_are_told_by_address(tables):
    _, names = tables
    mine = names[(names["node"] == "cilium-node-0") & (names["service"] == "cni-lab/backend-service 80/TCP")]
    assert dict(zip(mine["backend_id"], mine["backend"], strict=True)) == {
        9: "10.245.0.165:80", 8: "10.245.1.206:80",
    }  # fmt: skip


def test_shares_are_equal_but_for_one_slot(both, tables):
    found = maglev.shares(both.each(cilium_maps.maglev), tables[1])
    assert len(found) == 26
    assert found.groupby(["node", "service"])["slots"].sum().eq(16381).all()
    assert found["off_pct"].abs().max() == pytest.approx(0.0061, abs=1e-4)


def test_nodes_hold_equal_tables_of_equal_backends(tables):
    found = maglev.agreement(*tables).set_index("service")
    local = found.loc["kube-system/hubble-peer 80/TCP"]
    assert (bool(local["same_backends"]), local["differing"]) == (False, 16381)
    others = found.drop("kube-system/hubble-peer 80/TCP")
    assert others["same_backends"].all()
    assert others["differing"].eq(0).all()
    assert others["nodes"].eq(2).all()


def test_one_slot_that_differs_is_seen(tables):
    held, names = tables
    changed = held.copy()
    at = changed.index[(changed["node"] == "cilium-node-0") & (changed["service_id"] == 6)][0]
    slots = changed.loc[at, "slots"].split(",")
    changed.loc[at, "slots"] = ",".join(["8" if slots[0] == "9" else "9", *slots[1:]])
    found = maglev.agreement(changed, names).set_index("service")
    assert found.loc["cni-lab/backend-service 80/TCP", "differing"] == 1


def test_the_table_of_one_service(tables):
    found = maglev.of_service(*tables, "backend-service")
    assert len(found) == 2 * 16381
    assert found["service"].unique().tolist() == ["cni-lab/backend-service 80/TCP"]
    assert found.iloc[0]["backend"] == "10.245.0.165:80"
    assert maglev.of_service(*tables, "cni-lab/backend-service").equals(found)
    assert maglev.of_service(*tables, "no-such-service").empty


def test_map_fill_counts_entries_that_were_read(both):
    read = {
        "connection tracking": both.each(cilium_maps.connections),
        "NAT": both.each(cilium_maps.nat),
        "Endpoint policy": both.each(cilium.policy_map),
    }
    found = map_fill.fill(both.each(cilium.map_sizes), read).set_index(["node", "map"])
    assert found.loc[("cilium-node-0", "TCP connection tracking"), "entries"] == 28
    assert found.loc[("cilium-node-0", "Non-TCP connection tracking"), "entries"] == 83
    assert found.loc[("cilium-node-1", "NAT"), ["entries", "max_entries"]].tolist() == [52, 221723]
    assert found.loc[("cilium-node-0", "Endpoint policy"), "entries"] == 3  # of the fullest endpoint
    assert len(found) == 8


def test_a_map_that_was_read_and_is_empty_holds_0(both):
    sizes, nat = both.each(cilium.map_sizes), both.each(cilium_maps.nat)
    found = map_fill.fill(sizes, {"NAT": nat[nat["node"] == "cilium-node-0"]}).set_index("node")["entries"]
    assert found.to_dict() == {"cilium-node-0": 44, "cilium-node-1": 0}


def test_one_flow_is_told_from_its_first_packet(both):
    flow = one_flow(both.each(over(["monitor"], monitor.monitor)))
    assert flow["packet"].max() == 8
    assert flow.groupby("packet").size().eq(2).all()  # where it left a node, and where it came to the pod
    assert flow.iloc[0][["tcp_flags", "observation_point", "state"]].tolist() == ["SYN", "to-network", "new"]
    assert flow.iloc[1]["observation_point"] == "to-endpoint"
    assert set(flow["node"]) == {"cilium-node-0", "cilium-node-1"}
    assert flow.loc[~flow["from_client"], "state"].eq("reply").all()


def test_no_event_is_no_flow():
    lab = Lab({"overlay": "replay:overlay-vxlan"})
    assert one_flow(lab.each(over(["monitor"], monitor.monitor))).empty
