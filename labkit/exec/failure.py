"""Errors as plain JSON values: across a socket, and in what a recording keeps of requests without a reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit import errors
from labkit.errors import LabError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.exec.request import Request

__all__ = ["error_from", "told"]


def told(error: LabError) -> dict[str, Any]:
    """An error as JSON values: its name, its message, and what else it carries."""
    details: dict[str, Any] = {}
    if isinstance(error, errors.ApiError):
        details = {"status": error.status, "reason": error.reason}
    if isinstance(error, errors.MissingFeature):
        details = {"arm": error.arm, "reason": error.reason}
    return {"error": type(error).__name__, "message": str(error), "details": details}


def error_from(data: Mapping[str, Any], request: Request) -> LabError:
    """The error that was told of; one that carries a request carries this one.

    One that carries a reply is told as a plain RequestError: the reply does not come along.
    """
    kind: Any = getattr(errors, data["error"], RequestError)
    if kind in (errors.CommandError, errors.TimeLimit):
        kind = RequestError
    if issubclass(kind, RequestError):
        found: LabError = kind(data["message"], request, **data["details"])
    else:
        found = kind(*data["details"].values()) if data["details"] else kind(data["message"])
    return found
