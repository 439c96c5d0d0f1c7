"""Tables of a TOML file into dataclasses, with every misspelt key and wrong type told at once."""

from __future__ import annotations

import difflib
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

__all__ = ["fill"]


def fill(
    shape: type[T],
    table: Mapping[str, Any],
    where: str,
    problems: list[str],
    *,
    over: T | None = None,
    also: Sequence[str] = (),
) -> T | None:
    """`table` as a `shape`, or `over` with what the table states. Adds what is wrong to `problems`, a sentence each.

    `also` are keys that are known at this place though the shape has no such field. Gives None where the
    table cannot be read as the shape.
    """
    hints, before = get_type_hints(shape), len(problems)
    known = [*hints, *also]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            near = difflib.get_close_matches(key, known, 1)
            problems.append(f"{where}: unknown key {key!r}" + (f"; is it {near[0]!r}?" if near else ""))
        elif not _fits(value, hints[key]):
            problems.append(f"{where}: {key} = {value!r} must be {_words(hints[key])}")
        else:
            values[key] = float(value) if float in (hints[key], *get_args(hints[key])) else value
    if over is None:
        needed = [f.name for f in fields(shape) if f.default is MISSING and f.default_factory is MISSING]
        problems += [f"{where}: {key} is missing" for key in needed if key not in table]
    if len(problems) > before:
        return None
    return shape(**values) if over is None else replace(over, **values)


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401  (a type, as get_type_hints gives it)
    kinds = get_args(hint) or (hint,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (isinstance(value, int) and float in kinds)


def _words(hint: Any) -> str:  # noqa: ANN401
    kind = next(k for k in get_args(hint) or (hint,) if k is not type(None))
    return {str: "a text in quotes", int: "a whole number", float: "a number", bool: "true or false"}[kind]
