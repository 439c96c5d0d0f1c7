"""Opening the websocket of a command, with limits: the official client's configuration, proxy and TLS.

The client's own `create_websocket` waits without a limit, and its library reads the answer to the upgrade byte
by byte, which is more than half of the work of a short command. So the connection is made by urllib3, as that
of every other request, the answer is read by http.client, and the frames by websocket-client.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from kubernetes.client import Configuration
    from websocket import WebSocket

__all__ = ["Refused", "open_websocket"]

CONNECT_S = 10.0
#: How long the API server may take to upgrade: it first reaches the kubelet.
UPGRADE_S = 30.0
PIECE = 256 * 1024
#: RFC 6455, section 1.3.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Refused(Exception):
    """The API server answered with a status instead of an upgrade."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status, self.headers, self.body = status, headers, body


class Pieces:
    """A socket that is read in large pieces, however small those are that are asked for."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._held = memoryview(b"")

    def peek(self) -> memoryview:
        """What can be had at once; none at the end."""
        if not self._held:
            self._held = memoryview(self._inner.recv(PIECE))
        return self._held

    def recv(self, size: int) -> bytes:
        """At most so many bytes; none at the end."""
        part = self.peek()[:size]
        self._held = self._held[size:]
        return bytes(part)

    def makefile(self, _mode: str) -> io.BufferedIOBase:
        """For http.client, which reads the head of an answer, and a body if there is one, and not a byte more."""
        return _File(self)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (all else is the socket's)
        return getattr(self._inner, name)


class _File(io.BufferedIOBase):
    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def readable(self) -> bool:
        return True

    def peek(self, _size: int = 0) -> bytes:
        return bytes(self._pieces.peek())

    def read(self, size: int | None = -1) -> bytes:
        found = bytearray()
        while size is None or size < 0 or len(found) < size:
            part = self._pieces.recv(PIECE if size is None or size < 0 else size - len(found))
            if not part:
                break
            found += part
        return bytes(found)


def open_websocket(configuration: Configuration, url: str, headers: Mapping[str, str]) -> WebSocket:
    """A websocket that offers v5 and v4. Raises Refused, OSError, or HTTPError of urllib3."""
    from websocket import WebSocket  # noqa: PLC0415

    connection = Pieces(_connect(configuration, url))
    try:
        _upgrade(connection, url, headers)
    except BaseException:
        connection.close()
        raise
    found = WebSocket(skip_utf8_validation=True)
    found.sock, found.connected = cast("socket.socket", connection), True
    return found


def _upgrade(connection: Pieces, url: str, headers: Mapping[str, str]) -> None:
    from kubernetes.stream.ws_client import V4_CHANNEL_PROTOCOL, V5_CHANNEL_PROTOCOL  # noqa: PLC0415

    there = urlsplit(url)
    key = base64.b64encode(os.urandom(16)).decode()
    asked = {
        "Host": there.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": f"{V5_CHANNEL_PROTOCOL},{V4_CHANNEL_PROTOCOL}",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.items())
    connection.settimeout(UPGRADE_S)
    connection.sendall(f"GET {there.path}?{there.query} HTTP/1.1\r\n{head}\r\n".encode())
    answer = HTTPResponse(cast("socket.socket", connection), method="GET")
    try:
        answer.begin()
        if answer.status != 101:
            raise Refused(answer.status, dict(answer.headers), answer.read())
    except HTTPException as error:
        raise ConnectionError("the answer to the upgrade was cut") from error
    proof = base64.b64encode(hashlib.sha1((key + GUID).encode(), usedforsecurity=False).digest()).decode()
    if answer.headers["Sec-WebSocket-Accept"] != proof:
        raise ConnectionError("what answers there is no API server: the upgrade's proof is wrong")


def _connect(configuration: Configuration, url: str) -> socket.socket:
    """TCP, through the proxy if there is one for this host, and TLS."""
    from kubernetes.client.rest import should_bypass_proxies  # noqa: PLC0415
    from kubernetes.utils.keepalive import tcp_keepalive_socket_options  # noqa: PLC0415
    from urllib3.connection import HTTPConnection, HTTPSConnection  # noqa: PLC0415

    there = urlsplit(url)
    secure = there.scheme == "https"
    host, port = str(there.hostname), there.port or (443 if secure else 80)
    proxy = urlsplit(configuration.proxy or "")
    tunnel = bool(proxy.hostname) and not should_bypass_proxies(url, configuration.no_proxy or "")
    options: dict[str, Any] = {
        "host": proxy.hostname if tunnel else host,
        "port": (proxy.port or 80) if tunnel else port,
        "timeout": CONNECT_S,
        "socket_options": tcp_keepalive_socket_options(),
    }
    connection = HTTPSConnection(**options, **_tls(configuration)) if secure else HTTPConnection(**options)
    if tunnel:
        connection.set_tunnel(host, port, configuration.proxy_headers, scheme=proxy.scheme)
    connection.connect()
    return cast("socket.socket", connection.sock)


def _tls(configuration: Configuration) -> dict[str, Any]:
    return {
        "cert_reqs": "CERT_REQUIRED" if configuration.verify_ssl else "CERT_NONE",
        "ca_certs": configuration.ssl_ca_cert,
        "ca_cert_data": configuration.ca_cert_data,
        "cert_file": configuration.cert_file,
        "key_file": configuration.key_file,
        "assert_hostname": configuration.assert_hostname,
        "server_hostname": configuration.tls_server_name or None,
    }
