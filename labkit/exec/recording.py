"""Recording format 1 on disk: read, verify, write.

    <name>/recording.json   {"format": 1, "name", "origin", "note", "recorded_at", "recorder", "namespace"}
    <name>/replies.jsonl    one reply a line
    <name>/blobs/           stdout that is binary or over 64 KiB

Lines are read when they are asked for, and blobs when their reply is: opening a recording costs one
pass over `replies.jsonl`, not over its blobs.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import RecordingError, RecordingFormatError
from labkit.exec.request import Reply, Request, request_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.exec.executor import Executor

__all__ = ["FORMAT", "ORIGINS", "Recorder", "Recording"]

FORMAT = 1
ORIGINS = ("live", "netns", "synthetic")
BLOB_OVER = 64 * 1024


@dataclass(slots=True)
class Recording:
    """A folder of replies, indexed by the identity of their requests."""

    path: Path
    about: dict[str, Any]
    _lines: dict[str, dict[str, Any]] = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Read the header and index the replies. Raises RecordingError, naming file and line."""
        return cls(path, _header(path), dict(_index(path / "replies.jsonl")))

    def __len__(self) -> int:
        return len(self._lines)

    def requests(self) -> Iterator[Request]:
        """Every request, in the order it was asked."""
        for line in self._lines.values():
            yield request_from_json(line["step"], line["request"])

    def find(self, request: Request) -> Reply | None:
        """The reply to this request, or None."""
        line = self._lines.get(request.key)
        return None if line is None else self._reply(line, request)

    def by_id(self, reply_id: str) -> Reply | None:
        """The reply with this id, or None."""
        for line in self._lines.values():
            if line["id"] == reply_id:
                return self._reply(line, request_from_json(line["step"], line["request"]))
        return None

    def verify(self) -> list[str]:
        """Read everything, blobs too; one sentence for each problem, none where all is well."""
        problems = []
        for request in self.requests():
            try:
                self.find(request)
            except RecordingError as error:
                problems.append(str(error))
        used = {line["stdout_blob"] for line in self._lines.values() if "stdout_blob" in line}
        stored = {p.relative_to(self.path).as_posix() for p in self.path.glob("blobs/*")}
        problems += [f"{self.path / name}: no reply refers to it" for name in sorted(stored - used)]
        return problems

    def _reply(self, line: dict[str, Any], request: Request) -> Reply:
        return Reply(
            id=line["id"],
            request=request,
            started_at=datetime.fromisoformat(line["started_at"]),
            duration_s=line["duration_s"],
            exit_code=line["exit_code"],
            stdout=_blob(self.path, line) if "stdout_blob" in line else line.get("stdout", "").encode(),
            stderr=line.get("stderr", "").encode(),
        )


def _header(path: Path) -> dict[str, Any]:
    file = path / "recording.json"
    if not file.is_file():
        raise RecordingError(f"{path} is no recording: it has no recording.json")
    try:
        about = json.loads(file.read_text())
    except ValueError as error:
        raise RecordingError(f"{file} is not JSON ({error}); fetch the recording anew") from None
    if about.get("format") != FORMAT:
        raise RecordingFormatError(
            f"{file}: format {about.get('format')!r}; this labkit reads format {FORMAT}. Update labkit, or record again"
        )
    if about.get("origin") not in ORIGINS:
        raise RecordingError(
            f"{file}: origin {about.get('origin')!r} is none of {', '.join(ORIGINS)}; without it nobody can tell what the numbers mean"
        )
    return dict(about)


def _index(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not file.is_file():
        raise RecordingError(f"{file} is missing; fetch the recording anew")
    seen: set[str] = set()
    with file.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
                key = request_from_json(line["step"], line["request"]).key
                _ = line["id"], line["started_at"], line["duration_s"], line["exit_code"]
            except ValueError:
                raise RecordingError(
                    f"{file}, line {number}: not JSON; the recording was cut or altered. The {number - 1} replies before it are whole"
                ) from None
            except KeyError as error:
                raise RecordingError(f"{file}, line {number}: a reply without {error}") from None
            if key in seen:
                raise RecordingError(
                    f"{file}, line {number}: {line['id']} answers a request that was already answered; samples must differ"
                )
            seen.add(key)
            yield key, line


def _blob(path: Path, line: dict[str, Any]) -> bytes:
    file = path / line["stdout_blob"]
    if path.resolve() not in file.resolve().parents:
        raise RecordingError(
            f"{path}: reply {line['id']} refers to {line['stdout_blob']}, outside the recording"
        )
    if not file.is_file():
        raise RecordingError(f"{file} is missing (reply {line['id']}); fetch the recording anew")
    data: bytes = file.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != line.get("stdout_sha256"):
        raise RecordingError(
            f"{file}: SHA-256 is {found[:12]}…, the recording says {str(line.get('stdout_sha256'))[:12]}… (reply {line['id']}); it was altered"
        )
    return data


class Recorder:
    """Wraps any executor and writes down what passes: the recording of a live run.

    A line is written whole and flushed before its reply is handed on, so what a killed run leaves is
    readable up to its last line. A request that was answered before gets that answer again: one request
    has one reply, or its replay could not be a pure function. Safe in threads; two that ask the same at
    the same time are one request.
    """

    def __init__(self, inner: Executor, path: Path) -> None:
        self._inner = inner
        self._path = path
        self._replies: dict[str, Reply] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._writing = threading.Lock()
        (path / "blobs").mkdir(parents=True, exist_ok=False)
        about = {**inner.about, "format": FORMAT}
        (path / "recording.json").write_text(json.dumps(about, indent=1) + "\n")
        self._file = (path / "replies.jsonl").open("x", encoding="utf-8")

    @property
    def about(self) -> dict[str, Any]:
        return self._inner.about

    def run(self, request: Request) -> Reply:
        """Pass the request on, and keep its reply under an id of this recording."""
        with self._writing:
            mine = self._asking.setdefault(request.key, threading.Lock())
        with mine:
            if request.key not in self._replies:
                self._keep(self._inner.run(request), request)
            return self._replies[request.key]

    def _keep(self, answer: Reply, request: Request) -> None:
        with self._writing:
            reply = replace(answer, id=f"r{len(self._replies) + 1:05d}", request=request)
            self._file.write(json.dumps(self._line(reply), ensure_ascii=False) + "\n")
            self._file.flush()
            self._replies[request.key] = reply

    def wait(self, seconds: float) -> None:
        """Passed on."""
        self._inner.wait(seconds)

    def close(self) -> None:
        """Close the recording and what it wraps."""
        self._file.close()
        self._inner.close()

    def _line(self, reply: Reply) -> dict[str, Any]:
        line: dict[str, Any] = {
            "id": reply.id,
            "step": reply.request.step,
            "request": reply.request.to_json(),
            "started_at": reply.started_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "duration_s": reply.duration_s,
            "exit_code": reply.exit_code,
            "stderr": reply.stderr.decode("utf-8", errors="replace"),
        }
        try:
            text = reply.stdout.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        if text is not None and len(reply.stdout) <= BLOB_OVER:
            return {**line, "stdout": text}
        name = f"blobs/{reply.id}.bin"
        (self._path / name).write_bytes(reply.stdout)
        return {**line, "stdout_blob": name, "stdout_sha256": hashlib.sha256(reply.stdout).hexdigest()}
