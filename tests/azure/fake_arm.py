"""A fake Azure Resource Manager on loopback, over TLS, for the real SDK with its real pipeline.

It speaks the protocol as the Resource Manager RPC and AKS do: PUT answers 201 or 200 with Azure-AsyncOperation,
DELETE 202 with Location, both are polled with Retry-After, and what was asked for happens a few polls later.
A managed group comes with each cluster, carries its tags, and disappears later than the group of the cluster.
Faults are stated beforehand: at which request, which time, what happens instead.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.azure.fake_subscription import SUBSCRIPTION, Request, Subscription, as_bytes, error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.azure.fake_subscription import Answer

TOKEN = "a-token-of-the-test"  # noqa: S105
HOME = rf"/subscriptions/{SUBSCRIPTION}"
GROUP = rf"{HOME}/resourcegroups/([^/]+)"
CLUSTER = rf"{GROUP}/providers/microsoft.containerservice/managedclusters/([^/]+)"
#: Method, path in lower case, and what faults and tests call it; `Subscription` has a method of that name.
ROUTES = (
    ("GET", rf"{HOME}/resourcegroups", "list groups"),
    ("GET", GROUP, "get group"),
    ("PUT", GROUP, "put group"),
    ("DELETE", GROUP, "delete group"),
    ("GET", rf"{GROUP}/resources", "list resources"),
    ("GET", CLUSTER, "get cluster"),
    ("PUT", CLUSTER, "put cluster"),
    ("DELETE", CLUSTER, "delete cluster"),
    ("POST", rf"{CLUSTER}/listclusterusercredential", "user credential"),
    ("POST", rf"{CLUSTER}/listclusteradmincredential", "admin credential"),
    ("GET", rf"{HOME}/operations/([^/]+)", "poll operation"),
    ("GET", rf"{HOME}/operationresults/([^/]+)", "poll location"),
)


@dataclass
class Fault:
    """At the `nth` request called `at` (0: at every one), answer so instead; or with `drop`, not at all.

    `late` is an error that the operation ends with, after the request itself was accepted; with `lost` the
    request is carried out and the answer never arrives.
    """

    at: str
    status: int = 500
    code: str = "InternalServerError"
    message: str = "something broke"
    nth: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    whole: Any = None  # this body, instead of one with code and message
    bare: bool = False
    late: bool = False
    drop: bool = False
    lost: bool = False
    seen: int = 0

    def answer(self) -> Answer:
        status, _, body = error(self.status, self.code, self.message, bare=self.bare)
        return status, self.headers, body if self.whole is None else self.whole


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    name: str
    method: str
    path: str
    api_version: str
    body: dict[str, Any] | None


class FakeArm(Subscription):
    """A subscription with a server in front of it."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self._lock = threading.RLock()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server = Server(("127.0.0.1", 0), handler(self.answer))
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, kwargs={"poll_interval": 0.005}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, at: str, **fault: Any) -> None:
        """State a fault."""
        self.faults.append(Fault(at, **fault))

    def sent(self, name: str) -> list[Seen]:
        """The requests called so, in order."""
        return [seen for seen in self.seen if seen.name == name]

    def answer(self, method: str, url: str, authorization: str, body: Any) -> Answer | None:
        """The answer to a request; None is none at all."""
        parts = urlsplit(url)
        version = (parse_qs(parts.query).get("api-version") or [""])[0]
        with self._lock:
            name, found = route(method, parts.path.lower())
            self.seen.append(Seen(name, method, parts.path, version, body))
            if authorization != f"Bearer {TOKEN}":
                return error(401, "InvalidAuthenticationToken", "The access token is invalid.")
            if not version:
                return error(400, "MissingApiVersionParameter", "The api-version parameter is required.")
            fault = self._fault(name)
            if fault and (fault.drop or not (fault.late or fault.lost)):
                return None if fault.drop else fault.answer()
            late = {"code": fault.code, "message": fault.message} if fault and fault.late else None
            act = getattr(self, name.replace(" ", "_"), None)
            if act is None:
                return error(404, "InvalidResourceType", f"no such path: {parts.path}")
            answer: Answer = act(Request(parts.path, body, late), *found)
            return None if fault and fault.lost else answer

    def _fault(self, name: str) -> Fault | None:
        hit = None
        for fault in self.faults:
            if fault.at == name:
                fault.seen += 1
                if hit is None and fault.nth in (0, fault.seen):
                    hit = fault
        return hit


def route(method: str, path: str) -> tuple[str, tuple[str, ...]]:
    """What a request is called, and the names in its path."""
    for known, pattern, name in ROUTES:
        match = re.fullmatch(pattern, path)
        if match and known == method:
            return name, match.groups()
    return f"{method} {path}", ()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error of the server."""


def handler(answer: Callable[[str, str, str, Any], Answer | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet
        disable_nagle_algorithm = True

        def setup(self) -> None:
            self.request.do_handshake()
            super().setup()

        def log_message(self, *_: object) -> None:
            pass

        def any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            answered = answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            if answered is None:
                self.close_connection = True
                return
            status, headers, document = answered
            data = as_bytes(document)
            self.send_response(status)
            kind = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(data))}
            for name, value in {**kind, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = any

    return Handler


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake Azure Resource Manager")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - day, now + day
    )
    builder = builder.add_extension(address, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made = builder.sign(key, hashes.SHA256())
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return files
