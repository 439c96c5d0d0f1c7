"""Set the arms up: the group, then all clusters at once. What is there already is kept, what was begun goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.azure import bodies, tags
from labkit.azure.building import STOPPED, Building, await_all, dataplane_of, failure, state_of
from labkit.azure.drift import drift
from labkit.errors import AzureError, ProvisionError

if TYPE_CHECKING:
    from labkit.azure.clients import Clients, Found
    from labkit.provision.pace import Pace, Watch
    from labkit.provision.plan import Arm, Plan
    from labkit.provision.state import State

__all__ = ["up"]

#: A group that was just created may be unknown to the next machine that answers.
ATTEMPTS = 5


def up(plan: Plan, clients: Clients, state: State, watch: Watch, pace: Pace) -> dict[str, Found]:
    """Create what is missing and wait until every arm stands; gives each arm's cluster, as Azure describes it.

    A cluster that was moved is told under the name of the arm that it has become.
    A second call finds everything there and changes nothing. Raises OwnershipError where the group or a
    cluster of that name is not this plan's, and ProvisionError where arms could not be set up: it says why,
    for each, and what exists now. The others are still waited for, so that one `up` tells everything.
    """
    marks = _own_group(plan, clients, state, watch, pace)
    buildings: list[Building] = []
    failed: dict[str, ProvisionError] = {}
    for arm in plan.created:
        building = Building(arm, bodies.group_name(plan), clients, pace.clock())
        try:
            _begin(plan, building, state, marks, pace)
            buildings.append(building)
        except ProvisionError as error:
            failed[arm.name] = error
            watch.told(arm.name, "failed", str(error).splitlines()[0])
    failed |= await_all(buildings, watch, pace)
    standing = [building for building in buildings if building.arm.name not in failed]
    for building in standing:
        state.note(building.arm.name, stage="ready")
    if failed:
        raise failure(plan, clients, failed)
    return {_is_now(plan, building).name: building.found for building in standing}


def _is_now(plan: Plan, building: Building) -> Arm:
    moved = [arm for arm in plan.moved if arm.of == building.arm.name]
    return moved[0] if moved and dataplane_of(building.found) == "cilium" else building.arm


def _own_group(plan: Plan, clients: Clients, state: State, watch: Watch, pace: Pace) -> tags.Tags:
    """The tags of the run's group, which is created where there is none. An expiry once set is kept."""
    name = bodies.group_name(plan)
    found = clients.group(name)
    if found is None:
        marks = tags.made(plan, pace.now())
        state.note(group=name, expiry=marks["expiry"])
        watch.told(name, "Creating", f"resource group in {plan.region}, expires {marks['expiry']}")
        clients.create_group(name, bodies.group(plan, marks))
        return marks
    tags.refuse_unless_ours(f"the resource group {name}", found.get("tags"), plan)
    if state_of(found) == "Deleting":
        raise ProvisionError(
            f"the resource group {name} is being deleted; run `labkit down` until it is gone"
        )
    marks = tags.kept(found["tags"])
    state.note(group=name, expiry=marks["expiry"])
    watch.told(name, "there", f"expires {marks['expiry']}")
    return marks


def _begin(plan: Plan, building: Building, state: State, marks: tags.Tags, pace: Pace) -> None:
    arm, body = building.arm, bodies.cluster(plan, building.arm, marks)
    found = building.clients.cluster(building.group, arm.cluster, bodies.api_version(arm))
    if found is not None:
        tags.refuse_unless_ours(f"the cluster {arm.cluster}", found.get("tags"), plan)
        if state_of(found) == "Deleting":
            raise ProvisionError("it is being deleted; run `labkit down`, then `labkit up`")
        if state_of(found) not in STOPPED:
            building.found = found
            return _refuse_drift(plan, building, body)
    state.note(
        arm.name, stage="creating", cluster=arm.cluster, managed_group=bodies.managed_group_name(plan, arm)
    )
    for attempt in range(ATTEMPTS):
        try:
            return building.begin(body)
        except AzureError as error:
            if error.code != "ResourceGroupNotFound" or attempt == ATTEMPTS - 1:
                raise
        pace.wait(pace.every_s)
    return None


def _flat(cluster: Found) -> Found:
    return {"location": cluster.get("location"), "sku": cluster.get("sku"), **cluster["properties"]}


def _refuse_drift(plan: Plan, building: Building, body: bodies.Body) -> None:
    """A cluster that stands is never changed by `up`: a change would start anew what is being measured."""
    arm, found = building.arm, building.found
    is_now = _is_now(plan, building)
    if is_now is not arm:
        body = bodies.cluster(plan, is_now, tags.kept(found["tags"]))
    differs = drift(_flat(body), _flat(found))
    if differs:
        raise ProvisionError(
            f"the cluster {arm.cluster} stands already and is not what the plan says: {'; '.join(differs)}. "
            "`labkit up` changes nothing that stands: go back to the plan it was made of, or take it down first"
        )
