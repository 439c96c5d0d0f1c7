"""The whole tree of errors. Each says what happened, to which thing, and what to do about it.

LabError
├── SourceError              an arm or a source that cannot be had
├── RecordingError           a recording that cannot be trusted
│   └── RecordingFormatError     written in a format this labkit does not read
├── RequestError             carries the request
│   ├── ReplayMiss               the recording does not hold this request
│   ├── NoTarget                 there is no such node, pod or container (any more)
│   ├── ApiError                 the API server said no: status, reason, message
│   ├── ConnectionLost           no answer came, or one that may be cut
│   ├── CommandError             the command ran and failed; carries the reply
│   └── TimeLimit                cut off before it ended; carries the reply
├── MissingFeature           the arm has no such thing: a reason for `inconclusive`, not a defect
├── ParseError               tool, line and excerpt of what could not be read
├── SchemaError              rows that do not fit their declared frame
├── ParameterError           an unknown or malformed parameter of a notebook or a run
│   └── PlanError                a plan of arms that cannot be carried out; everything wrong with it
├── ProvisionError           arms that were not set up or taken down as asked; what exists now
│   ├── OwnershipError           a thing of that name exists and belongs to someone else
│   ├── NotReady                 a state of an arm that did not come about in time, and why
│   └── AzureError               Azure said no: its code, and the remedy
├── ParityError              arms differ in what must be equal before anything is measured
├── NotebookError            a notebook and the cell that failed
└── ReportError              a run that cannot be rendered
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.exec.request import Reply, Request

__all__ = [
    "ApiError",
    "AzureError",
    "CommandError",
    "ConnectionLost",
    "LabError",
    "MissingFeature",
    "NoTarget",
    "NotReady",
    "NotebookError",
    "OwnershipError",
    "ParameterError",
    "ParityError",
    "ParseError",
    "PlanError",
    "ProvisionError",
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


class NoTarget(RequestError):
    """There is no such node, pod or container (any more)."""


class ApiError(RequestError):
    """The API server said no. `status` is that of HTTP, `reason` Kubernetes' own word (Forbidden, NotFound, …)."""

    def __init__(self, message: str, request: Request, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message, request)
        self.status, self.reason = status, reason


class ConnectionLost(RequestError):
    """No answer came, or one that may be cut; it is not passed on as whole."""


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


class PlanError(ParameterError):
    """A plan that cannot be carried out. `problems` is everything that is wrong with it, a sentence each."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        super().__init__(f"{name} cannot be carried out:\n" + "\n".join(f"  {p}" for p in problems))
        self.problems = list(problems)


class ProvisionError(LabError):
    """Arms that were not set up or taken down as asked. `left` is what exists now, as one would name it."""

    def __init__(self, message: str, left: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.left = list(left)


class OwnershipError(ProvisionError):
    """A resource of that name exists and is not this plan's. It is never changed or deleted."""


class NotReady(ProvisionError):
    """What an arm needed did not come about in time: what was awaited, what was lacking, and why."""


class AzureError(ProvisionError):
    """Azure said no, or did not answer.

    `status` is that of HTTP, if it came to that; `code` is Azure's own; `about` a word for what is known of
    it (quota, version, throttled, busy, …), empty where nothing is.
    """

    def __init__(
        self, doing: str, problem: str, remedy: str, *, status: int | None, code: str, about: str = ""
    ) -> None:
        said = ", ".join(str(part) for part in (code, status) if part)
        super().__init__(f"{doing}: {problem}{f' ({said})' if said else ''}\n  {remedy}")
        self.doing, self.problem, self.remedy = doing, problem, remedy
        self.status, self.code, self.about = status, code, about


class ParityError(LabError):
    """Arms differ in what must be equal, so a difference between them might not come from the dataplane."""

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(
            f"the arms differ in {', '.join(fields)}; set the arms up alike, or state that it may differ: "
            + " ".join(f"--allow '{name}'" for name in fields)
        )
        self.fields = list(fields)


class NotebookError(LabError):
    """A notebook that stopped at a cell."""

    def __init__(self, notebook: str, cell: int, message: str) -> None:
        super().__init__(f"{notebook}, cell {cell}: {message}")
        self.notebook, self.cell, self.message = notebook, cell, message


class ReportError(LabError):
    """A run that cannot be rendered."""
