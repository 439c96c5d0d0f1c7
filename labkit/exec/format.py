"""Recording format 1 on disk, line by line. `recording` makes a whole of it.

    <name>/recording.json   {"format": 1, "name", "origin", "note", "recorded_at", "recorder", "namespace"}
    <name>/replies.jsonl    one reply a line
    <name>/blobs/           stdout that is binary or over 64 KiB
    <name>/failures.jsonl   requests that got an error and no reply, one a line; may be missing

The header of a recording that labkit writes has `ended_at` too: null as long as it is written. Its last line
may then be cut off in the middle.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import RecordingError, RecordingFormatError
from labkit.exec.output import IN_MEMORY, Stored, pieces, sha256
from labkit.exec.request import Reply, Request, request_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.exec.output import Output

__all__ = [
    "FORMAT", "ORIGINS", "blob", "blob_name", "failures", "header", "index", "is_open", "line_of", "reply_of", "whole_length",
    "write_header",
]  # fmt: skip

FORMAT = 1
ORIGINS = ("live", "netns", "synthetic")
BLOB_OVER = 64 * 1024


def header(path: Path) -> dict[str, Any]:
    """What a recording says of itself. Raises RecordingError where it is none that this labkit reads."""
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


def write_header(path: Path, about: dict[str, Any]) -> None:
    """Write recording.json whole: whoever reads it sees the old one or the new one."""
    new = path / "recording.json.new"
    new.write_text(json.dumps({**about, "format": FORMAT}, indent=1, ensure_ascii=False) + "\n")
    new.replace(path / "recording.json")


def is_open(about: dict[str, Any]) -> bool:
    """Whether the recording is being written, or was when its run was killed."""
    return "ended_at" in about and about["ended_at"] is None


def index(file: Path, *, may_be_cut: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of `replies.jsonl` by the identity of their requests; a last line that was cut off is left
    out where it may be. Raises RecordingError, naming the line."""
    if not file.is_file():
        raise RecordingError(f"{file} is missing; fetch the recording anew")
    seen: set[str] = set()
    with file.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            if may_be_cut and not text.endswith(b"\n"):
                return
            key, line = _line(file, number, text)
            if key in seen:
                raise RecordingError(
                    f"{file}, line {number}: {line['id']} answers a request that was already answered; samples must differ"
                )
            seen.add(key)
            yield key, line


def _line(file: Path, number: int, text: bytes) -> tuple[str, dict[str, Any]]:
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
    return key, line


def whole_length(file: Path) -> int:
    """How many bytes of a file of lines are whole lines."""
    with file.open("rb") as data:
        end = data.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - BLOB_OVER)
            data.seek(begin)
            found = data.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0


def failures(file: Path) -> dict[str, dict[str, Any]]:
    """Requests that got an error and no reply, by identity; the last of each. A cut last line is left out."""
    found: dict[str, dict[str, Any]] = {}
    if not file.is_file():
        return found
    for number, text in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not text.endswith(b"\n"):
            break
        try:
            line = json.loads(text)
            found[request_from_json(line["step"], line["request"]).key] = line
        except (ValueError, KeyError) as error:
            raise RecordingError(f"{file}, line {number}: no failure that can be read ({error})") from None
    return found


def line_of(path: Path, reply: Reply) -> dict[str, Any]:
    """A reply as its line. What does not go into the line is written as a blob first."""
    line: dict[str, Any] = {
        "id": reply.id,
        "step": reply.request.step,
        "request": reply.request.to_json(),
        "started_at": reply.started_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "duration_s": reply.duration_s,
        "exit_code": reply.exit_code,
        "stderr": reply.stderr.decode("utf-8", errors="replace"),
    }
    if isinstance(reply.output, bytes) and len(reply.output) <= BLOB_OVER:
        try:
            return {**line, "stdout": reply.output.decode("utf-8")}
        except UnicodeDecodeError:
            pass
    name = blob_name(reply.id)
    with (path / name).open("wb") as file:
        file.writelines(pieces(reply.output))
    return {**line, "stdout_blob": name, "stdout_sha256": sha256(reply.output)}


def blob_name(reply_id: str) -> str:
    """Where the output of a reply is, if it is not in its line."""
    return f"blobs/{reply_id}.bin"


def reply_of(path: Path, line: dict[str, Any], request: Request) -> Reply:
    """The reply of a line. Raises RecordingError where its blob is not what the line says."""
    return Reply(
        id=line["id"],
        request=request,
        started_at=datetime.fromisoformat(line["started_at"]),
        duration_s=line["duration_s"],
        exit_code=line["exit_code"],
        output=blob(path, line) if "stdout_blob" in line else line.get("stdout", "").encode(),
        stderr=line.get("stderr", "").encode(),
    )


def blob(path: Path, line: dict[str, Any]) -> Output:
    """What a line keeps beside it: it stays there where it is long."""
    file = path / line["stdout_blob"]
    if path.resolve() not in file.resolve().parents:
        raise RecordingError(
            f"{path}: reply {line['id']} refers to {line['stdout_blob']}, outside the recording"
        )
    if not file.is_file():
        raise RecordingError(f"{file} is missing (reply {line['id']}); fetch the recording anew")
    stored = Stored(file)
    data = stored if len(stored) > IN_MEMORY else file.read_bytes()
    found = sha256(data)
    if found != line.get("stdout_sha256"):
        raise RecordingError(
            f"{file}: SHA-256 is {found[:12]}…, the recording says {str(line.get('stdout_sha256'))[:12]}… (reply {line['id']}); it was altered"
        )
    return data
