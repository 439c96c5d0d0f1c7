"""An executor on the other side of a Unix socket.

A run holds each live arm once and serves it to its kernels; the namespaces of a `netns:` arm are served by
the process that made them. One connection a request: a line of JSON, answered by a line of JSON and the
bytes it announces.

    -> {"step": "baseline", "request": {"kind": "exec", …}, "manifest": "[]"}
    <- {"id": "r00001", "started_at": "…", "duration_s": 0.01, "exit_code": 0, "stdout": 312, "stderr": 0}
       and 312 bytes
    <- {"error": "NoTarget", "message": "…", "details": {}}     where there is no reply
    <- {"defect": "KeyError: 'x'"}                              where who serves it is at fault
    -> {}                                                       asks for `about`
    -> {"tell": "turn 3 of 40"}                                 what is being done; <- {"told": true}

Only this user can open the socket: its folder is made with mode 0700.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import socketserver
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import TYPE_CHECKING, Any

from labkit.errors import ConnectionLost, LabError
from labkit.exec.executor import Listener
from labkit.exec.failure import error_from, told
from labkit.exec.output import PIECE, kept, pieces, spool
from labkit.exec.request import Apply, Delete, Reply, request_from_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import BinaryIO

    from labkit.exec.executor import Executor
    from labkit.exec.output import Output
    from labkit.exec.request import Request

__all__ = ["Remote", "Server"]

log = logging.getLogger(__name__)


class Remote:
    """What a `Server` serves, for this process. Safe in threads."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where nothing listens at this path."""
        self._path = path
        self._about: dict[str, Any] = self._call({})[0]
        self._asked = False

    @property
    def about(self) -> dict[str, Any]:
        """What the executor says of itself: asked again after a request, since that may have added to it."""
        if self._asked:
            self._asked = False
            with contextlib.suppress(OSError, ValueError, EOFError):  # who serves it has ended: as it was
                self._about = self._call({})[0]
        return self._about

    def run(self, request: Request) -> Reply:
        """The reply of the executor behind. Raises what that raised."""
        asked = {"step": request.step, "request": request.to_json()}
        if isinstance(request, Apply | Delete):
            asked["manifest"] = request.manifest
        try:
            head, stdout, stderr = self._call(asked)
        except (OSError, ValueError, EOFError) as error:
            raise ConnectionLost(
                f"what serves this arm gave no answer to {request.words[:120]} ({error or 'it ended'}); "
                "start the run again",
                request,
            ) from None
        finally:
            self._asked = True
        if "defect" in head:
            raise RuntimeError(
                f"a defect of what serves this arm: {head['defect']}; its log has the traceback"
            )
        if "error" in head:
            raise error_from(head, request)
        return Reply(
            id=head["id"],
            request=request,
            started_at=datetime.fromisoformat(head["started_at"]),
            duration_s=head["duration_s"],
            exit_code=head["exit_code"],
            output=stdout,
            stderr=stderr,
        )

    def wait(self, seconds: float) -> None:
        """Time passes on a live arm."""
        time.sleep(seconds)

    def tell(self, doing: str) -> None:
        """Passed on to who serves the arm."""
        with contextlib.suppress(OSError, ValueError, EOFError):  # it matters to nobody's result
            self._call({"tell": doing})

    def close(self) -> None:
        """Nothing is held open: who serves the arm closes it."""

    def _call(self, asked: dict[str, Any]) -> tuple[dict[str, Any], Output, bytes]:
        with socket(AF_UNIX, SOCK_STREAM) as there:
            there.connect(str(self._path))
            there.sendall(json.dumps(asked).encode() + b"\n")
            with there.makefile("rb") as answer:
                head: dict[str, Any] = json.loads(answer.readline() or b"null") or _end()
                stdout = _received(answer, head.get("stdout", 0))
                stderr = answer.read(head.get("stderr", 0))
        if len(stderr) != head.get("stderr", 0):
            _end()
        return head, stdout, stderr


def _received(answer: BinaryIO, length: int) -> Output:
    with spool() as found:
        while left := length - found.tell():
            found.write(answer.read(min(left, PIECE)) or _end())
        return kept(found)


def _end() -> Any:  # noqa: ANN401
    raise EOFError("it ended in the middle")


class Server(contextlib.AbstractContextManager["Server"]):
    """Serves an executor on a Unix socket until it is closed. Each request has a thread."""

    def __init__(self, executor: Executor, path: Path) -> None:
        self.path = path

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                answer = _answer(executor, json.loads(self.rfile.readline()))
                with contextlib.suppress(OSError):  # whoever asked has gone
                    for piece in answer:
                        self.wfile.write(piece)

        class Listener(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: object) -> None:  # noqa: ANN401, ARG002
                error = sys.exception()
                log.error("a request could not be served", exc_info=error)
                with contextlib.suppress(OSError):
                    request.sendall(
                        json.dumps({"defect": f"{type(error).__name__}: {error}"}).encode() + b"\n"
                    )

        self._listener = Listener(str(path), Handler)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more. What is being answered is not waited for."""
        self._listener.shutdown()
        self._listener.server_close()
        self.path.unlink(missing_ok=True)


def _answer(executor: Executor, asked: dict[str, Any]) -> Iterable[bytes]:
    if not asked:
        return (_line(executor.about),)
    if "tell" in asked:
        if isinstance(executor, Listener):
            executor.tell(asked["tell"])
        return (_line({"told": True}),)
    request = request_from_json(asked["step"], asked["request"])
    if isinstance(request, Apply | Delete):
        request = replace(request, manifest=asked["manifest"])
    try:
        reply = executor.run(request)
    except LabError as error:
        return (_line(told(error)),)
    head = {
        "id": reply.id,
        "started_at": reply.started_at.isoformat(),
        "duration_s": reply.duration_s,
        "exit_code": reply.exit_code,
        "stdout": len(reply.output),
        "stderr": len(reply.stderr),
    }
    return itertools.chain((_line(head),), pieces(reply.output), (reply.stderr,))


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"
