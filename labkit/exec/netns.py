"""The arm of a lab of network namespaces: starts the process that is the lab, and asks it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from labkit import errors
from labkit.errors import ConnectionLost, SourceError
from labkit.exec import lab_folder
from labkit.exec.remote import Remote

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.exec.request import Reply, Request

__all__ = ["PATH", "UNSHARE", "Netns"]

#: Namespaces of its own for whatever follows, and its end with the end of this.
UNSHARE = ("unshare", "--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--net", "--uts", "--ipc")
LAB = (sys.executable, "-m", "labkit.netns")
#: Whatever the owner's is: a lab's programs are the machine's.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

READY_S = 60.0
END_S = 10.0


class Netns:
    """An executor for a lab that this process owns: it ends with `close`, or when this process ends in any way."""

    def __init__(self, topology: str) -> None:
        """Start the lab and wait until it answers.

        Raises SourceError for an unknown topology, and for what the machine lacks, with how to get it.
        """
        lab_folder.sweep()
        self.folder = lab_folder.make()
        self._closing = threading.Lock()
        try:
            self._lab = _started(topology, self.folder)
        except OSError:  # there is no unshare
            lab_folder.remove(self.folder)
            _check(topology)
            raise
        try:
            self._remote = _when_ready(self._lab, topology, self.folder)
        except BaseException:
            self.close()
            raise

    @property
    def about(self) -> dict[str, Any]:
        return self._remote.about

    @property
    def pid(self) -> int:
        """The process whose end is the end of all that belongs to the lab."""
        return self._lab.pid

    def run(self, request: Request) -> Reply:
        """The lab's answer. Raises NoTarget, ApiError, and ConnectionLost where the lab has ended."""
        try:
            return self._remote.run(request)
        except ConnectionLost:
            code = self._lab.poll()
            if code is None:
                raise
            raise ConnectionLost(
                f"the lab of namespaces ended (exit code {code}), so there is no answer to {request.words[:120]}; "
                "start the run again",
                request,
            ) from None

    def wait(self, seconds: float) -> None:
        """Time passes in a lab."""
        self._remote.wait(seconds)

    def close(self) -> None:
        """End the lab, and return when all of it is gone. Closing twice is no error."""
        with self._closing:
            _end(self._lab)
            lab_folder.remove(self.folder)


def _started(topology: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  (our own module)
            [*UNSHARE, *LAB, topology, "--folder", str(folder)],
            env={**os.environ, "PATH": PATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    own = lab_folder.Process.of
    lab_folder.Lab(folder, topology, own(process.pid), own(os.getpid())).write()
    return process


def _when_ready(process: subprocess.Popen[bytes], topology: str, folder: Path) -> Remote:
    assert process.stdout  # noqa: S101  (a pipe was asked for)
    ready, _, _ = select.select([process.stdout], [], [], READY_S)
    if not ready:
        raise SourceError(f"netns:{topology} was not ready within {READY_S:.0f} s; {_last_words(folder)}")
    line = process.stdout.readline()
    if not line:
        _check(topology)
        raise SourceError(f"netns:{topology} ended before it was ready; {_last_words(folder)}")
    _heed(line)
    return Remote(folder / "socket")


def _check(topology: str) -> None:
    """Raise what a lab would say that cannot even start, as without the right to make namespaces."""
    asked = [*LAB, topology, "--check"]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
    if done.stdout:
        _heed(done.stdout)


def _heed(line: bytes) -> None:
    """Raise the error that a line of JSON tells of, if it does."""
    told = json.loads(line)
    if "error" in told:
        raise getattr(errors, told["error"])(told["message"])


def _last_words(folder: Path) -> str:
    tail = (folder / "log").read_text(errors="replace").strip().splitlines()[-5:]
    return f"its last words: {' | '.join(tail)}" if tail else "it said nothing; see what `labkit doctor` says"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, or end it: either way the kernel takes what was in its namespaces."""
    with contextlib.suppress(BrokenPipeError):
        if process.stdin and not process.stdin.closed:
            with process.stdin as ask:
                ask.write(b"\n")
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
