"""One exec after its upgrade: channels v4 and v5, as the kubelet and the API server speak them."""

from __future__ import annotations

import contextlib
import json
import time

from tests.kube.websocket import BINARY, CONTINUED, PING, frame

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
STDOUT, STDERR, ERROR = b"\x01", b"\x02", 3
#: As containerd and runc say it, through kubelet and API server.
NOT_FOUND = (
    "Internal error occurred: Internal error occurred: error executing command in container: failed to exec in "
    'container: failed to start exec "3881b2ec": OCI runtime exec failed: exec failed: unable to start container '
    'process: exec: "{}": executable file not found in $PATH: unknown'
)
#: As CRI-O passes on what runc logs: as the command's own stderr, with this exit code.
PRINTED = (
    'time="2026-11-27T07:00:00Z" level=error msg="exec failed: unable to start container process: exec: \\"{}\\": '
    'executable file not found in $PATH"\n'
)
PRINTED_CODE = 255


def serve_exec(kube, socket, protocol, target, argv, fault):
    """Run the command; send its output, its Status, and the close. A client that has gone ends nothing."""
    faulty = Faulty(kube, socket, fault, target)
    if protocol == V4:
        socket.send(STDOUT)  # says that the connection stands: an empty message on the lowest channel
    try:
        told = (
            internal(fault.refusal) if fault.refusal else ended(kube.backend.run(target, argv, faulty.send))
        )
    except FileNotFoundError:
        told = internal(kube.not_found.format(argv[0]))
        if kube.not_found == PRINTED:
            socket.send(STDERR + PRINTED.format(argv[0]).encode())
            told = ended(PRINTED_CODE)
    if faulty.cut:
        return
    with contextlib.suppress(OSError):
        if not fault.no_status:
            socket.send(bytes([ERROR]) + json.dumps(told).encode())
        if fault.reset:
            socket.reset()
        else:
            socket.close()


class Faulty:
    """Sends output, with the faults of this exec. After a cut the command runs on, unheard."""

    def __init__(self, kube, socket, fault, target):
        self._kube, self._socket, self._fault, self._target = kube, socket, fault, target
        self.cut, self._sent = False, 0

    def send(self, channel, data):
        """Raises OSError where nobody hears it any more."""
        payload = bytes([channel]) + data
        self._sent += len(data)
        if self._fault.cut_frame and self._sent > self._fault.cut_after:
            self._socket.raw(frame(payload)[: 2 + len(payload) // 2])
            self._hang_up()
        if self._fault.replaced:
            self._socket.send(payload)
            self._hang_up(lambda: self._kube.replace(*self._target.split("/")[1:3]))
        if self._fault.fragments:
            third = len(payload) // 3
            parts = payload[:third], payload[third : 2 * third], payload[2 * third :]
            for i, part in enumerate(parts):
                self._socket.raw(frame(part, CONTINUED if i else BINARY, last=i == 2))
                self._socket.raw(frame(b"are you there?", PING))
        elif self._fault.drip:
            self._drip(frame(payload))
        else:
            self._socket.send(payload)

    def _hang_up(self, then=lambda: None):
        if not self.cut:
            self.cut = True
            self._socket.hang_up()
            then()
        raise ConnectionAbortedError

    def _drip(self, data):
        step = max(1, len(data) // 50)
        for i in range(0, len(data), step):
            self._socket.raw(data[i : i + step])
            time.sleep(0.01)


def ended(code):
    """Status v1 of a command that ran."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal(message):
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}
