"""Probes and policies of each step, as they were recorded."""

import pytest

from labkit.collect import policies, policy_evidence
from labkit.errors import MissingFeature, ReplayMiss


def test_every_source_tries_everything_in_every_step(cluster):
    probes = policies.probes(cluster)
    assert list(probes.columns) == policies.probes.schema.names
    assert probes.groupby("step", sort=False).size().to_dict() == dict.fromkeys(policies.STEPS, 21)
    plan = probes.groupby(["pod", "kind", "protocol"]).size().unstack(["kind", "protocol"])
    assert len(plan) == 3
    assert plan.iloc[0].to_dict() == {
        ("dns", "UDP"): 4,
        ("pod", "ICMP"): 8,
        ("pod", "TCP"): 8,
        ("service-ip", "TCP"): 4,
        ("service-name", "TCP"): 4,
    }


def test_probes_are_in_the_order_they_ran(cluster):
    probes = policies.probes(cluster)
    assert probes["started_at"].is_monotonic_increasing
    assert (probes["ended_at"] > probes["started_at"]).all()
    assert probes["reply"].is_unique


def test_a_probe_knows_both_its_ends(cilium):
    probes = policies.probes(cilium, ["policy-deny-all"])
    row = probes[probes["reply"] == "r00928"].iloc[0]
    assert row["app"] == "frontend"
    assert (row["src_ip"], row["node"]) == ("10.245.0.183", "cilium-node-0")
    assert (row["dst_ip"], row["dst_node"], row["dst_port"]) == ("10.245.1.206", "cilium-node-1", 80)
    assert (row["outcome"], row["cause"]) == ("blocked", "connect-timeout")


def test_a_probe_by_name_knows_its_name_server_even_if_that_is_silent(cilium):
    probes = policies.probes(cilium, ["policy-deny-all"])
    named = probes["kind"] == "service-name"
    assert set(probes.loc[named, "dns_ip"]) == {"10.0.0.10"}
    assert probes.loc[~named, "dns_ip"].isna().all()
    assert set(probes.loc[probes["kind"] == "dns", "dst_ip"]) == {"10.0.0.10"}


def test_policies_in_force_say_where_they_were_read(cluster):
    frame = policies.in_force(cluster).set_index("step")
    assert frame["policies"].to_dict() == {
        "policy-none": 0,
        "policy-deny-all": 1,
        "policy-allow-frontend": 4,
        "policy-removed": 0,
    }
    assert frame["read_in"].tolist() == ["baseline", "policy-deny-all", "policy-allow-frontend", "cleanup"]
    assert frame.loc["policy-deny-all", "names"] == "cni-lab/deny-all"


def test_policies_and_rules_by_step(cluster):
    assert policies.policies(cluster)["step"].value_counts().to_dict() == {
        "policy-allow-frontend": 4,
        "policy-deny-all": 1,
    }
    rules = policies.rules(cluster)
    assert list(rules.columns) == policies.rules.schema.names
    assert len(rules) == 8


def test_a_step_that_nothing_stands_for_is_a_miss(cluster):
    with pytest.raises(ReplayMiss):
        policies.rules(cluster, ["load-balancing"])


def test_evidence_is_of_the_steps_it_was_read_in(cilium):
    maps = policy_evidence.policy_maps(cilium)
    assert list(maps.columns) == policy_evidence.policy_maps.schema.names
    assert list(dict.fromkeys(maps["step"])) == ["baseline", "policy-deny-all", "policy-allow-frontend"]
    assert policy_evidence.flows(cilium).groupby("step").size().to_dict() == {
        "policy-allow-frontend": 1975,
        "policy-deny-all": 1991,
    }
    assert set(policy_evidence.monitored(cilium)["reason"]) == {"Policy denied"}
    assert set(policy_evidence.counters(cilium)["step"]) == {"baseline", "policy-deny-all"}


@pytest.mark.parametrize("name", ["policy_maps", "endpoints", "flows", "monitored", "counters"])
def test_an_arm_without_agents_has_no_such_evidence(routed, name):
    with pytest.raises(MissingFeature, match="no Cilium agent"):
        getattr(policy_evidence, name)(routed)
