"""What clean-up would do with each object, and what an earlier clean-up has left."""

from __future__ import annotations

import pandas as pd

__all__ = ["leftovers", "plan"]


def plan(made: pd.DataFrame) -> pd.DataFrame:
    """What to do with the objects that labkit made (frame OBJECTS of one or more arms, with `arm`).

    Deleting a namespace deletes what is in it, and deleting a controller what it owns, so only the
    uppermost object is deleted by name. Gives a row for each arm, kind and action, with a count and names.
    """
    spaces = set(made.loc[made["kind"] == "Namespace", "name"])
    action = pd.Series("delete by name", index=made.index, dtype="str")
    action = action.mask(made["owner"].notna(), "goes with its owner")
    action = action.mask(made["namespace"].isin(spaces), "goes with its namespace")
    rows = made.assign(action=action)
    groups = rows.groupby(["arm", "action", "kind"], sort=False)["name"]
    table = groups.agg(objects="size", names=_some).reset_index()
    return table.sort_values(["arm", "action", "kind"], kind="stable", ignore_index=True)


def leftovers(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Objects of `after` that were not there `before` (frames OBJECTS with `arm`): what was not removed."""
    key = ["arm", "kind", "namespace", "name"]
    merged = after.merge(before[key], on=key, how="left", indicator=True)
    return merged[merged["_merge"] == "left_only"].drop(columns="_merge").reset_index(drop=True)


def _some(names: pd.Series[str]) -> str:
    shown = ", ".join(names.head(3))
    return shown if len(names) <= 3 else f"{shown}, … ({len(names) - 3} more)"
