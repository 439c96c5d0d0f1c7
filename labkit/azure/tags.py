"""Whose a resource is. Only what carries all four tags, with this run and this owner, is ever changed or deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import labkit
from labkit.errors import OwnershipError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.provision.plan import Plan

__all__ = ["NAMES", "expiry", "is_ours", "kept", "made", "refuse_unless_ours"]

NAMES = ("labkit", "run", "owner", "expiry")
STAMP = "%Y-%m-%dT%H:%M:%SZ"

Tags = dict[str, str]


def made(plan: Plan, now: datetime) -> Tags:
    """The tags of a run that begins now."""
    ends = (now.astimezone(UTC) + plan.lifetime).strftime(STAMP)
    return {"labkit": labkit.__version__, "run": plan.name, "owner": plan.owner, "expiry": ends}


def kept(tags: Mapping[str, str]) -> Tags:
    """Ours among the tags of a resource. Azure does not tell the case of a tag's name apart."""
    lower = {name.lower(): value for name, value in tags.items()}
    return {name: lower[name] for name in NAMES if name in lower}


def is_ours(tags: Mapping[str, str] | None, run: str, owner: str) -> bool:
    """Whether all four tags are there, with this run and owner."""
    found = kept(tags or {})
    return found.keys() == set(NAMES) and (found["run"], found["owner"]) == (run, owner)


def refuse_unless_ours(what: str, tags: Mapping[str, str] | None, plan: Plan) -> None:
    """Raises OwnershipError, which says whose it is instead."""
    if is_ours(tags, plan.name, plan.owner):
        return
    found = kept(tags or {})
    whose = ", ".join(f"{name}={value}" for name, value in found.items()) if found else "no tag of labkit"
    raise OwnershipError(
        f"{what} exists and is not this plan's (it carries {whose}; this is run={plan.name}, "
        f"owner={plan.owner}). It is left alone; give the plan another name"
    )


def expiry(tags: Mapping[str, str] | None) -> datetime | None:
    """When it expires; None where the tag is missing or unreadable, which is not the same as expired."""
    try:
        return datetime.strptime(kept(tags or {}).get("expiry", ""), STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
