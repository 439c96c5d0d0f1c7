"""Requests and replies: one question to a cluster, and its answer.

The identity of a request is what it asks (`kind` and its fields), the step it was asked in and the
number of its repetition there (`sample`). The JSON form is the one of recording format 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from labkit.errors import RecordingError
from labkit.exec.output import pieces

if TYPE_CHECKING:
    from datetime import datetime
    from mmap import mmap

    from labkit.exec.output import Output

__all__ = ["Apply", "Delete", "Exec", "Logs", "Read", "Reply", "Request", "request_from_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What all requests share: the step they belong to and the number of the repetition."""

    kind: ClassVar[str]
    step: str
    sample: int = 0

    def to_json(self) -> dict[str, Any]:
        """The `request` member of a recorded line (the step stands beside it)."""
        return {"kind": self.kind, **self._fields(), "sample": self.sample}

    def _fields(self) -> dict[str, Any]:
        raise TypeError(self.kind)  # every request is one of the classes below

    @property
    def subject(self) -> str:
        """What it was asked of: a target, or the API server."""
        return "the API server"

    @property
    def words(self) -> str:
        """The question as one would type it."""
        raise TypeError(self.kind)

    @property
    def key(self) -> str:
        """The identity as a canonical string."""
        return self.step + " " + json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec(Request):
    """A command on a target: `node/<name>` or `pod/<namespace>/<name>/<container>`."""

    kind: ClassVar[str] = "exec"
    target: str
    argv: tuple[str, ...]

    def _fields(self) -> dict[str, Any]:
        return {"target": self.target, "argv": list(self.argv)}

    @property
    def subject(self) -> str:
        return self.target

    @property
    def words(self) -> str:
        return " ".join(self.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Request):
    """A GET of an API path."""

    kind: ClassVar[str] = "read"
    path: str

    def _fields(self) -> dict[str, Any]:
        return {"path": self.path}

    @property
    def words(self) -> str:
        return f"GET {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs(Request):
    """The last lines of a container's log."""

    kind: ClassVar[str] = "logs"
    target: str
    tail: int

    def _fields(self) -> dict[str, Any]:
        return {"target": self.target, "tail": self.tail}

    @property
    def subject(self) -> str:
        return self.target

    @property
    def words(self) -> str:
        return f"logs --tail={self.tail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change(Request):
    """`manifest` is the objects themselves as a JSON array: what an executor sends. It is neither part of
    the identity nor recorded, and empty in a request that was read from a recording."""

    objects: tuple[str, ...]
    manifest: str = field(default="[]", compare=False, repr=False)

    def _fields(self) -> dict[str, Any]:
        return {"objects": list(self.objects)}

    @property
    def words(self) -> str:
        return f"{self.kind} {' '.join(self.objects)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(_Change):
    """A server-side apply of named objects (`Kind/name`)."""

    kind: ClassVar[str] = "apply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(_Change):
    """A deletion of named objects (`Kind/name`)."""

    kind: ClassVar[str] = "delete"


_FIELDS: dict[str, tuple[type[Request], tuple[str, ...]]] = {
    "exec": (Exec, ("target", "argv")),
    "read": (Read, ("path",)),
    "logs": (Logs, ("target", "tail")),
    "apply": (Apply, ("objects",)),
    "delete": (Delete, ("objects",)),
}


def request_from_json(step: str, data: dict[str, Any]) -> Request:
    """The request of a recorded line. Raises RecordingError where it is none that format 1 knows."""
    if data.get("kind") not in _FIELDS:
        raise RecordingError(
            f"a request of unknown kind {data.get('kind')!r}; format 1 knows {', '.join(_FIELDS)}"
        )
    cls, names = _FIELDS[data["kind"]]
    try:
        fields = {name: data[name] for name in names}
        sample = data["sample"]
    except KeyError as error:
        raise RecordingError(f"a request of kind {data['kind']!r} without {error}") from None
    return cls(
        step=step, sample=sample, **{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request. `exit_code` is None where the time limit cut it off.

    `output` is a file where stdout is long: `stdout` reads it whole, `data` as far as it is looked at.
    """

    id: str
    request: Request
    started_at: datetime
    duration_s: float
    exit_code: int | None
    output: Output
    stderr: bytes = b""

    @property
    def stdout(self) -> bytes:
        """stdout in memory. Raises RecordingError where its file is not there any more."""
        return b"".join(pieces(self.output))

    @property
    def data(self) -> bytes | mmap:
        """stdout to be read by its parts, as captures are. Raises RecordingError as `stdout` does."""
        return self.output if isinstance(self.output, bytes) else self.output.mapped()

    @property
    def text(self) -> str:
        """stdout as UTF-8; a byte that is none shows as the replacement character."""
        return self.stdout.decode("utf-8", errors="replace")
