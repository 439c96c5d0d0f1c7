"""A plan as frames, for notebooks: its arms, the tags of what it creates, and what `labkit down` removes. Asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.azure import bodies, tags
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import pandas as pd

    from labkit.provision.plan import Plan

__all__ = ["ARMS", "REMOVED", "TAGGED", "arms", "removed", "tagged"]

ARMS = Schema("plan_arms", "The arms of a plan.", key=(), columns=(
    Column("arm", "str", "its name"),
    Column("kind", "str", "how it is wired"),
    Column("meaning", "str", "what that is, in words"),
    Column("dataplane", "str", "azure or cilium"),
    Column("policy", "str", "who enforces policies; none enforces nothing"),
    Column("kube_proxy", "str", "kube-proxy's mode; none is no kube-proxy"),
    Column("of", "str", "the arm whose cluster it is after it was moved; empty for one that is created"),
    Column("context", "str", "its context in the kubeconfig"),
))  # fmt: skip
TAGGED = Schema("plan_tags", "What a plan creates, and the tags that say whose it is.", key=(), columns=(
    Column("resource", "str", "its name"),
    Column("type", "str", "group or cluster"),
    Column("labkit", "str", "tag: the version that creates it"),
    Column("run", "str", "tag: the plan"),
    Column("owner", "str", "tag: who"),
    Column("expiry", "str", "tag: when it may be reaped, UTC"),
))  # fmt: skip
REMOVED = Schema("plan_removal", "What `labkit down` removes, in order, and how it knows that it is gone.", key=(), columns=(
    Column("resource", "str", "its name"),
    Column("how", "str", "by whom it is deleted"),
    Column("proof", "str", "what shows that it is gone"),
))  # fmt: skip


def arms(plan: Plan) -> pd.DataFrame:
    """A row for each arm, those that are moved too."""
    return ARMS.frame(
        {
            "arm": arm.name,
            "kind": arm.kind,
            "meaning": arm.is_a.meaning,
            "dataplane": arm.is_a.dataplane,
            "policy": arm.policy,
            "kube_proxy": arm.kube_proxy,
            "of": arm.of,
            "context": plan.context(arm),
        }
        for arm in plan.arms.values()
    )


def tagged(plan: Plan, now: datetime) -> pd.DataFrame:
    """A row for each resource that the plan creates when it begins at `now`."""
    marks = tags.made(plan, now)
    names = [(bodies.group_name(plan), "group"), *((arm.cluster, "cluster") for arm in plan.created)]
    return TAGGED.frame({"resource": name, "type": kind, **marks} for name, kind in names)


def removed(plan: Plan) -> pd.DataFrame:
    """A row for each thing that `labkit down` removes."""
    return REMOVED.frame(_removed(plan))


def _removed(plan: Plan) -> Iterator[dict[str, str]]:
    proof = "Azure answers 404"
    yield {
        "resource": f"resource group {bodies.group_name(plan)}",
        "how": "labkit, if it carries all four tags, with this run and owner",
        "proof": proof,
    }
    for arm in plan.created:
        yield {"resource": f"cluster {arm.cluster}", "how": "goes with its group", "proof": proof}
        name = bodies.managed_group_name(plan, arm)
        yield {"resource": f"managed group {name}", "how": "goes with its cluster", "proof": proof}
    yield {
        "resource": "kubeconfig of the run",
        "how": "labkit, when all else is gone",
        "proof": "no such file",
    }
