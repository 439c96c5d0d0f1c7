"""Take the arms down: everything of one run, or everything of one person that has expired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from labkit.azure import bodies, tags
from labkit.azure.building import state_of
from labkit.azure.removal import Left, Removal, contents, manager_group
from labkit.provision import kubeconfig
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from labkit.azure.clients import Clients, Found
    from labkit.provision.pace import Pace, Watch
    from labkit.provision.plan import Plan
    from labkit.provision.state import State

__all__ = ["GROUPS", "INSIDE", "Status", "down", "forget", "groups", "inside", "reap", "to_remove"]

Status = Literal["expired", "alive", "someone else's", "not readable"]

GROUPS = Schema("azure_groups", "Resource groups that carry labkit's tags.", key=("group",), columns=(
    Column("group", "str", "its name"),
    Column("run", "str", "tag: the plan that it was made for"),
    Column("owner", "str", "tag: who made it"),
    Column("expiry", "str", "tag: when it may be reaped, UTC"),
    Column("state", "str", "what Azure says has become of it"),
    Column("managed_for", "str", "the group of the cluster that AKS manages it for; empty for a run's own"),
    Column("status", "str", "expired, alive, someone else's, or not readable: its expiry says nothing"),
))  # fmt: skip
INSIDE = Schema("azure_resources", "What is in a resource group.", key=("group", "type", "resource"), columns=(
    Column("group", "str", "the group"),
    Column("type", "str", "as Azure names it"),
    Column("resource", "str", "its name"),
    Column("ours", "boolean", "whether it carries all four tags, with the run and owner of the plan"),
))  # fmt: skip


def groups(clients: Clients, owner: str, now: datetime) -> pd.DataFrame:
    """Every resource group of the subscription that carries labkit's tags, whoever made it."""
    return GROUPS.frame(
        _row(found, owner, now)
        for found in clients.groups()
        if "labkit" in tags.kept(found.get("tags") or {})
    )


def inside(clients: Clients, plan: Plan) -> pd.DataFrame:
    """What `down` would remove: what is in the group of a plan; no row where there is no such group."""
    name = bodies.group_name(plan)
    return INSIDE.frame(
        {
            "group": name,
            "type": found["type"],
            "resource": found["name"],
            "ours": tags.is_ours(found.get("tags"), plan.name, plan.owner),
        }
        for found in contents(clients, name)
    )


def down(
    plan: Plan, clients: Clients, state: State, watch: Watch, pace: Pace, *, merged: Path | None = None
) -> list[Left]:
    """Remove everything of a plan, and wait until it answers 404; gives what is left, with the reason.

    Raises OwnershipError where the group of that name is not this plan's. `merged` is a kubeconfig of the
    person that the contexts were merged into.
    """
    name = bodies.group_name(plan)
    found = clients.group(name)
    if found is not None:
        tags.refuse_unless_ours(f"the resource group {name}", found.get("tags"), plan)
    managed = {bodies.managed_group_name(plan, arm) for arm in plan.created}
    managed |= {arm["managed_group"] for arm in state.arms.values() if "managed_group" in arm}
    left = Removal(plan.name, plan.owner, clients, watch, pace).remove([name], managed)
    if not left:
        forget(plan, state, merged)
    return left


def reap(names: Iterable[str], clients: Clients, owner: str, watch: Watch, pace: Pace) -> list[Left]:
    """Remove expired groups, of those named, that are this owner's. They were shown before, by `groups`.

    Whether each has expired is read again now: somebody may have given it a new expiry since.
    """
    left: list[Left] = []
    chosen = to_remove(groups(clients, owner, pace.now()))
    for run, own in chosen[chosen["group"].isin(list(names))].groupby("run"):
        orphan = own["managed_for"] != ""
        removal = Removal(str(run), owner, clients, watch, pace)
        left += removal.remove(own[~orphan]["group"], own[orphan]["group"])
    return left


def to_remove(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of `groups` that `reap` removes: expired, this owner's, and not managed for a group that is there."""
    managed = found["managed_for"].str.lower().isin(found["group"].str.lower())
    return found[(found["status"] == "expired") & ~managed].reset_index(drop=True)


def forget(plan: Plan, state: State, merged: Path | None) -> None:
    """Remove the credentials of clusters that are gone."""
    state.kubeconfig.unlink(missing_ok=True)
    if merged is not None:
        kubeconfig.remove(merged, [plan.context(arm) for arm in plan.created])
    if state.arms or state.about.get("group"):
        state.arms.clear()
        state.note(stage="removed")


def _row(found: Found, owner: str, now: datetime) -> dict[str, str]:
    marks, ends = tags.kept(found.get("tags") or {}), tags.expiry(found.get("tags"))
    status: Status = "alive" if ends and ends > now else "expired"
    if ends is None or not marks.get("run"):
        status = "not readable"
    if marks.get("owner") != owner:
        status = "someone else's"
    return {
        "group": found["name"],
        "run": marks.get("run", ""),
        "owner": marks.get("owner", ""),
        "expiry": marks.get("expiry", ""),
        "state": state_of(found),
        "managed_for": manager_group(found),
        "status": status,
    }
