"""Containers: processes with a root of their own in a pod's namespaces, started, entered and ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import ProvisionError
from labkit.exec.netns import PATH
from labkit.exec.output import PIECE, kept, spool
from labkit.netns.machines import Done

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from tempfile import SpooledTemporaryFile

    from labkit.netns.namespaces import Namespace
    from labkit.netns.roots import Root

__all__ = ["ENVIRONMENT", "Container", "run", "start", "stop"]

#: What every process has, whatever the environment of whoever started the lab.
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
#: The first process: mounts, says that it is ready, and becomes the container's command.
FIRST = 'mount --all --fstab "$1"; echo ready; log=$3; top=$2; shift 3; exec chroot "$top" "$@" >>"$log" 2>&1'
#: How long what was killed may hold the pipes of a command open before they are given up.
PATIENCE_S = 1.0
#: How often is looked whether a command's output was given up.
LOOK_MS = 100


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was started. `pid` is its first process; `process` ends when that ends, with its code."""

    process: subprocess.Popen[bytes]
    pid: int
    log: Path
    environment: Mapping[str, str]
    own_pids: bool

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()


def start(
    namespace: Namespace, root: Root, argv: Sequence[str], environment: Mapping[str, str], log: Path, *, own_pids: bool = True
) -> Container:  # fmt: skip
    """Start a command as the first process of a container; when this returns, its root is mounted.

    Raises ProvisionError where the kernel does not allow it. A command that is not there shows as exit code 127.
    """
    pids = ["--pid", "--fork", "--kill-child"] if own_pids else []
    first = ["sh", "-ec", FIRST, "sh", str(root.fstab), str(root.top), str(log), *argv]
    process = subprocess.Popen(  # noqa: S603  (argv lists, of programs that the lab needs)
        [*namespace.enter(), "unshare", "--mount", *pids, *first],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout  # noqa: S101  (a pipe was asked for)
    with process.stdout as said:
        heard = said.readline()
        if heard != b"ready\n":
            process.kill()
            text = (heard + said.read()).decode(errors="replace").strip()
            process.wait()
            raise ProvisionError(f"the root of a container could not be mounted: {text or 'it ended'}")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pid = int(children.read_text() or 0) if own_pids else process.pid
    return Container(process, pid, log, dict(environment), own_pids)


def run(container: Container, argv: Sequence[str], *, stdin: bytes, limit_s: float) -> Done:
    """Run a command in a container. What exceeds its limit is killed with all that it started."""
    pids = ["--pid"] if container.own_pids else []
    enter = [
        "nsenter",
        f"--target={container.pid}",
        "--mount",
        "--net",
        "--uts",
        "--root",
        "--wd",
        *pids,
        "--",
        *argv,
    ]
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603  (an argv list, as it was asked)
            enter,
            env=dict(container.environment),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    given_up = threading.Event()
    with spool() as out, ThreadPoolExecutor(1) as pool, process:
        written = pool.submit(_write, reading, out, given_up)
        try:
            code, err = _ended(process, written, stdin, limit_s)
        finally:
            given_up.set()
            wait([written])
        return Done(code, kept(out), err)


def _write(reading: int, out: SpooledTemporaryFile[bytes], given_up: threading.Event) -> None:
    """Write down what a command prints, until none holds its stdout any more or it is given up."""
    ready = select.poll()
    ready.register(reading, select.POLLIN)
    try:
        while not given_up.is_set():
            if ready.poll(LOOK_MS):
                if not (piece := os.read(reading, PIECE)):
                    return
                out.write(piece)
    finally:
        os.close(reading)


def _ended(
    process: subprocess.Popen[bytes], written: Future[None], stdin: bytes, limit_s: float
) -> tuple[int | None, bytes]:
    """The exit code of a command whose output is written, and its stderr."""
    end = time.monotonic() + limit_s
    try:
        _, err = process.communicate(stdin or None, timeout=limit_s)
        written.result(max(0.0, end - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        return None, _cut_off(process, written)
    return process.returncode, err


def _cut_off(process: subprocess.Popen[bytes], written: Future[None]) -> bytes:
    """Kill a command's session; what it had printed on stderr until then."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    end = time.monotonic() + PATIENCE_S
    try:
        _, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired as held:  # by what left the session
        err = held.stderr or b""
    wait([written], max(0.0, end - time.monotonic()))
    return err


def stop(container: Container) -> None:
    """Kill a container's processes and wait until they are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(container.process.pid, signal.SIGKILL)
    container.process.wait()
