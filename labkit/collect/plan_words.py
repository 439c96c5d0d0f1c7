"""How much is measured, in the words of whoever starts a run: `quick`, `full`, `full:services=1,100,20000`."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from labkit.collect.plan import FULL, QUICK, Plan
from labkit.errors import ParameterError

__all__ = ["PLANS", "named"]

PLANS = {"quick": QUICK, "full": FULL}
#: Parts that words can set: those that hold a number or several.
SETTABLE = tuple(field.name for field in fields(Plan) if field.type in ("int", "tuple[int, ...]"))


def named(words: str) -> Plan:
    """The plan that is meant: a name, and parts set anew behind colons.

    Raises ParameterError for a name, a part or a value that there is not, and for what no plan can be.
    """
    name, *parts = words.split(":")
    if name not in PLANS:
        raise ParameterError(f"no plan {name!r}; there are: {', '.join(PLANS)}")
    return replace(PLANS[name], **dict(_part(part) for part in parts))


def _part(words: str) -> tuple[str, Any]:
    name, _, value = words.partition("=")
    if name not in SETTABLE:
        raise ParameterError(f"no part {name!r} of a plan can be set; these can: {', '.join(SETTABLE)}")
    several = isinstance(getattr(FULL, name), tuple)
    try:
        return name, tuple(int(one) for one in value.split(",") if one) if several else int(value)
    except ValueError:
        raise ParameterError(
            f"{words}: not whole numbers, as services=1,100,1000 or repetitions=6 have them"
        ) from None
