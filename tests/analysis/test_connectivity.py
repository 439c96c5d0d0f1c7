"""Expected beside observed: on the recordings, and where an answer must stay open."""

import pandas as pd
import pytest

from labkit.analysis import connectivity, enforcement
from labkit.collect import kubernetes, policies
from tests.conftest import RECORDINGS, arm


def frames(name):
    cluster = arm(name)
    given = (
        policies.probes(cluster),
        policies.rules(cluster),
        kubernetes.pods(cluster),
        kubernetes.services(cluster),
        kubernetes.endpoints(cluster),
        policies.namespaces(cluster),
    )
    for frame in given:
        frame.insert(0, "arm", name)
    return list(given)


@pytest.fixture(scope="module")
def given():
    """The frames of each arm, in the order `compare` takes them."""
    return {name: frames(name) for name in RECORDINGS}


@pytest.fixture(scope="module")
def compared(given):
    """All arms under each other, as a notebook has them."""
    return connectivity.compare(
        *(pd.concat(parts, ignore_index=True) for parts in zip(*given.values(), strict=True))
    )


def of(compared, arm, step, kind, app="frontend", protocol="TCP"):
    mine = compared[(compared["arm"] == arm) & (compared["step"] == step) & (compared["kind"] == kind)]
    return mine[(mine["app"] == app) & (mine["protocol"] == protocol)]


def test_every_probe_is_judged(compared):
    assert len(compared) == 3 * 4 * 21
    assert compared["expected"].notna().all()
    assert (
        compared.groupby(["arm", "step"], sort=False)["expected"]
        .apply(lambda e: int(e.eq("allowed").sum()))
        .tolist()
        == [21, 0, 11, 21] * 3
    )


def test_cilium_does_what_the_policies_say(compared):
    assert compared.loc[compared["arm"] == "cilium", "verdict"].eq("agrees").all()


@pytest.mark.parametrize("name", ["overlay-vxlan", "overlay-routed"])
def test_the_overlays_let_everything_through(compared, name):
    found = connectivity.differences(compared[compared["arm"] == name])
    assert found.groupby("step", sort=False).size().to_dict() == {
        "policy-deny-all": 21,
        "policy-allow-frontend": 10,
    }
    assert set(found["outcome"]) == {"allowed"}
    assert found["expected_by"].str.contains("cni-lab/deny-all").all()


def test_a_probe_by_name_falls_with_the_name_server(compared):
    named = of(compared, "cilium", "policy-deny-all", "service-name")
    assert set(named["blocked_at"]) == {"name lookup"}
    assert set(of(compared, "cilium", "policy-deny-all", "service-ip")["blocked_at"]) == {"egress,ingress"}
    client = of(compared, "cilium", "policy-allow-frontend", "service-name", app="perf-client")
    assert set(client["blocked_at"]) == {"egress,ingress"}  # it may look the name up


def test_a_service_is_the_pods_behind_it(given):
    probes, rules, *others = given["cilium"]
    probes = probes[probes["kind"] == "service-ip"]
    one = others[2][others[2]["address"] != "10.245.0.165"]
    pods, services, _, namespaces = others
    split = pods.copy()
    split.loc[split["pod_ip"] == "10.245.0.165", "labels"] = "app=another"
    args = (services, others[2], namespaces)
    found = connectivity.compare(probes, rules, split, *args)
    mixed = of(found, "cilium", "policy-allow-frontend", "service-ip")
    assert set(mixed["verdict"]) == {"unknown"}
    assert mixed["because"].str.contains("some endpoints").all()
    assert connectivity.compare(probes, rules, split, services, one, namespaces)["expected"].notna().all()
    none = connectivity.compare(probes, rules, pods, services, others[2][:0], namespaces)
    assert none["because"].str.contains("no ready endpoint").all()


def test_what_is_not_known_is_not_expected(given):
    probes, rules, pods, services, endpoints, namespaces = given["cilium"]
    lost = probes.assign(dst_ip=probes["dst_ip"].mask(probes["kind"] == "dns"))
    lost["dns_ip"] = None
    found = connectivity.compare(lost, rules, pods, services, endpoints, namespaces)
    assert found.loc[found["expected"].isna(), "kind"].value_counts().to_dict() == {
        "dns": 12,
        "service-name": 12,
    }
    stranger = connectivity.compare(
        probes, rules, pods[pods["app"] != "frontend"], services, endpoints, namespaces
    )
    assert stranger.loc[stranger["app"] == "frontend", "expected"].isna().all()


def test_no_probes_give_no_rows(given):
    found = connectivity.compare(*(frame[:0] for frame in given["cilium"]))
    assert found.empty
    assert {"expected", "verdict", "because"} <= set(found.columns)
    assert connectivity.flow_names(found).empty
    assert connectivity.summary(found).empty
    assert connectivity.causes(found).empty


def test_the_summary_counts_verdicts(compared):
    gated = enforcement.gate(compared, enforcement.canary(compared))
    rows = connectivity.summary(gated).set_index(["arm", "step"])
    assert rows.loc[("cilium", "policy-allow-frontend"), ["allowed", "agrees", "differs"]].tolist() == [
        11,
        21,
        0,
    ]
    assert rows.loc[("overlay-routed", "policy-removed"), ["agrees", "not_enforced"]].tolist() == [0, 21]
    assert rows.loc[("overlay-routed", "policy-none"), "agrees"] == 21


def test_causes_by_kind_and_step(compared):
    cells = connectivity.causes(compared).set_index(["arm", "kind", "protocol"])
    assert list(cells.columns) == list(policies.STEPS)
    cilium = cells.loc["cilium"]
    assert cilium.loc[("service-name", "TCP"), "policy-deny-all"] == "3 dns-timeout"
    assert cilium.loc[("service-name", "TCP"), "policy-allow-frontend"] == "2 ok, 1 connect-timeout"
    assert cells.loc[("overlay-vxlan", "pod", "ICMP"), "policy-deny-all"] == "6 ok"


def test_flows_have_the_same_names_in_every_arm(compared):
    named = connectivity.flow_names(compared)
    names = {arm: set(zip(mine["source"], mine["target"], strict=True)) for arm, mine in named.groupby("arm")}
    assert names["cilium"] == names["overlay-vxlan"] == names["overlay-routed"]
    assert len(names["cilium"]) == 21
    assert ("frontend 2", "HTTP pod, own node") in names["cilium"]
    row = named[(named["arm"] == "cilium") & (named["source"] == "frontend 1")].iloc[0]
    assert row["node"] == "cilium-node-0"


def test_two_pods_on_one_node_keep_their_own_rows(compared):
    mine = compared[compared["arm"] == "cilium"].assign(dst_node="cilium-node-0")
    named = connectivity.flow_names(mine)
    assert not named.duplicated(["step", "source", "target"]).any()
    assert named["target"].str.endswith("#2").any()
