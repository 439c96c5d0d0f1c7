"""Our ratios beside those that others have published: inside their range, outside it, or too vague to say.

inside         the whole interval lies in the range
outside        the whole interval lies beyond it: `look_at` says where the cause is to be looked for
unknown        the interval holds an edge of the range, or there is none
not measured   there is no such ratio among ours
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    Row = dict[Hashable, Any]

__all__ = ["beside", "of_turns"]

COLUMNS = [
    "id", "statement", "measure", "path", "arm", "reference", "ratio", "low", "high", "expected_low",
    "expected_high", "verdict", "look_at", "source",
]  # fmt: skip


def beside(shapes: pd.DataFrame, ratios: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Every shape with each of our ratios that is one of its kind: columns COLUMNS.

    `shapes` is `reference_shapes()`. `ratios` holds `measure`, `path`, `arm`, `reference`, `ratio`, `low`,
    `high`: the arm over the reference, which may be arms or ways of measuring within one (then `within` names
    the arm). `better` (`higher` where it is missing) is `lower` for times; such ratios are turned round, as
    shapes are of rates. An arm against itself is its own reference. `kinds` says of what kind each arm is
    (overlay, cilium, cilium-bpfveth, …). Where one of ours is the reverse of a shape, it is turned round too.
    """
    ours = [_as_rate(row) for row in ratios.to_dict("records")]
    rows = []
    for shape in shapes.to_dict("records"):
        found = list(_of(shape, ours, kinds))
        rows += [_row(shape, one) for one in found] or [_not_measured(shape)]
    return pd.DataFrame(rows, columns=COLUMNS)


def of_turns(arms: pd.DataFrame, hosts: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """The ratios of what was measured in turns, as `beside` takes them.

    `arms`, `hosts` and `floors` are `turns.contrasts`, `turns.of_host` and `turns.floors`: arms against each other
    by the addresses of pods, ways of addressing against the nodes themselves within each arm, each arm against
    itself. Only what ran at full speed: at a fixed rate the rate is no answer.
    """
    sides = (
        arms[arms["by"] == "pod-ip"].assign(within=""),
        hosts.assign(within=hosts["arm"], arm=hosts["by"]),
        floors[floors["by"] == "pod-ip"].assign(within=floors["arm"], reference=floors["arm"]),
    )
    names = ["pattern", "place", "within", "arm", "reference", "ratio", "low", "high", "measure", "load"]
    every = pd.concat([side[names] for side in sides], ignore_index=True)
    full = every[every["load"] == 0].rename(
        columns={"measure": "better", "pattern": "measure", "place": "path"}
    )
    full["better"] = full["better"].map(lambda name: "lower" if name.endswith("_us") else "higher")
    return full.drop(columns="load").reset_index(drop=True)


def _as_rate(row: Row) -> Row:
    return _reversed(row) if row.get("better") == "lower" else row


def _reversed(row: Row) -> Row:
    return row | {"ratio": 1 / row["ratio"], "low": 1 / row["high"], "high": 1 / row["low"]}


def _of(shape: Row, ours: Iterable[Row], kinds: Mapping[str, str]) -> Iterator[Row]:
    wanted = shape["numerator"], shape["denominator"]
    for row in ours:
        if any(shape[name] not in ("", row[name]) for name in ("measure", "path")):
            continue
        if shape["within"] not in ("", kinds.get(row.get("within", ""))):
            continue
        arm, reference = row["arm"], row["reference"]
        sides = (kinds.get(arm, arm), kinds.get(reference, reference))
        if arm == reference:
            sides = ("itself", "itself")
        if sides == wanted:
            yield row
        elif sides == wanted[::-1]:
            yield _reversed(row) | {"arm": reference, "reference": arm}


def _row(shape: Row, ours: Row) -> Row:
    verdict = _verdict(ours["low"], ours["high"], shape["low"], shape["high"])
    return _not_measured(shape) | {
        **{name: ours[name] for name in ("measure", "path", "arm", "reference", "ratio", "low", "high")},
        "verdict": verdict,
        "look_at": shape["look_at"] if verdict == "outside" else "",
    }


def _not_measured(shape: Row) -> Row:
    return {
        **{name: shape[name] for name in ("id", "statement", "measure", "path", "source")},
        "arm": shape["numerator"],
        "reference": shape["denominator"],
        **dict.fromkeys(("ratio", "low", "high"), math.nan),
        "expected_low": shape["low"],
        "expected_high": shape["high"],
        "verdict": "not measured",
        "look_at": "",
    }


def _verdict(low: float, high: float, expected_low: float, expected_high: float) -> str:
    if expected_low <= low and high <= expected_high:
        return "inside"
    if high < expected_low or low > expected_high:
        return "outside"
    return "unknown"
