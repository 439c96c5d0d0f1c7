"""Output of requests: bytes while it is short, a file beyond that, from the tool to the recording and back.

What comes is written to a spool (`with spool() as out: …; return kept(out)`). A spool's file has no name: it
goes with the last that holds it, also where the process is killed.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import mmap
import os
import tempfile
import weakref
from typing import TYPE_CHECKING, TypeAlias

from labkit.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["IN_MEMORY", "PIECE", "Output", "Stored", "is_text", "kept", "pieces", "sha256", "spool"]

#: Output of more bytes than these is a file.
IN_MEMORY = 1 << 20
#: How many bytes of a file are in memory at once.
PIECE = 1 << 18
#: For large temporary files, and on a disk where /tmp is memory (file-hierarchy(7)).
ON_DISK = "/var/tmp"  # noqa: S108  (the files have no names)


class Stored:
    """Output on the disk: a file of a recording, or an open one that this takes over. It does not change."""

    def __init__(self, source: Path | int) -> None:
        self._source = source
        self._size = os.stat(source).st_size  # noqa: PTH116  (it may be a descriptor)
        if isinstance(source, int):
            weakref.finalize(self, os.close, source)

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stored):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(self._size)

    def __iter__(self) -> Iterator[bytes]:
        """Piece by piece. Raises RecordingError where the file is not there any more."""
        with self._opened() as number:
            at = 0
            while piece := os.pread(number, PIECE, at):
                yield piece
                at += len(piece)

    def mapped(self) -> mmap.mmap:
        """To be read anywhere, in memory only where it is. Raises RecordingError as reading does."""
        with self._opened() as number:
            return mmap.mmap(number, 0, access=mmap.ACCESS_READ)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        if isinstance(self._source, int):
            yield self._source
            return
        try:
            file = self._source.open("rb", buffering=0)
        except OSError as error:
            raise RecordingError(f"{self._source} cannot be read any more: {error.strerror}") from None
        with file:
            yield file.fileno()


Output: TypeAlias = bytes | Stored


def spool() -> tempfile.SpooledTemporaryFile[bytes]:
    """Where output is written while it comes. Close it when `kept` was called."""
    folders = (os.environ.get("TMPDIR"), ON_DISK)
    chosen = next((folder for folder in folders if folder and os.access(folder, os.W_OK)), None)
    return tempfile.SpooledTemporaryFile(IN_MEMORY, dir=chosen)


def kept(spooled: tempfile.SpooledTemporaryFile[bytes]) -> Output:
    """What was written to a spool, which may be closed then."""
    if spooled.tell() > IN_MEMORY:
        spooled.flush()
        return Stored(os.dup(spooled.fileno()))
    spooled.seek(0)
    return spooled.read()


def pieces(output: Output) -> Iterator[bytes]:
    """Output in pieces that memory may hold."""
    return iter((output,) if isinstance(output, bytes) else output)


def sha256(output: Output) -> str:
    """Its checksum, in hexadecimal digits."""
    found = hashlib.sha256()
    for piece in pieces(output):
        found.update(piece)
    return found.hexdigest()


def is_text(output: Output) -> bool:
    """Whether it is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in pieces(output):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
