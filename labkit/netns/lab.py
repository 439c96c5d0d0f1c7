"""The process that is a lab: the first of a PID namespace, with mounts and a network of its own.

    owner ── pipe ──> unshare ──> first process ──> the lab: machines, control plane, socket
                                  (reaps, cleans)        └─> nodes, pods, commands

It tells its owner by one line of JSON that it is ready, or why it cannot be, and ends when it reads anything or
the end of the pipe, which the kernel closes also for an owner that was killed. What it has made is in its
namespaces, so all of it goes with its first process, however that ends.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from labkit.errors import ApiError, LabError, NoTarget, RequestError
from labkit.exec import lab_folder
from labkit.exec.request import Apply, Delete, Exec, Logs, Read, Reply
from labkit.netns.needs import missing
from labkit.netns.topology import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.exec.output import Output
    from labkit.exec.request import Request
    from labkit.netns.control import ControlPlane
    from labkit.netns.machines import Machines

__all__ = ["NAMESPACE", "LabExecutor", "main"]

NAMESPACE = "cni-lab"


def main(argv: Sequence[str] | None = None) -> int:
    """Be a lab of a topology, or say why none can be; the exit code.

    To be a lab it must be the first process of namespaces of its own: see `labkit.exec.netns.UNSHARE`.
    """
    parser = argparse.ArgumentParser(prog="python -m labkit.netns")
    parser.add_argument("topology")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--folder", type=Path, help="be a lab, with its socket in this folder")
    what.add_argument("--check", action="store_true", help="only say what is missing, if anything is")
    asked = parser.parse_args(argv)
    if asked.check:
        return _told(_refusal(asked.topology))
    return _first_process(asked.topology, asked.folder)


def _refusal(name: str) -> str:
    """Why there can be no lab of this topology here; empty where there can."""
    topology = TOPOLOGIES.get(name)
    if topology is None:
        return f"no topology {name!r} for netns:; there are: {', '.join(TOPOLOGIES)}"
    gaps = missing(topology)
    listed = "".join(f"\n  {gap.what}: {gap.why}; {gap.remedy}" for gap in gaps)
    return f"netns:{name} needs what this machine does not have:{listed}" if gaps else ""


def _told(refusal: str) -> int:
    if refusal:
        _tell(error="SourceError", message=refusal)
    return 2 if refusal else 0


def _tell(**told: Any) -> None:  # noqa: ANN401  (JSON values)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _first_process(topology: str, folder: Path) -> int:
    """Start the lab, reap what ends (the first process inherits all orphans), and clean up behind it."""
    state = folder / "state"
    mount = ["mount", "-t", "tmpfs", "-o", "mode=0755", "labkit", str(state)]
    subprocess.run(mount, stdin=subprocess.DEVNULL, check=True)  # noqa: S603  (an argv list)
    lab = os.fork()
    if lab == 0:
        _serve_and_end(topology, folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: os.kill(lab, number))
    ended, status = os.wait()
    while ended != lab:
        ended, status = os.wait()
    subprocess.run(["umount", "--lazy", str(state)], stdin=subprocess.DEVNULL, check=True)  # noqa: S603, S607
    code = os.waitstatus_to_exitcode(status) & 0xFF
    if code == 0:  # its owner may be gone; after a failure he reads the log, and removes it
        lab_folder.remove(folder)
    return code


def _serve_and_end(topology: str, folder: Path) -> NoReturn:
    """Serve, and end without waiting for threads: the kernel takes what they do."""
    threading.Thread(target=_end_when_asked, daemon=True).start()
    code = 1
    try:
        code = _serve(topology, folder)
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        os._exit(code)


def _end_when_asked() -> NoReturn:
    """End when the owner says so or is gone, also in the middle of setting up."""
    sys.stdin.buffer.read(1)
    os._exit(0)


def _serve(name: str, folder: Path) -> int:
    """Serve for good; the exit code where it cannot."""
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(_refusal, name)  # while the libraries are loaded
        import pyroute2  # noqa: F401, PLC0415

        from labkit.exec.remote import Server  # noqa: PLC0415
        from labkit.netns.control import ControlPlane  # noqa: PLC0415
        from labkit.netns.linux import LinuxMachines  # noqa: PLC0415

        if refusal := looking.result():
            return _told(refusal)
    machines = LinuxMachines(TOPOLOGIES[name], folder / "state")
    try:
        machines.boot()
        control = ControlPlane(machines)
        control.boot()
    except LabError as error:
        return _told(f"netns:{name} could not be set up: {error}")
    with Server(LabExecutor(machines, control), folder / "socket"):
        _tell(ready=name)
        while True:
            signal.pause()


class LabExecutor:
    """Answers requests with a lab's machines and its control plane. Safe in threads."""

    def __init__(self, machines: Machines, control: ControlPlane) -> None:
        from importlib.metadata import version  # noqa: PLC0415

        self._machines, self._control = machines, control
        self._count = itertools.count(1)
        topology = machines.topology
        self.about: dict[str, Any] = {
            "name": topology.name,
            "origin": "netns",
            "note": (
                f"Linux network namespaces on one machine (kernel {os.uname().release}): {topology.meaning}. The "
                "packets are real. There is no Kubernetes: objects and rules for Services are written by labkit, and "
                "all nodes share one kernel and its processors. It shows the dataplane and nothing of Azure."
            ),
            "recorded_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "recorder": f"labkit {version('labkit')}",
            "namespace": NAMESPACE,
        }

    def run(self, request: Request) -> Reply:
        """Answer a request. Raises NoTarget and ApiError."""
        number, at, began = next(self._count), datetime.now(UTC), time.monotonic()
        code, out, err = self._answer(request)
        return Reply(f"n{number:05d}", request, at, round(time.monotonic() - began, 6), code, out, err)

    def _answer(self, request: Request) -> tuple[int | None, Output, bytes]:
        if isinstance(request, Exec):
            try:
                done = self._machines.run(request.target, request.argv)
            except KeyError:
                raise _no_target(request, request.target) from None
            return done.exit_code, done.output, done.stderr
        if isinstance(request, Logs):
            try:
                return 0, self._machines.logs(request.target, request.tail), b""
            except KeyError:
                raise _no_target(request, request.target) from None
        if isinstance(request, Read):
            return 0, self._read(request), b""
        if isinstance(request, Apply):
            made = self._control.apply(json.loads(request.manifest))
            return (
                0,
                "".join(
                    f"{_kind(item)}/{item['metadata']['name']} serverside-applied\n" for item in made
                ).encode(),
                b"",
            )
        if isinstance(request, Delete):
            gone = self._control.delete(json.loads(request.manifest))
            return 0, "".join(f"{name} deleted\n" for name in gone).encode(), b""
        raise RequestError(f"a lab of namespaces does not answer {request.kind}", request)

    def _read(self, request: Read) -> bytes:
        status, body = self._control.read(request.path)
        if status == 200:
            return body
        told = json.loads(body)
        raise ApiError(told.get("message", ""), request, status=status, reason=told.get("reason", ""))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        time.sleep(seconds)

    def close(self) -> None:
        """Whoever owns the lab ends it."""


def _no_target(request: Request, target: str) -> NoTarget:
    return NoTarget(f"{target} is not there (any more); read the pods again", request)


def _kind(item: dict[str, Any]) -> str:
    """A kind as kubectl names it: `deployment.apps`."""
    group = item.get("apiVersion", "v1").rpartition("/")[0]
    return f"{item['kind'].lower()}.{group}" if group else str(item["kind"].lower())
