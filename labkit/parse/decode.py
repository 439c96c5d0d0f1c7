"""Bytes to text or JSON, loudly: what cannot be decoded raises ParseError with the tool's name."""

from __future__ import annotations

import json
from typing import Any

from labkit.errors import ParseError

__all__ = ["json_lines", "json_list", "json_object", "json_of", "text_of"]


def text_of(tool: str, data: bytes) -> str:
    """The output as UTF-8 text."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        excerpt = data[max(0, error.start - 20) : error.start + 20].decode("utf-8", errors="replace")
        raise ParseError(tool, f"byte {error.start} is not UTF-8", excerpt=excerpt) from None


def json_of(tool: str, data: bytes) -> Any:  # noqa: ANN401  (JSON is any of six types)
    """The output as JSON. Empty output is an error: a tool that has nothing to say prints `[]` or `{}`."""
    text = text_of(tool, data)
    if not text.strip():
        raise ParseError(tool, "empty output where JSON was expected")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        excerpt = text[max(0, error.pos - 20) : error.pos + 60]
        raise ParseError(tool, error.msg, line=error.lineno, excerpt=excerpt) from None


def json_list(tool: str, data: bytes) -> list[Any]:
    """The output as a JSON list."""
    value = json_of(tool, data)
    if not isinstance(value, list):
        raise ParseError(tool, f"a JSON list was expected, got {type(value).__name__}", excerpt=str(value))
    return value


def json_object(tool: str, data: bytes) -> dict[str, Any]:
    """The output as a JSON object."""
    value = json_of(tool, data)
    if not isinstance(value, dict):
        raise ParseError(tool, f"a JSON object was expected, got {type(value).__name__}", excerpt=str(value))
    return value


def json_lines(tool: str, data: bytes) -> list[tuple[int, Any]]:
    """Line number and value of each JSON line; empty lines are skipped."""
    values = []
    for number, line in enumerate(text_of(tool, data).splitlines(), 1):
        if not line.strip():
            continue
        try:
            values.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            raise ParseError(tool, error.msg, line=number, excerpt=line) from None
    return values
