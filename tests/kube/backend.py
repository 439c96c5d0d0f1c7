"""What stands behind the fake API server: objects, and containers that run real commands.

`Backend` is the seam: `Local` answers with processes of this machine, `tests.kube.lab` with a lab of namespaces.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Protocol

from tests.kube.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Send = Callable[[int, bytes], None]

STDOUT, STDERR = 1, 2


class Backend(Protocol):
    """Objects and containers. A target is `pod/<namespace>/<name>/<container>`."""

    store: Any

    def run(self, target: str, argv: Sequence[str], send: Send) -> int:
        """Run a command, sending channel and bytes; its exit code. FileNotFoundError where the image has no such."""

    def read(self, path: str) -> tuple[int, bytes] | None:
        """Status and body of a GET, where what stands behind is an API itself; else None, and `store` is asked."""

    def logs(self, target: str, tail: int) -> bytes:
        """The last lines of a container's log."""

    def end(self, namespace: str, pod: str) -> None:
        """End what runs in a pod."""


class Local:
    """Every container is this machine, with the programs that its image has.

    A process is not ended when its client goes away, as it is not in a cluster. `close` ends all.
    """

    def __init__(self, store: Store | None = None):
        self.store = store or Store()
        self.images: dict[str, Path] = {}
        self.log = b"first line\nsecond line\nlast line\n"
        self._running: dict[int, tuple[str, subprocess.Popen]] = {}
        self._lock = threading.Lock()

    def image(self, container: str, folder: Path, *programs: str) -> None:
        """Let containers of this name have these programs of the machine and no others."""
        folder.mkdir()
        for program in programs:
            (folder / program).symlink_to(shutil.which(program))
        self.images[container] = folder

    def read(self, _path: str) -> None:
        return None

    def run(self, target: str, argv: Sequence[str], send: Send) -> int:
        folder = self.images.get(target.rpartition("/")[2])
        path = str(folder) if folder else os.environ["PATH"]
        program = shutil.which(argv[0], path=path)
        if program is None:
            raise FileNotFoundError(argv[0])
        process = subprocess.Popen(
            argv,
            executable=program,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # as runc does
        )
        with self._lock:
            self._running[process.pid] = target, process
        try:
            copies = [
                threading.Thread(target=_copy, args=(pipe, channel, send))
                for channel, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr))
            ]
            for copy in copies:
                copy.start()
            code = process.wait()
            for copy in copies:
                copy.join()
        finally:
            with self._lock:
                self._running.pop(process.pid, None)
        return code if code >= 0 else 128 - code

    def logs(self, _target: str, tail: int) -> bytes:
        return b"".join(self.log.splitlines(keepends=True)[-tail:])

    def running(self) -> list[list[str]]:
        """The argv of everything that still runs."""
        with self._lock:
            return [process.args for _, process in self._running.values()]

    def end(self, namespace: str, pod: str) -> None:
        with self._lock:
            found = [
                p for target, p in self._running.values() if target.startswith(f"pod/{namespace}/{pod}/")
            ]
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        with self._lock:
            found = [process for _, process in self._running.values()]
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in found:
            process.wait(10)


def _copy(pipe, channel, send):
    """32 KiB at a time, as kubelet copies. When the client has gone, what is printed goes nowhere."""
    with pipe:
        heard = True
        while data := pipe.read1(32 * 1024):
            if heard:
                try:
                    send(channel, data)
                except OSError:
                    heard = False
