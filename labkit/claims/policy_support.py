"""What the run-book says an arm can do with policies, judged by its own tables, logs and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.policy_evidence import match_drops, rules_changed
from labkit.claims.policies import judged, not_judged
from labkit.collect import kubernetes, policies
from labkit.collect.capabilities import policy_engine
from labkit.collect.policy_evidence import flows, iptables_rules
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

NONE, DENY_ALL, ALLOW, _ = policies.STEPS
CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"


@claim(
    "basic-policies-on-overlay",
    "CNI Overlay enforces basic Kubernetes NetworkPolicies.",
    topic="policies",
    said="Key Differences Summary, Policy Enforcement",
)
def basic_policies_on_overlay(cluster: Cluster) -> Outcome:
    """The canary, and what of the policies came to the nodes: an engine, or a rule of iptables."""
    if kubernetes.is_cilium(cluster):
        return inconclusive("this is of arms without Cilium")
    found = judged(cluster)
    iptables = iptables_rules(cluster)
    changed = rules_changed(iptables, "baseline", DENY_ALL)
    engine = policy_engine(cluster)
    numbers = {
        "canaries": found.worked,
        "stopped": found.stopped,
        "iptables_rules": int(changed["rules_after"].sum()),
        "iptables_rules_added": int(changed["added"].sum()),
    }
    shown = [*found.replies, *iptables["reply"].unique(), *_daemonsets(cluster)]
    words = (
        f"{found.stopped} of {found.worked} flows were stopped by a deny of everything; policy engine: {engine}; "
        f"{numbers['iptables_rules_added']} iptables rules came with it"
    )
    if found.canary == "inconclusive":
        return not_judged(found)
    if found.canary == "enforced":
        return supported(words, shown, **numbers)
    return refuted(words, shown, **numbers)


def _daemonsets(cluster: Cluster) -> list[str]:
    return list(kubernetes.daemonsets(cluster.at("baseline"))["reply"].unique())


@claim(
    "enhanced-l7-policies",
    "Cilium's policies look into layer 7 (HTTP).",
    topic="policies",
    said="Conclusion, Key Takeaways 5; Key Differences Summary (Advanced L3/L4/L7 policies)",
)
def enhanced_l7_policies(cluster: Cluster) -> Outcome:
    """The agent refuses rules of layer 7 unless its proxy is on (pkg/policy/api/rule_validation.go)."""
    before = cluster.at("baseline")
    proxy = kubernetes.cilium_config(before).get("enable-l7-proxy", "true")
    shown = [before.read(CONFIG_MAPS).id]
    if proxy == "false":
        return refuted("enable-l7-proxy is false: the agent refuses any policy with rules of layer 7", shown)
    return inconclusive(f"enable-l7-proxy is {proxy}, but no rule of layer 7 was tried in these steps", shown)


@claim(
    "drops-visible",
    "What a policy stops can be seen: every blocked probe has its dropped packets in the flow log.",
    topic="policies",
    said="Best Practices (monitor with their respective tools)",
)
def drops_visible(cluster: Cluster) -> Outcome:
    """Drops of policy in Hubble, by the source's node, in the time of each probe."""
    seen = flows(cluster)
    found = judged(cluster, ALLOW)
    if found.canary != "enforced":
        return not_judged(found)
    probes = found.probes[found.probes["step"].isin([DENY_ALL, ALLOW])]
    blocked = match_drops(probes, seen)
    known = blocked[blocked["drops"].notna()]
    without = known[known["drops"] == 0]
    numbers = {
        "blocked": len(blocked),
        "without_a_drop": len(without),
        "dropped_packets": int(known["drops"].sum()),
    }
    shown = [*blocked["reply"], *seen["reply"].unique()]
    if len(known) < len(blocked):
        missing = len(blocked) - len(known)
        return inconclusive(
            f"the flow log does not reach back to {missing} of {len(blocked)} blocked probes", shown
        )
    if len(without):
        return refuted(f"{len(without)} of {len(blocked)} blocked probes have no drop", shown, **numbers)
    where = ", ".join(sorted(set(",".join(known["dropped_at"]).lower().split(","))))
    return supported(
        f"each of {len(blocked)} blocked probes has drops, {numbers['dropped_packets']} packets in all, at {where}",
        shown, **numbers,
    )  # fmt: skip


CLAIMS = (basic_policies_on_overlay, enhanced_l7_policies, drops_visible)
