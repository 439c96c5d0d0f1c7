"""Commands on the containers of a cluster: each in its time, and none left behind.

    image with timeout(1)     timeout -k 2 <limit> <argv>; ends also when labkit is killed or the network is gone
    image without             <argv>, ended from the analyzer of its node at the limit; an argv that begins with
                              `timeout` itself is carried out so too, with its signal and its exit code 124

What is recorded is the argv that was asked.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from socket import SHUT_RDWR
from typing import TYPE_CHECKING

from labkit.errors import ConnectionLost, NoTarget
from labkit.exec.live_ending import (
    CUT_OFF,
    KILL_AFTER_S,
    TIMED_OUT,
    Bound,
    bound_of,
    bounded,
    end_process,
    lacks_timeout,
)
from labkit.exec.live_errors import api_error
from labkit.exec.live_exec import execute
from labkit.exec.live_targets import Targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websocket import WebSocket

    from labkit.exec.live_api import Api
    from labkit.exec.live_exec import Container, Ended
    from labkit.exec.output import Output
    from labkit.exec.request import Exec

    #: Exit code (None where the limit cut it off), stdout, stderr.
    Outcome = tuple[int | None, Output, bytes]

__all__ = ["Commands"]

log = logging.getLogger(__name__)

#: How long a command may take to end after its limit, before it is given up.
GRACE_S = 8.0
#: Exit codes of shells for a command that cannot be run, by what container runtimes say of it.
NOT_RUN = {"not found": 127, "no such file or directory": 127, "permission denied": 126}
#: What runc prints, and exits with, where the runtime (CRI-O, cri-dockerd) passes that on as the command's own.
RUNTIMES_OWN = re.compile(
    rb"exec failed: (?:unable to start container process|container_linux)[^\n]*exec: [^\n]*"
)
#: Programs that only look, as labkit calls them: whoever asks again after a lost connection changes nothing.
LOOKS = frozenset({
    "brctl", "bridge", "bpftool", "cat", "cilium-dbg", "conntrack", "crictl", "ethtool", "hubble", "ip",
    "iptables-save", "ipvsadm", "nft", "nstat", "ss", "sysctl", "tc", "uname",
})  # fmt: skip
#: How often a command that only looks is asked, if its answers are lost.
ATTEMPTS = 3


@dataclass(eq=False, slots=True)
class Running:
    """A command on a container: `argv` is what its process is called there. `over`: its bound has passed."""

    where: Container
    request: Exec
    argv: Sequence[str]
    bound: Bound | None = None
    socket: WebSocket | None = None
    over: bool = False


class Commands:
    """Runs commands. Safe in threads. `hasty` is the same API server, asked with less patience."""

    def __init__(self, api: Api, hasty: Api, targets: Targets, limit_s: float) -> None:
        self._api, self._hasty, self._targets, self._limit_s = api, hasty, targets, limit_s
        self._without_timeout: set[Container] = set()
        self._running: set[Running] = set()
        self._lock = threading.Lock()
        self._closed = False

    def run(self, request: Exec) -> Outcome:
        """Run a command. Once more where the analyzer of a node was replaced, since it had not begun; and where
        the answer was lost, if it only looks."""
        attempt = 0
        while True:
            attempt += 1
            where = self._targets.find(request.target, request)
            try:
                return self._run(where, request)
            except NoTarget:
                if not request.target.startswith("node/") or attempt == ATTEMPTS:
                    raise
                self._targets.forget(where)
            except ConnectionLost as lost:
                if request.argv[0] not in LOOKS or attempt == ATTEMPTS or self._closed:
                    raise
                log.info("asked again: %s", lost)

    def close(self) -> None:
        """End what still runs, there too."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        if running:
            with ThreadPoolExecutor(min(16, len(running))) as pool:
                list(pool.map(self._end, running))
        for one in running:
            with contextlib.suppress(OSError):  # it has been closed meanwhile
                if one.socket and one.socket.sock:
                    one.socket.sock.shutdown(SHUT_RDWR)

    def _run(self, where: Container, request: Exec) -> Outcome:
        if where in self._without_timeout:
            return self._from_outside(where, request)
        itself = request.argv[0] == "timeout"
        argv = request.argv if itself else bounded(request.argv, self._limit_s)
        begun = time.monotonic()
        ended = self._ended(Running(where, request, request.argv), argv, self._limit_s)
        if lacks_timeout(ended):
            self._without_timeout.add(where)
            return self._from_outside(where, request)
        cut = not itself and ended.exit_code in CUT_OFF and time.monotonic() - begun >= self._limit_s
        return _outcome(request, ended, None if cut else ended.exit_code)

    def _from_outside(self, where: Container, request: Exec) -> Outcome:
        """In an image without timeout(1): the same, by a clock here and the analyzer of the node."""
        own = bound_of(request.argv)
        bound = own or Bound(self._limit_s, "TERM", request.argv)
        one = Running(where, request, bound.argv, bound)
        ended = self._ended(one, bound.argv, bound.seconds)
        code = ended.exit_code
        if one.over and ended.status:
            code = TIMED_OUT if own else None
        return _outcome(request, ended, code)

    def _ended(self, one: Running, argv: Sequence[str], limit_s: float) -> Ended:
        """The command's end. It is noted as running meanwhile, and ended when its bound is over."""
        clocks: list[threading.Timer] = []

        def at_the_bound() -> None:
            one.over = True
            self._end(one)

        def opened(socket: WebSocket) -> None:
            one.socket = socket
            with self._lock:
                self._running.add(one)
            if one.bound:
                clocks.append(threading.Timer(one.bound.seconds, at_the_bound))
                clocks[-1].daemon = True
                clocks[-1].start()

        try:
            limit_s += KILL_AFTER_S + GRACE_S
            ended = execute(self._api, one.where, argv, one.request, limit_s=limit_s, opened=opened)
        except ConnectionLost:
            if one.socket and not self._closed:
                self._end(one)
            raise
        finally:
            for clock in clocks:
                clock.cancel()
            with self._lock:
                self._running.discard(one)
        if self._closed:
            said = one.request.words[:120]
            raise ConnectionLost(f"the arm was closed while {said} ran", one.request)
        if not ended.status:
            self._end(one)
        return ended

    def _end(self, one: Running) -> None:
        targets = Targets(self._hasty, self._targets.namespace)
        signal = one.bound.signal if one.bound else "TERM"
        end_process(self._hasty, targets, one.where, one.argv, signal, one.request)


def _outcome(request: Exec, ended: Ended, code: int | None) -> Outcome:
    """A command that the image has not ends as a shell would tell it; another refusal is an error."""
    if ended.refusal:
        if (told := _not_run(ended.refusal)) and "container not found" not in ended.refusal:
            return told, ended.stdout, ended.stderr + ended.refusal.encode() + b"\n"
        raise api_error(request, int(ended.status.get("code", 500)), ended.status)
    err = ended.stderr
    if code and (own := RUNTIMES_OWN.search(err + ended.short_stdout)):
        return _not_run(own.group().decode(errors="replace")) or code, b"", own.group() + b"\n"
    if code in NOT_RUN.values() and err.startswith(b"timeout: ") and request.argv[0] != "timeout":
        err = f"{request.argv[0]}: the image has no such command, or may not run it\n".encode()
    return code, ended.stdout, err


def _not_run(said: str) -> int | None:
    """The exit code of a shell where a container runtime says so of a command; None where it says something else."""
    lower = said.lower()
    return next((code for words, code in NOT_RUN.items() if "exec" in lower and words in lower), None)
