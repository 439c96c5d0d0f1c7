"""Commands in containers, over a websocket: channel protocols v5 and v4 of Kubernetes' remote command.

A message is a channel's number and bytes: 1 stdout, 2 stderr, 3 the `Status` that ends the command (its exit
code is in there), 255 (v5) the close of a channel. Without that Status nobody knows whether the output is
whole, so it is never passed on.
(k8s.io/apimachinery/pkg/util/remotecommand; docs: kubernetes.io/docs/reference/using-api/api-concepts.)

The reading is not that of the client's `WSClient`: that copies all output at each message, cannot stop in the
middle of a frame that stalls, and takes a cut socket for the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

from labkit.errors import ConnectionLost, NoTarget
from labkit.exec.live_api import PASSING, pauses, seconds, signed
from labkit.exec.live_errors import api_error, cause, is_certificate, never_arrived, status_of
from labkit.exec.live_socket import Refused, open_websocket
from labkit.exec.output import kept, spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from tempfile import SpooledTemporaryFile

    from kubernetes.client import ApiClient
    from websocket import WebSocket

    from labkit.exec.live_api import Api
    from labkit.exec.output import Output
    from labkit.exec.request import Request

__all__ = ["Container", "Ended", "execute"]

#: How long to wait for the server to close after it has told the exit code.
CLOSING_S = 2.0
STDOUT, STDERR, ERROR = 1, 2, 3
#: What the API server says where it could not reach the kubelet: nothing was started. It passes v4 on itself
#: (apiserver/pkg/util/proxy: upgradeaware), and translates v5 (streamtranslator, client-go's spdy).
UNREACHED = ("error dialing backend", "error sending request")


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod."""

    namespace: str
    pod: str
    name: str


@dataclass(slots=True)
class Ended:
    """How a command ended: `status` is the server's Status, empty where time ran out before it came."""

    stdout: Output
    stderr: bytes
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int | None:
        """The command's exit code; None where it did not end, or did not start."""
        if self.status.get("status") == "Success":
            return 0
        for told in (self.status.get("details") or {}).get("causes") or []:
            if told.get("reason") == "ExitCode":
                return int(told["message"])
        return None

    @property
    def short_stdout(self) -> bytes:
        """stdout, if it may be a runtime's word in the place of the command's: none where it is a file."""
        return self.stdout if isinstance(self.stdout, bytes) else b""

    @property
    def refusal(self) -> str:
        """Why the command did not start; empty where it did."""
        refused = self.status.get("status") == "Failure" and self.exit_code is None
        return str(self.status.get("message") or "no reason told") if refused else ""


def execute(
    api: Api,
    where: Container,
    argv: Sequence[str],
    request: Request,
    *,
    limit_s: float,
    opened: Callable[[WebSocket], None] = lambda _: None,
) -> Ended:
    """Run a command and read its output to the end, or for `limit_s`.

    Opening is repeated as long as it is sure that the command has not started; after that nothing is. Raises
    NoTarget, ApiError, or ConnectionLost where the socket ended before the command's end was told.
    """
    left = pauses(api.patience_s)
    while True:
        socket = _open(api, where, argv, request, left)
        opened(socket)
        try:
            with spool() as stdout:
                ended = _read(socket, request, limit_s, stdout)
        finally:
            socket.shutdown()
        pause = next(left, None) if any(word in ended.refusal for word in UNREACHED) else None
        if pause is None:
            return ended
        time.sleep(pause)


def _open(
    api: Api, where: Container, argv: Sequence[str], request: Request, left: Iterator[float]
) -> WebSocket:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    renewed = False
    while True:
        after, serial = 0.0, api.access.current()
        try:
            return _connected(api.client(serial), where, argv)
        except Refused as error:
            problem = api_error(request, error.status, status_of(error.body))
            if error.status == 401 and not renewed and api.access.renew(serial):
                renewed = True
                continue
            if error.status not in PASSING or isinstance(problem, NoTarget):
                raise problem from None
            after = seconds(error.headers.get("Retry-After"))
        except (HTTPError, OSError) as error:
            problem = ConnectionLost(f"{request.words[:120]} on {request.subject}: {cause(error)}", request)
            if is_certificate(error) or not never_arrived(error):
                raise problem from None
        pause = next(left, None)
        if pause is None or after > api.patience_s:
            raise problem
        time.sleep(max(pause, after))


def _connected(client: ApiClient, where: Container, argv: Sequence[str]) -> WebSocket:
    path = f"/api/v1/namespaces/{where.namespace}/pods/{where.pod}/exec"
    query = [("command", list(argv)), ("container", where.name), ("stdout", True), ("stderr", True)]
    return open_websocket(client.configuration, *signed(client, "GET", path, query=query))


def _read(socket: WebSocket, request: Request, limit_s: float, stdout: SpooledTemporaryFile[bytes]) -> Ended:
    from websocket import ABNF, WebSocketException, WebSocketTimeoutException  # noqa: PLC0415

    stderr, told = BytesIO(), BytesIO()
    channels = {STDOUT: stdout, STDERR: stderr, ERROR: told}
    status: dict[str, Any] = {}
    why = ""
    end = time.monotonic() + limit_s
    while not why and (left := end - time.monotonic()) > 0:
        socket.settimeout(left)
        try:
            opcode, frame = socket.recv_data_frame(control_frame=True)
        except WebSocketTimeoutException:
            continue  # what has come of a frame is kept
        except (WebSocketException, OSError) as error:
            why = cause(error)
            continue
        if opcode == ABNF.OPCODE_CLOSE:
            why = "the server closed the connection"
        elif opcode in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and frame.data and frame.data[0] in channels:
            channels[frame.data[0]].write(memoryview(frame.data)[1:])
            if frame.data[0] == ERROR and (status := status_of(told.getvalue())):
                end = min(end, time.monotonic() + CLOSING_S)
    if why and not status:
        raise ConnectionLost(
            f"{request.words[:120]} on {request.subject}: {why} before the command's exit code was told; "
            "its output may be cut, so it is not used. Ask again",
            request,
        )
    return Ended(kept(stdout), stderr.getvalue(), status)
