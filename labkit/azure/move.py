"""Before and after: move the cluster of an overlay arm to Cilium's dataplane. There is no way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.azure import bodies, tags
from labkit.azure.building import STOPPED, Building, await_all, dataplane_of, failure, state_of
from labkit.errors import PlanError, ProvisionError

if TYPE_CHECKING:
    from labkit.azure.clients import Clients, Found
    from labkit.provision.pace import Pace, Watch
    from labkit.provision.plan import Arm, Plan
    from labkit.provision.state import State

__all__ = ["WARNING", "move", "moved_arm"]

WARNING = (
    "moving the cluster {cluster} to Cilium's dataplane cannot be undone: every node starts anew at once, "
    "policies are enforced only when all have, and what was measured on it before is not measurable again"
)


def moved_arm(plan: Plan, name: str) -> Arm:
    """The arm of that name, if it is one that a cluster is moved to. Raises PlanError."""
    arm = plan.arms.get(name)
    if arm is None or not arm.of:
        known = ", ".join(a.name for a in plan.moved) or "none; write of = 'overlay' in the table of an arm"
        raise PlanError(plan.name, [f"{name!r} is no arm that a cluster is moved to; those are: {known}"])
    return arm


def move(plan: Plan, name: str, clients: Clients, state: State, watch: Watch, pace: Pace) -> Found:
    """Update the cluster and wait; gives it as Azure describes it then.

    Does nothing where it is moved already, and goes on waiting where that is under way. Raises
    ProvisionError where there is no such cluster, where it does not stand, or where Azure refuses.
    """
    arm, group = moved_arm(plan, name), bodies.group_name(plan)
    found = clients.cluster(group, arm.cluster)
    if found is None:
        raise ProvisionError(f"there is no cluster {arm.cluster} to move; `labkit up` creates it")
    tags.refuse_unless_ours(f"the cluster {arm.cluster}", found.get("tags"), plan)
    building = Building(arm, group, clients, pace.clock(), found, verb="moving")
    moved, stands = dataplane_of(found) == "cilium", state_of(found)
    if not moved and stands != "Succeeded":
        raise ProvisionError(f"the cluster {arm.cluster} is {stands}; run `labkit up` until it stands")
    if not moved or stands in STOPPED:
        state.note(name, stage="moving", cluster=arm.cluster)
        building.begin(bodies.cluster(plan, arm, tags.kept(found["tags"])))
    failed = await_all([building], watch, pace)
    if failed:
        raise failure(plan, clients, failed)
    state.note(name, stage="ready", cluster=arm.cluster)
    return building.found
