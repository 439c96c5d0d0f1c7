"""Blocked probes beside the arm's own account of them, on the recording that has one."""

import pandas as pd
import pytest

from labkit.analysis import policy_evidence as analysis
from labkit.analysis.connectivity import flow_names
from labkit.collect import cilium as agents
from labkit.collect import policies, policy_evidence
from tests.conftest import arm

CLUSTER = arm("cilium")
DENY_ALL, ALLOW = "policy-deny-all", "policy-allow-frontend"


@pytest.fixture(scope="module")
def probes():
    return policies.probes(CLUSTER, (DENY_ALL, ALLOW))


@pytest.fixture(scope="module")
def flows():
    return policy_evidence.flows(CLUSTER)


@pytest.fixture(scope="module")
def entries():
    maps, endpoints = policy_evidence.policy_maps(CLUSTER), policy_evidence.endpoints(CLUSTER)
    return analysis.policy_entries(maps, endpoints, agents.identities(CLUSTER), ["cni-lab"])


def test_every_blocked_probe_has_its_drops(probes, flows):
    blocked = analysis.match_drops(probes, flows)
    assert len(blocked) == 31
    assert blocked["drops"].between(1, 2).all()
    assert blocked["drops"].sum() == 59
    assert set(blocked["dropped_at"]) == {"EGRESS"}
    pods = blocked[blocked["kind"] == "pod"]
    assert (pods["destination"] == pods["dropped_to"]).all()
    named = blocked[(blocked["kind"] == "service-name") & (blocked["step"] == DENY_ALL)]
    assert named["dropped_to"].str.startswith("coredns-").all()


def test_a_probe_that_got_through_has_no_drops(probes, flows):
    passed = probes[(probes["step"] == ALLOW) & (probes["outcome"] == "allowed")].assign(outcome="blocked")
    assert analysis.match_drops(passed, flows)["drops"].tolist() == [0] * 11


def test_where_the_log_does_not_reach_back_nothing_is_known(probes, flows):
    late = flows[flows["time"] > probes.loc[probes["step"] == DENY_ALL, "ended_at"].max()]
    blocked = analysis.match_drops(probes, late)
    assert blocked.loc[blocked["step"] == DENY_ALL, "drops"].isna().all()
    assert blocked.loc[blocked["step"] == ALLOW, "drops"].notna().all()


def test_another_clock_needs_slack(probes, flows):
    # the ping of each source's first backend begins when a second of its window has passed
    shifted = flows.assign(time=flows["time"] - pd.Timedelta(seconds=0.5))
    lookups = probes[probes["kind"] == "dns"]
    assert (analysis.match_drops(lookups, shifted)["drops"] == 0).all()
    assert (analysis.match_drops(lookups, shifted, slack_s=0.6)["drops"] >= 1).all()


def test_without_flows_nothing_is_known(probes, flows):
    blocked = analysis.match_drops(probes, flows[:0])
    assert blocked["drops"].isna().all()
    assert blocked["dropped_at"].isna().all()
    assert analysis.drop_pairs(probes, flows[:0]).empty
    assert analysis.match_drops(probes[:0], flows).empty


def test_pairs_count_packets_not_events(probes, flows):
    pairs = analysis.drop_pairs(probes, flows)
    assert (pairs["drops"] == pairs["verdicts"]).all()
    assert pairs["drops"].sum() == 59
    client = pairs[(pairs["src_app"] == "perf-client") & (pairs["step"] == ALLOW)]
    assert client.groupby("protocol")["drops"].sum().to_dict() == {"ICMPv4": 4, "TCP": 8}


def test_drops_by_target(probes, flows):
    drops = flow_names(analysis.match_drops(probes, flows))
    rows = analysis.drops_by_target(drops)
    assert rows["probes"].sum() == 31
    assert rows["dropped_packets"].sum() == 59
    assert rows[["without_drops", "not_known"]].to_numpy().sum() == 0
    unknown = analysis.drops_by_target(flow_names(analysis.match_drops(probes, flows[:0])))
    assert unknown["not_known"].sum() == 31


def test_the_programs_and_the_log_count_the_same(flows):
    counters, monitored = policy_evidence.counters(CLUSTER), policy_evidence.monitored(CLUSTER)
    rows = analysis.counted(counters, flows, monitored, "baseline", DENY_ALL).set_index("node")
    assert rows.loc["cilium-node-0"].tolist() == [25, 25, 8]
    assert rows.loc["cilium-node-1"].tolist() == [38, 38, 0]
    assert analysis.counted(counters[:0], flows[:0], monitored[:0], "baseline", DENY_ALL).empty


def test_the_backend_lets_frontends_in_and_nobody_else(entries):
    backend = entries[(entries["app"] == "backend") & (entries["direction"] == "ingress")]
    allow = backend[backend["step"] == ALLOW]
    assert set(allow["peer"]) == {"frontend", "host"}
    assert allow.loc[allow["peer"] == "frontend", "dest_port"].tolist() == [80] * 4  # two zones, two backends
    assert allow.loc[allow["peer"] == "frontend", "packets"].sum() == 48
    denied = backend[backend["step"] == DENY_ALL]
    assert denied["peer"].tolist() == ["host", "host"]
    assert denied["enforced"].all()


def test_a_direction_without_entries_has_a_row(entries):
    egress = entries[(entries["direction"] == "egress") & (entries["step"] == DENY_ALL)]
    assert len(egress) == 7
    assert egress[["peer", "verdict"]].isna().all(axis=None)


def test_policy_maps_in_words(entries):
    words = analysis.policy_words(entries).set_index(["app", "direction"])
    assert list(words.columns) == ["baseline", DENY_ALL, ALLOW]
    assert set(words["baseline"]) == {"everything"}
    assert words.loc[("frontend", "egress"), DENY_ALL] == "nothing"
    assert words.loc[("backend", "ingress"), ALLOW] == "TCP/80: frontend; any port: host"
    assert words.loc[("perf-client", "ingress"), ALLOW] == "any port: host"


def test_no_policy_maps_give_no_words():
    maps, endpoints = policy_evidence.policy_maps, policy_evidence.endpoints
    empty = analysis.policy_entries(
        maps.schema.empty(), endpoints.schema.empty(), agents.identities.schema.empty(), ["cni-lab"]
    )
    assert empty.empty
    assert analysis.policy_words(empty).empty


@pytest.mark.parametrize(
    ("name", "counts"), [("overlay-vxlan", [81, 81]), ("overlay-routed", [75, 75]), ("cilium", [29, 29])]
)
def test_no_arm_writes_policies_to_iptables(name, counts):
    rows = analysis.rules_changed(policy_evidence.iptables_rules(arm(name)), "baseline", DENY_ALL)
    assert rows["rules_before"].tolist() == rows["rules_after"].tolist() == counts
    assert rows[["added", "removed"]].to_numpy().sum() == 0


def test_a_rule_that_is_new_counts_as_added():
    rules = policy_evidence.iptables_rules(arm("overlay-vxlan"))
    one = rules[(rules["step"] == "baseline") & (rules["node"] == "vxlan-node-0")].head(1)
    more = pd.concat([rules, one.assign(step=DENY_ALL, rule="-A FORWARD -j DROP")], ignore_index=True)
    assert analysis.rules_changed(more, "baseline", DENY_ALL)["added"].tolist() == [1, 0]
