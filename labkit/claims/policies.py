"""What the run-book says of network policies, judged by probes that are open to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.analysis import connectivity, enforcement
from labkit.cluster import once
from labkit.collect import kubernetes, policies
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS", "Judged", "judged", "not_judged"]

NONE, DENY_ALL, ALLOW, REMOVED = policies.STEPS


@dataclass(frozen=True, slots=True)
class Judged:
    """Probes beside what policies say of them, and what the canary says of the arm."""

    probes: pd.DataFrame
    canary: str
    worked: int
    stopped: int
    replies: tuple[str, ...]

    def of(self, step: str) -> pd.DataFrame:
        """The probes of one step."""
        return self.probes[self.probes["step"] == step]


@once
def judged(cluster: Cluster, *steps: str) -> Judged:
    """The probes of the canary's two steps and of these."""
    before = cluster.at("baseline")
    wanted = [step for step in policies.STEPS if step in {NONE, DENY_ALL, *steps}]
    rules = policies.rules(cluster, wanted)
    compared = connectivity.compare(
        policies.probes(cluster, wanted),
        rules,
        kubernetes.pods(before),
        kubernetes.services(before),
        kubernetes.endpoints(before),
        policies.namespaces(before),
    )
    found = enforcement.canary(compared).iloc[0]
    replies = (
        *rules.loc[rules["step"] == DENY_ALL, "reply"].unique(),
        *filter(None, str(found["replies"]).split(",")),
    )
    return Judged(compared, str(found["canary"]), int(found["worked"]), int(found["stopped"]), replies)


def not_judged(found: Judged) -> Outcome:
    """What can be said of the rules of an arm whose canary was not stopped."""
    if found.canary == "inconclusive":
        return inconclusive(
            "no flow that worked before is one that the policies in force deny", found.replies
        )
    return inconclusive(f"policies are {found.canary} in this arm, so that what passes or fails says nothing "
                        "of the rules", found.replies)  # fmt: skip


@claim(
    "policies-enforced",
    "NetworkPolicies are enforced.",
    topic="policies",
    said="Network Policy Testing",
)
def policies_enforced(cluster: Cluster) -> Outcome:
    """The canary: HTTP to pods by address, which worked before, under a deny of everything."""
    found = judged(cluster)
    numbers = {"canaries": found.worked, "stopped": found.stopped}
    reason = f"{found.stopped} of {found.worked} flows to a pod's address that worked before were stopped"
    if found.canary == "inconclusive":
        return not_judged(found)
    if found.canary == "enforced":
        return supported(reason, found.replies, **numbers)
    return refuted(f"{reason} by a deny of everything that the API server took", found.replies, **numbers)


@claim(
    "deny-all-stops-traffic",
    "With the deny-all policy in force nothing gets through: not by pod address, not by Service address, "
    "not by name.",
    topic="policies",
    said="Network Policy Testing (`deny-all`)",
)
def deny_all_stops_traffic(cluster: Cluster) -> Outcome:
    """Every TCP and UDP probe of the step; of ICMP the API says nothing."""
    probes = judged(cluster).of(DENY_ALL)
    defined = probes[probes["by_the_api"] & (probes["expected"] == "blocked")]
    passed = defined[defined["outcome"] == "allowed"]
    if defined.empty:
        return inconclusive("no probe of this step is one that the policies in force deny", probes["reply"])
    pings = probes[~probes["by_the_api"]]
    numbers = {
        "probes": len(defined),
        "passed": len(passed),
        "pings": len(pings),
        "pings_answered": int((pings["outcome"] == "allowed").sum()),
    }
    if len(passed):
        words = f"{len(passed)} of {len(defined)} probes got an answer ({_by_kind(passed)})"
        return refuted(words, passed["reply"], **numbers)
    return supported(
        f"none of {len(defined)} probes got an answer ({_by_kind(defined)})", defined["reply"], **numbers
    )


def _by_kind(probes: pd.DataFrame) -> str:
    counts = probes["kind"].value_counts(sort=False)
    return ", ".join(f"{kind} {count}" for kind, count in counts.items())


@claim(
    "name-probe-shows-policy",
    "`curl` by name after deny-all shows what the policy does to the connection.",
    topic="policies",
    said="Network Policy Testing (`curl --connect-timeout 5 backend-service…`)",
)
def name_probe_shows_policy(cluster: Cluster) -> Outcome:
    """Whether the probe by name got as far as a connection, or stopped at the name."""
    found = judged(cluster)
    probes = found.of(DENY_ALL)
    named = probes[probes["kind"] == "service-name"]
    if found.canary != "enforced":
        return not_judged(found)
    lookups = probes[probes["kind"] == "dns"]
    addressed = probes[(probes["kind"] == "service-ip") & (probes["cause"] == "connect-timeout")]
    unresolved = named[named["cause"].str.startswith("dns-")]
    shown = [*named["reply"], *lookups["reply"], *addressed["reply"]]
    numbers = {
        "by_name": len(named),
        "stopped_at_the_name": len(unresolved),
        "by_address_stopped_at_the_connection": len(addressed),
    }
    if len(unresolved):
        return refuted(
            f"{len(unresolved)} of {len(named)} stopped at the name ({named['detail'].iloc[0]}): they never "
            f"tried a connection, and would have failed as well if only the name server were out of reach; "
            f"by address the connection itself timed out",
            shown, **numbers,
        )  # fmt: skip
    return supported("every probe by name resolved it and then failed to connect", shown, **numbers)


@claim(
    "allow-rules-work",
    "Allow rules beside deny-all let in whom they name, and nobody else.",
    topic="policies",
    said="Best Practices (implement policies gradually, test after each change)",
)
def allow_rules_work(cluster: Cluster) -> Outcome:
    """TCP and UDP probes against the policies in force: frontends may reach backends on port 80, all may
    look names up."""
    found = judged(cluster, ALLOW)
    if found.canary != "enforced":
        return not_judged(found)
    probes = found.of(ALLOW)
    defined = probes[probes["by_the_api"] & probes["expected"].notna()]
    differ = defined[defined["verdict"] == "differs"]
    allowed, blocked = ((defined["expected"] == word) for word in ("allowed", "blocked"))
    numbers = {
        "may": int(allowed.sum()), "may_not": int(blocked.sum()), "otherwise": len(differ),
    }  # fmt: skip
    if not (numbers["may"] and numbers["may_not"]):
        return inconclusive("the probes of this step do not hold both what may pass and what may not")
    if len(differ):
        first = differ.iloc[0]
        words = f"{first['app']} to {first['destination']} was {first['outcome']}: {first['because']}"
        return refuted(
            f"{len(differ)} of {len(defined)} probes went otherwise, such as {words}",
            differ["reply"],
            **numbers,
        )
    apps = {word: ", ".join(sorted(set(defined.loc[mask & (defined["kind"] != "dns"), "app"])))
            for word, mask in (("may", allowed), ("may not", blocked))}  # fmt: skip
    return supported(
        f"{numbers['may']} probes that may pass did ({apps['may']}), {numbers['may_not']} that may not did not "
        f"({apps['may not']})",
        defined["reply"], **numbers,
    )  # fmt: skip


@claim(
    "ingress-rules-tested",
    "The probes also show that ingress rules are enforced.",
    topic="policies",
    said="Network Policy Testing (`policyTypes: Ingress, Egress`)",
)
def ingress_rules_tested(cluster: Cluster) -> Outcome:
    """Needs a probe that may leave its source and may not enter its destination."""
    found = judged(cluster, ALLOW)
    if found.canary != "enforced":
        return not_judged(found)
    blocked = found.probes[found.probes["expected"] == "blocked"]
    only = blocked[(blocked["blocked_at"] == "ingress") & blocked["by_the_api"]]
    if only.empty:
        return inconclusive(
            f"each of {len(blocked)} probes that may not pass may already not leave its source, so no packet "
            "came to an ingress rule that denies it",
            blocked["reply"], blocked=len(blocked), only_at_ingress=0,
        )  # fmt: skip
    passed = only[only["outcome"] == "allowed"]
    numbers = {"only_at_ingress": len(only), "passed": len(passed)}
    if len(passed):
        return refuted(f"{len(passed)} of {len(only)} got in", only["reply"], **numbers)
    return supported(f"{len(only)} probes that only ingress denies were stopped", only["reply"], **numbers)


@claim(
    "removal-restores-traffic",
    "When the policies are deleted, everything works as before.",
    topic="policies",
    said="Network Policy Testing",
)
def removal_restores_traffic(cluster: Cluster) -> Outcome:
    """The probes of the last step against those of the first. How soon is not measured."""
    found = judged(cluster, REMOVED)
    if found.canary != "enforced":
        return not_judged(found)
    keys = ["pod", "kind", "destination", "protocol"]
    columns = [*keys, "outcome", "reply"]
    both = found.of(NONE)[columns].merge(found.of(REMOVED)[columns], on=keys, suffixes=("", "_after"))
    worked = both[both["outcome"] == "allowed"]
    lost = worked[worked["outcome_after"] != "allowed"]
    shown = [*worked["reply"], *worked["reply_after"]]
    if len(lost):
        words = f"{len(lost)} of {len(worked)} probes that worked before still fail"
        return refuted(words, shown, worked_before=len(worked), lost=len(lost))
    return supported(
        f"all {len(worked)} probes that worked before work again", shown, worked_before=len(worked)
    )


CLAIMS = (
    policies_enforced,
    deny_all_stops_traffic,
    name_probe_shows_policy,
    allow_rules_work,
    ingress_rules_tested,
    removal_restores_traffic,
)
