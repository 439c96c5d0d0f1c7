"""What a plan costs: hours are counted, prices are the plan's. A price that the plan does not state is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

    from labkit.provision.plan import Arm, Plan

__all__ = ["ESTIMATE", "assumptions", "estimate"]

ESTIMATE = Schema("estimate", "What the arms of a plan cost until they expire.", key=(), columns=(
    Column("arm", "str", "the arm that is created"),
    Column("vm_size", "str", "the size of its nodes"),
    Column("nodes", "Int64", "how many"),
    Column("hours", "float64", "until it expires"),
    Column("node_hours", "float64", "nodes times hours"),
    Column("acns", "boolean", "whether the paid add-on runs on its nodes"),
    Column("cost", "float64", "in the plan's currency; NA where the plan lacks a price that it needs"),
    Column("currency", "str", "as the plan states it"),
    Column("lacks", "str", "the prices that the plan does not state, comma-separated"),
))  # fmt: skip


def estimate(plan: Plan) -> pd.DataFrame:
    """A row for each arm that is created (a moved arm is another one's cluster)."""
    return ESTIMATE.frame(_row(plan, arm) for arm in plan.created)


def assumptions(plan: Plan) -> list[str]:
    """What the estimate takes for granted, a sentence each."""
    said = [
        f"all arms run for {plan.hours:g} hours, from `up` to their expiry; `labkit down` ends it earlier",
        "nodes are billed by the hour from their start; prices are those of the plan, and labkit knows no others",
        "not counted: disks, public address and load balancer, traffic, Log Analytics, taxes and discounts",
    ]
    if any(arm.pins.tier == "Free" for arm in plan.created):
        said.append("the Free tier bills nothing for the control plane")
    if plan.moved:
        said.append("a moved arm is the same cluster measured later; moving starts every node anew")
    return said


def _row(plan: Plan, arm: Arm) -> dict[str, object]:
    prices, nodes = plan.prices, arm.pins.nodes
    needed = {"node": nodes}
    if arm.pins.tier != "Free":
        needed["cluster"] = 1
    if arm.is_a.acns:
        needed["acns_node"] = nodes
    lacks = [name for name in needed if getattr(prices, name) is None]
    cost = (
        None if lacks else sum(count * getattr(prices, name) * plan.hours for name, count in needed.items())
    )
    return {
        "arm": arm.name,
        "vm_size": arm.pins.vm_size,
        "nodes": nodes,
        "hours": plan.hours,
        "node_hours": nodes * plan.hours,
        "acns": arm.is_a.acns,
        "cost": cost,
        "currency": prices.currency,
        "lacks": ", ".join(f"prices.{name}" for name in lacks),
    }
