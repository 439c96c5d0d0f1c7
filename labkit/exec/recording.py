"""A recording: read it, verify it, write it. `format` says what it is on disk.

Lines are read when they are asked for, and blobs when their reply is: opening a recording costs one
pass over `replies.jsonl`, not over its blobs.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import ConnectionLost, RecordingError
from labkit.exec import format as on_disk
from labkit.exec.failure import error_from, told
from labkit.exec.format import FORMAT, ORIGINS
from labkit.exec.redaction import Redaction
from labkit.exec.request import Apply, Delete, request_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from labkit.errors import LabError
    from labkit.exec.executor import Executor
    from labkit.exec.request import Reply, Request

__all__ = ["FORMAT", "ORIGINS", "Recorder", "Recording"]


@dataclass(slots=True)
class Recording:
    """A folder of replies, indexed by the identity of their requests."""

    path: Path
    about: dict[str, Any]
    lines: dict[str, dict[str, Any]] = field(repr=False)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Read the header and index the replies. Raises RecordingError, naming file and line.

        The last line of one that a killed run left may be cut off: it is left out, and `verify` says so.
        """
        about = on_disk.header(path)
        lines = on_disk.index(path / "replies.jsonl", may_be_cut=on_disk.is_open(about))
        return cls(path, about, dict(lines), on_disk.failures(path / "failures.jsonl"))

    def __len__(self) -> int:
        return len(self.lines)

    def requests(self) -> Iterator[Request]:
        """Every request that has a reply, in the order it was asked."""
        for line in list(self.lines.values()):
            yield request_from_json(line["step"], line["request"])

    def find(self, request: Request) -> Reply | None:
        """The reply to this request, or None."""
        line = self.lines.get(request.key)
        return None if line is None else on_disk.reply_of(self.path, line, request)

    def failure(self, request: Request) -> LabError | None:
        """The error that this request got instead of a reply, or None."""
        line = self.failures.get(request.key)
        return None if line is None else error_from(line, request)

    def by_id(self, reply_id: str) -> Reply | None:
        """The reply with this id, or None."""
        for line in self.lines.values():
            if line["id"] == reply_id:
                return on_disk.reply_of(self.path, line, request_from_json(line["step"], line["request"]))
        return None

    def verify(self) -> list[str]:
        """Read everything, blobs too; one sentence for each problem, none where all is well."""
        problems = []
        if on_disk.is_open(self.about):
            problems.append(
                f"{self.path}: not ended: its run goes on, or was killed (then `labkit run --resume` goes on with it)"
            )
        for request in self.requests():
            try:
                self.find(request)
            except RecordingError as error:
                problems.append(str(error))
        problems += [f"{self.path / name}: no reply refers to it" for name in self.stray()]
        return problems

    def stray(self) -> list[str]:
        """Blobs that no reply refers to."""
        used = {line["stdout_blob"] for line in self.lines.values() if "stdout_blob" in line}
        stored = {p.relative_to(self.path).as_posix() for p in self.path.glob("blobs/*")}
        return sorted(stored - used)


class Recorder:
    """Wraps any executor and writes down what passes: the recording of a live run.

    What must not be written down is taken out first, for whoever asked too: live and replay see the same
    bytes. A line is written whole before its reply is handed on, and a blob before its line, so what a
    killed run leaves is readable up to its last line. A request that was answered before gets that answer
    again: one request has one reply, or its replay could not be a pure function. Only what changes the
    cluster is done each time it is asked for. Safe in threads; two that ask the same at the same time are
    one request.
    """

    def __init__(
        self,
        inner: Executor,
        path: Path,
        *,
        about: Mapping[str, Any] | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        """Begin a recording; `about` is said in its header beside what the executor says of itself.

        Raises RecordingError where there is one already. Without a header there is none: its writer was killed
        before it began.
        """
        if (path / "recording.json").exists():
            raise RecordingError(f"{path} holds a recording; record into another folder")
        (path / "blobs").mkdir(parents=True, exist_ok=True)
        said = {**inner.about, **(about or {}), "format": FORMAT, "ended_at": None}
        self._go_on(inner, path, redaction)
        (path / "replies.jsonl").touch()
        on_disk.write_header(path, json.loads(self._redaction.text(json.dumps(said))))
        self._recording = Recording.open(path)
        self._file = (path / "replies.jsonl").open("ab", buffering=0)

    @classmethod
    def open(cls, inner: Executor, path: Path, *, redaction: Redaction | None = None) -> Recorder:
        """Go on with a recording: what it holds is not asked again.

        A last line that was cut off and blobs without a line are removed, and the header says how much was.
        Raises RecordingError for one that is damaged otherwise, or that came from elsewhere.
        """
        about = on_disk.header(path)
        if about["origin"] != inner.about["origin"]:
            raise RecordingError(
                f"{path} came from {about['origin']}, this arm is {inner.about['origin']}; record into another folder"
            )
        cut = _cut(path / "replies.jsonl") + _cut(path / "failures.jsonl")
        resumed = [*about.get("resumed", []), {"at": _now(), "bytes_cut": cut}]
        on_disk.write_header(path, {**about, "ended_at": None, "resumed": resumed})
        self = cls.__new__(cls)
        self._go_on(inner, path, redaction)
        self._recording = Recording.open(path)
        for name in self._recording.stray():
            (path / name).unlink()
        self._file = (path / "replies.jsonl").open("ab", buffering=0)
        return self

    def _go_on(self, inner: Executor, path: Path, redaction: Redaction | None) -> None:
        self._inner, self._path = inner, path
        self._redaction = redaction or Redaction()
        self._asking: dict[str, threading.Lock] = {}
        self._writing = threading.Lock()

    @property
    def path(self) -> Path:
        """The recording's folder."""
        return self._path

    @property
    def about(self) -> dict[str, Any]:
        return self._recording.about

    def find(self, request: Request) -> Reply | None:
        """The reply that is recorded already, or None."""
        return self._recording.find(request)

    def run(self, request: Request) -> Reply:
        """Pass the request on unless it was answered before, and keep its reply under an id of this recording."""
        with self._writing:
            mine = self._asking.setdefault(request.key, threading.Lock())
        with mine:
            known = self.find(request)
            if known is not None and not isinstance(request, Apply | Delete):
                return known
            self._require_open(request)
            answer = self._inner.run(request)
            return known if known is not None else self._keep(answer, request)

    def failed(self, request: Request, error: LabError) -> LabError:
        """Note that a request got an error and no reply; the error as its replay will tell it."""
        said = {"at": _now(), "step": request.step, "request": request.to_json(), **told(error)}
        line: dict[str, Any] = json.loads(self._redaction.text(json.dumps(said)))
        with self._writing:
            before = self._recording.failures.get(request.key, {})
            if not self._file.closed and before.get("message") != line["message"]:
                with (self._path / "failures.jsonl").open("ab", buffering=0) as file:
                    _append(file, line)
                self._recording.failures[request.key] = line
        return error_from(line, request)

    def note(self, name: str, value: Mapping[str, Any]) -> None:
        """Add to the list of this name in the header: what was seen beside the replies, and belongs to them."""
        said = json.loads(self._redaction.text(json.dumps(value)))
        with self._writing:
            if not self._file.closed:
                self._recording.about.setdefault(name, []).append(said)
                on_disk.write_header(self._path, self._recording.about)

    def _keep(self, answer: Reply, request: Request) -> Reply:
        answer = self._redaction.reply(answer)
        with self._writing:
            self._require_open(request)
            reply = replace(answer, id=f"r{len(self._recording) + 1:05d}", request=request)
            try:
                line = on_disk.line_of(self._path, reply)
                _append(self._file, line)
            except OSError as error:
                (self._path / on_disk.blob_name(reply.id)).unlink(missing_ok=True)
                raise RecordingError(f"cannot write to {self._path}: {error.strerror}") from None
            self._recording.lines[request.key] = line
        return on_disk.reply_of(self._path, line, request)

    def _require_open(self, request: Request) -> None:
        if self._file.closed:
            raise ConnectionLost(f"the recording {self._path} is closed: its run has ended", request)

    def wait(self, seconds: float) -> None:
        """Passed on."""
        self._inner.wait(seconds)

    def close(self) -> None:
        """End the recording, and close what it wraps. Closing twice is no error."""
        with self._writing:
            if self._file.closed:
                return
            self._file.close()
            self._recording.about["ended_at"] = _now()
            on_disk.write_header(self._path, self._recording.about)
        self._inner.close()


def _append(file: Any, line: dict[str, Any]) -> None:  # noqa: ANN401  (an unbuffered binary file)
    """A line at the end of a file, or nothing of it."""
    begin = file.seek(0, 2)
    data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    try:
        while data:
            data = data[file.write(data) :]
    except OSError:
        file.truncate(begin)
        raise


def _cut(file: Path) -> int:
    """Remove what follows the last whole line; how many bytes that was."""
    if not file.is_file():
        return 0
    whole, length = on_disk.whole_length(file), file.stat().st_size
    if whole < length:
        with file.open("r+b") as data:
            data.truncate(whole)
    return length - whole


def _now() -> str:
    return datetime.now(UTC).isoformat()
