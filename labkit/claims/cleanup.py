"""What the run-book says of cleaning up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.cleanup import leftovers
from labkit.collect.cleanup import everything, made_here
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]


@claim(
    "deleted-is-gone",
    "What was deleted is gone when the deletion returns.",
    topic="cleanup",
    said="Cleanup (`--no-wait`, and no check after it)",
)
def deleted_is_gone(cluster: Cluster) -> Outcome:
    """Objects read after the lab deleted what it had added, against those of before it added them."""
    before, after = (everything(cluster.at(step)) for step in ("baseline", "cleanup"))
    for frame in (before, after):
        frame.insert(0, "arm", cluster.arm)
    left = leftovers(before, after)
    evidence = [*before["reply"], *after["reply"]]
    if left.empty:
        return supported("nothing is left that was not there before", evidence, left=0)
    kinds = ", ".join(f"{count} {kind}" for kind, count in left["kind"].value_counts().items())
    return refuted(
        f"{kinds} that were not there before the lab's steps are there after their deletion",
        evidence,
        left=len(left),
    )


@claim(
    "label-finds-all",
    "Everything that the lab made can be found, and told from everything else.",
    topic="cleanup",
    said="Cleanup (`kubectl delete namespace cni-test cilium-test`)",
)
def label_finds_all(cluster: Cluster) -> Outcome:
    """Every object in the lab's namespace carries labkit's label or is owned by one that does."""
    found = everything(cluster)
    mine = found[(found["namespace"] == cluster.namespace) | (found["name"] == cluster.namespace)]
    stray = mine[(mine["managed_by"] != "labkit").fillna(True) & mine["owner"].isna()]
    outside = made_here(cluster)
    outside = outside[(outside["kind"] != "Namespace") & (outside["namespace"] != cluster.namespace)]
    if len(stray) or len(outside):
        names = ", ".join([*stray["name"], *outside["name"]])
        return refuted(f"not told apart: {names}", found["reply"], stray=len(stray), outside=len(outside))
    return supported(f"{len(mine)} objects, all labelled or owned", found["reply"], objects=len(mine))


@claim(
    "one-command-cleans-both",
    "`kubectl delete namespace cni-test cilium-test` cleans up both clusters.",
    topic="cleanup",
    said="Cleanup",
)
def one_command_cleans_both(cluster: Cluster) -> Outcome:
    """It acts on the current context only; a recording has no contexts to switch."""
    return inconclusive(
        f"not recorded; kubectl acts on one context, so the namespaces of the clusters behind the others stay "
        f"(this arm is {cluster.source})"
    )


CLAIMS = (deleted_is_gone, label_finds_all, one_command_cleans_both)
