"""What the recorded flows, logs, tables and counters account for."""

import pandas as pd
import pytest

from labkit import Lab
from labkit.analysis import flow_coverage as coverage
from labkit.analysis.service_map import connections
from labkit.collect import cilium_maps, hubble, kubernetes, logs, node, services
from labkit.collect.fetches import fetches

STEP = "load-balancing"


@pytest.fixture(scope="module")
def lab():
    return Lab({"overlay": "replay:overlay-vxlan", "cilium": "replay:cilium"})


@pytest.fixture(scope="module")
def flows(lab):
    return lab.each(hubble.flows, step=STEP)


@pytest.fixture(scope="module")
def log(lab):
    return lab.each(logs.backend_log, step=STEP, tail=1000)


@pytest.fixture(scope="module")
def rounds(lab):
    return lab.each(fetches, step=STEP)


def test_of_all_requests_few_are_in_the_answer(flows, rounds):
    found = coverage.of_requests(connections(flows), rounds).set_index(["arm", "pod"])
    cilium = found.loc["cilium"]
    assert cilium["requests"].tolist() == [700, 700]
    assert sorted(cilium["connections"]) == [0, 167]  # the rounds of one frontend were over before the span
    assert cilium["share_pct"].max() == pytest.approx(100 * 167 / 700)


def test_an_arm_without_flows_has_no_share(flows, rounds):
    found = coverage.of_requests(connections(flows), rounds).set_index("arm")
    assert found.loc["overlay", "connections"].isna().all()
    assert found.loc["overlay", "share_pct"].isna().all()


def test_within_its_span_the_answer_has_every_request(flows, log, rounds):
    found = coverage.within_span(flows, log, rounds)
    assert found["requests"].tolist() == [31, 106]
    assert found["connections"].tolist() == [31, 106]
    assert (found["share_pct"] == 100).all()
    assert (found["since"] == found["since"].dt.floor("s")).all()


def test_seconds_sum_up_to_the_requests(flows, log, rounds):
    found = coverage.by_second(flows, log, rounds)
    assert found.groupby("arm", sort=False)["requests"].sum().to_dict() == {"overlay": 1400, "cilium": 1400}
    cilium = found[found["arm"] == "cilium"]
    assert (cilium["connections"] <= cilium["requests"]).all()
    assert cilium["connections"].sum() == 166
    assert found.loc[found["arm"] == "overlay", "connections"].isna().all()


def test_answers_tell_their_bounds(lab, flows):
    found = coverage.answers(flows, lab.each(hubble.status, step=STEP), lab.each(hubble.lost, step=STEP))
    assert found["flows"].tolist() == [1000, 1000]
    assert (found["in_ring"] == found["ring_size"]).all()
    assert found["lost_events"].tolist() == [0, 0]
    assert found["span_s"].tolist() == [14.5, 27.9]


def test_instruments(lab, log, flows):
    frames = [lab.each(c, step=STEP) for c in (node.connections, services.rules, cilium_maps.connections)]
    found = coverage.instruments(log, *frames, flows).set_index(["arm", "instrument"])
    assert found["connections"].to_dict() == {
        ("overlay", "kernel conntrack"): 1416,
        ("overlay", "kube-proxy's rules"): 1416,
        ("cilium", "kernel conntrack"): 0,
        ("cilium", "Cilium's connection map"): 1421,
        ("cilium", "Hubble flows, as asked for"): 167,
    }
    assert found["requests"].groupby("arm").first().to_dict() == {"overlay": 1416, "cilium": 1424}


def test_clients_are_pods(lab, log):
    found = coverage.clients(log, lab.each(kubernetes.workloads))
    assert found["client"].notna().all()
    assert found["requests"].sum() == 1416 + 1424


def test_an_address_of_no_pod_has_no_client(lab, log):
    found = coverage.clients(log, lab.each(kubernetes.workloads).iloc[:0])
    assert found["client"].isna().all()


def test_drops_against_counters(lab):
    dropped = lab.each(hubble.dropped, step="policy-deny-all")
    counters = lab.each(cilium_maps.metrics, step="policy-deny-all")
    found = coverage.drops_counted(dropped, counters)
    assert set(found["drop_reason"]) == {"POLICY_DENIED", "TTL_EXCEEDED", "UNSUPPORTED_L3_PROTOCOL"}
    policy = found[found["drop_reason"] == "POLICY_DENIED"]
    assert policy[["drops", "verdicts", "counted"]].to_numpy().tolist() == [[25, 25, 25], [38, 38, 38]]
    ttl = found[found["drop_reason"] == "TTL_EXCEEDED"]
    assert (ttl["drops"] == 0).all()  # the ring has overwritten them
    assert ttl["counted"].sum() == 28


def test_during_keeps_to_the_rounds_of_the_arm(log, rounds):
    requests = log[log["kind"] == "request"]
    mine = coverage.during(requests, rounds)
    assert mine.groupby("arm").size().to_dict() == {"overlay": 1400, "cilium": 1400}
    assert coverage.during(requests, rounds.iloc[:0]).empty


def test_no_flows_at_all(lab, flows, log, rounds):
    none = flows.iloc[:0]
    assert coverage.within_span(none, log, rounds).empty
    assert coverage.answers(
        none, lab.each(hubble.status, step=STEP).iloc[:0], lab.each(hubble.lost, step=STEP)
    ).empty
    assert coverage.by_second(none, log, rounds)["connections"].isna().all()
    assert coverage.by_second(none, log.iloc[:0], rounds.iloc[:0]).empty
    assert coverage.drops(none).empty
    assert isinstance(coverage.drops_counted(none, lab.each(cilium_maps.metrics).iloc[:0]), pd.DataFrame)
