"""The server's side of RFC 6455, as far as an exec needs it."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading

CONTINUED, BINARY, CLOSE, PING = 0, 2, 8, 9
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def accept(key: str) -> str:
    """Sec-WebSocket-Accept for a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode(), usedforsecurity=False).digest()).decode()


def frame(payload: bytes, opcode: int = BINARY, *, last: bool = True) -> bytes:
    """One frame, unmasked, as servers send them. A message continues in frames of opcode 0."""
    head = bytes([opcode | (0x80 if last else 0)])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + b"\x7e" + struct.pack("!H", size) + payload
    return head + b"\x7f" + struct.pack("!Q", size) + payload


class Socket:
    """An upgraded connection. Sending is safe in threads."""

    def __init__(self, connection, reader, writer):
        self._connection, self._reader, self._writer = connection, reader, writer
        self._sending = threading.Lock()

    def send(self, payload: bytes, opcode: int = BINARY) -> None:
        self.raw(frame(payload, opcode))

    def raw(self, data: bytes) -> None:
        with self._sending:
            self._writer.write(data)
            self._writer.flush()

    def close(self) -> None:
        """Say so, and wait for the client to say so too."""
        self.send(struct.pack("!H", 1000), CLOSE)
        self._connection.settimeout(1.0)
        self._reader.read(8)

    def reset(self) -> None:
        """Close it, and let the kernel forget what the client has not taken yet."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def hang_up(self) -> None:
        """Cut it, in the middle of whatever it is."""
        self._connection.shutdown(socket.SHUT_RDWR)
