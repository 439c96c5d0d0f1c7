"""Label and field selectors: which objects a query or a Service means.

Grammar: Kubernetes documentation, "Labels and Selectors"; fields as kubectl sends them (`metadata.name=x`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Labels = Mapping[str, str]

__all__ = ["by_fields", "by_labels", "selects", "term_matches"]

#: Not within parentheses.
COMMA = re.compile(r",(?![^(]*\))")
SET = re.compile(r"^(?P<key>\S+)\s+(?P<word>in|notin)\s+\((?P<values>[^)]*)\)$")
EQUALITY = re.compile(r"^(?P<key>[^!=\s]+)\s*(?P<word>==|=|!=)\s*(?P<value>\S*)$")
EXISTS = re.compile(r"^(?P<absent>!?)\s*(?P<key>[^!=\s()]+)$")


def by_labels(text: str) -> Callable[[Labels], bool]:
    """The test that a selector such as `app=backend,tier in (a,b),!legacy` makes. Raises ParameterError."""
    tests = [_label(part.strip()) for part in COMMA.split(text) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _label(part: str) -> Callable[[Labels], bool]:
    if found := SET.match(part):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        wanted = found["word"] == "in"
        return lambda labels: (labels.get(key) in values) == wanted
    if found := EQUALITY.match(part):
        key, value, wanted = found["key"], found["value"], found["word"] != "!="
        return lambda labels: (labels.get(key) == value) == wanted
    if found := EXISTS.match(part):
        key, wanted = found["key"], not found["absent"]
        return lambda labels: (key in labels) == wanted
    raise ParameterError(f"not a label selector: {part!r}")


def by_fields(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """The test of a field selector such as `metadata.name=x,spec.nodeName!=y`. Raises ParameterError."""
    tests = []
    for part in filter(None, text.split(",")):
        if (found := EQUALITY.match(part)) is None:
            raise ParameterError(f"not a field selector: {part!r}")
        tests.append((found["key"].split("."), found["value"], found["word"] != "!="))
    return lambda item: all((_field(item, path) == value) == wanted for path, value, wanted in tests)


def _field(item: Any, path: list[str]) -> str:  # noqa: ANN401
    for name in path:
        item = item.get(name, "") if isinstance(item, dict) else ""
    return str(item)


def selects(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a LabelSelector (`matchLabels`, `matchExpressions`) selects these labels; nothing selects nothing."""
    if selector is None:
        return False
    expressions = selector.get("matchExpressions") or ()
    return all(labels.get(k) == v for k, v in (selector.get("matchLabels") or {}).items()) and all(
        term_matches(each, labels) for each in expressions
    )


def term_matches(term: Mapping[str, Any], labels: Labels) -> bool:
    """One expression: key, operator, values. Raises ParameterError for an operator that is none."""
    value, values = labels.get(term["key"]), term.get("values") or ()
    match term["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case unknown:
            raise ParameterError(f"no operator of a selector: {unknown!r}")
