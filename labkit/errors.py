"""The whole tree of errors. Each says what happened, to which thing, and what to do about it.

LabError
├── SourceError              an arm or a source that cannot be had
├── RecordingError           a recording that cannot be trusted
│   └── RecordingFormatError     written in a format this labkit does not read
├── RequestError             carries the request
│   ├── ReplayMiss               the recording does not hold this request
│   ├── CommandError             the command ran and failed; carries the reply
│   └── TimeLimit                cut off before it ended; carries the reply
├── MissingFeature           the arm has no such thing: a reason for `inconclusive`, not a defect
├── ParseError               tool, line and excerpt of what could not be read
├── SchemaError              rows that do not fit their declared frame
├── ParameterError           an unknown or malformed parameter of a notebook or a run
├── NotebookError            a notebook and the cell that failed
└── ReportError              a run that cannot be rendered
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.exec.request import Reply, Request

__all__ = [
    "CommandError",
    "LabError",
    "MissingFeature",
    "NotebookError",
    "ParameterError",
    "ParseError",
    "RecordingError",
    "RecordingFormatError",
    "ReplayMiss",
    "ReportError",
    "RequestError",
    "SchemaError",
    "SourceError",
    "TimeLimit",
]


class LabError(Exception):
    """Base of every error that labkit raises on purpose."""


class SourceError(LabError):
    """An arm or a source that cannot be had."""


class RecordingError(LabError):
    """A recording that cannot be trusted: truncated, altered, or with a part missing."""


class RecordingFormatError(RecordingError):
    """A recording written in a format that this labkit does not read."""


class RequestError(LabError):
    """A request that got no usable reply."""

    def __init__(self, message: str, request: Request) -> None:
        super().__init__(message)
        self.request = request


class ReplayMiss(RequestError):
    """The recording does not hold this request. A replay never asks anything else instead."""


class CommandError(RequestError):
    """The command ran and failed."""

    def __init__(self, reply: Reply) -> None:
        tail = " | ".join(reply.stderr.decode(errors="replace").strip().splitlines()[-3:])
        super().__init__(
            f"{reply.request.words} exited {reply.exit_code} on {reply.request.subject} "
            f"(reply {reply.id}): {tail or 'no message on stderr'}",
            reply.request,
        )
        self.reply = reply


class TimeLimit(RequestError):
    """The command was cut off by its time limit."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(
            f"{reply.request.words} on {reply.request.subject} was cut off after {reply.duration_s:.1f} s "
            f"(reply {reply.id}); what it printed until then is in the reply",
            reply.request,
        )
        self.reply = reply


class MissingFeature(LabError):
    """The arm has no such thing. Becomes `inconclusive` with this reason, never a failure or a pass."""

    def __init__(self, arm: str, reason: str) -> None:
        super().__init__(f"{reason} (arm {arm})")
        self.arm = arm
        self.reason = reason


class ParseError(LabError):
    """Output that a parser cannot read. It never becomes a number instead."""

    def __init__(self, tool: str, problem: str, *, line: int | None = None, excerpt: str = "") -> None:
        at = "" if line is None else f", line {line}"
        shown = f": {excerpt[:120]!r}" if excerpt else ""
        super().__init__(f"cannot read the output of {tool}{at}: {problem}{shown}")
        self.tool, self.problem, self.line, self.excerpt = tool, problem, line, excerpt


class SchemaError(LabError):
    """Rows that do not fit the frame they were declared for."""


class ParameterError(LabError):
    """An unknown or malformed parameter."""


class NotebookError(LabError):
    """A notebook that stopped at a cell."""

    def __init__(self, notebook: str, cell: int, message: str) -> None:
        super().__init__(f"{notebook}, cell {cell}: {message}")
        self.notebook, self.cell, self.message = notebook, cell, message


class ReportError(LabError):
    """A run that cannot be rendered."""
