"""A fake API server on loopback that speaks the protocol: discovery, objects, watches, logs, exec by websocket.

What it answers comes from a `Backend`; what goes wrong from `Faults`. `latency_s` is a round trip: it passes
once for a connection and once for a request.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from labkit.errors import LabError
from tests.kube.execs import NOT_FOUND, V4, V5, serve_exec
from tests.kube.faults import Fault, Faults
from tests.kube.store import SERVED, Gone
from tests.kube.websocket import Socket, accept

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube.backend import Backend

VERSION = "v1.36.2"
OBJECT = re.compile(
    r"(?P<prefix>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))??/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<sub>exec|log))?)?"
)


class FakeKube:
    """The server. `stop` and `start` again are a restart: same port, same objects."""

    def __init__(
        self, backend: Backend, *, tls: tuple[Path, Path] | None = None, token: str = "", latency_s=0.0
    ):
        self.backend, self.store, self.faults = backend, backend.store, Faults()
        self.tls, self.token, self.latency_s = tls, token, latency_s
        self.protocols = (V5, V4)
        self.not_found = NOT_FOUND
        self.denied: set[tuple[str, str]] = set()
        self.seen: list[tuple[str, str]] = []
        self.execs = 0
        self.version = VERSION
        self.port = 0
        self._listener: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        kube = self

        class Bound(Handler):
            server_of = kube

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, client_address):
                """A client that went away is no error of the server."""

        self._listener = Listener(("127.0.0.1", self.port), Bound)
        self.port = self._listener.server_port
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            self._listener.socket = context.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and cut every connection."""
        if self._listener:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def replace(self, namespace: str, pod: str) -> None:
        """What a DaemonSet does where its pod ends: another one, of another name, on the same node."""
        one = self.store.delete("Pod", namespace, pod)
        self.backend.end(namespace, pod)
        one["metadata"]["name"] += "-2"
        self.store.apply(one)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server_of: FakeKube

    def setup(self):
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()
        self.server_of._connections.add(self.request)
        self.pass_time(self.server_of.latency_s)

    def finish(self):
        self.server_of._connections.discard(self.request)
        with contextlib.suppress(OSError):
            super().finish()

    def pass_time(self, seconds):
        if seconds:  # sleeping for 0 seconds gives the processor away
            time.sleep(seconds)

    def log_message(self, *_):
        pass

    def any(self):
        kube = self.server_of
        kube.seen.append((self.command, self.path))
        self.pass_time(kube.latency_s)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.fault = kube.faults.met(self.command, self.path) or Fault("")
        self.pass_time(self.fault.stall_s)
        if self.fault.drop:
            self.close_connection = True
        elif self.fault.status:
            self.status(self.fault.status, "Fault", self.fault.message, **self.fault.headers)
        elif kube.token and self.headers.get("Authorization") != f"Bearer {kube.token}":
            self.status(401, "Unauthorized", "Unauthorized")
        else:
            try:
                self.answer(urlsplit(self.path))
            except LabError as error:  # what stands behind said no
                status, reason = getattr(error, "status", 500), getattr(error, "reason", "InternalError")
                self.status(status, reason, str(error))

    do_GET = do_POST = do_PATCH = do_DELETE = any

    def answer(self, url):
        known = self.known(url.path)
        if (
            self.command == "GET"
            and "watch=" not in url.query
            and "/exec" not in url.path
            and "/log" not in url.path
        ):
            passed = self.server_of.backend.read(self.path)
            if passed is not None:
                return self.send(*passed)
        match = OBJECT.fullmatch(unquote(url.path))
        served = match and self.served(match["prefix"], match["plural"])
        if known is not None:
            self.send(200, known)
        elif url.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            self.review(json.loads(self.body))
        elif not served:
            self.status(404, "NotFound", "the server could not find the requested resource")
        else:
            query = parse_qs(url.query, keep_blank_values=True)
            space, name = match["namespace"] or "", match["name"]
            if not name:
                (self.watch if "watch" in query else self.list)(served, space, query)
            elif self.command == "PATCH":
                self.patch(served, space)
            elif (one := self.server_of.store.get(served.kind, space, name)) is None:
                self.status(404, "NotFound", f'{served.plural} "{name}" not found')
            elif match["sub"]:
                self.inside(match["sub"], one, query)
            elif self.command == "DELETE":
                self.delete(served, one)
            else:
                self.send(200, one)
        return None

    def list(self, served, namespace, _):
        found, version = self.server_of.store.list(served.kind, namespace)
        if "PartialObjectMetadata" in self.headers.get("Accept", ""):
            found = [{"metadata": one["metadata"]} for one in found]
        head = {"kind": f"{served.kind}List", "apiVersion": served.version}
        self.send(200, {**head, "metadata": {"resourceVersion": str(version)}, "items": found})

    def patch(self, served, namespace):
        if served.namespaced and self.server_of.store.get("Namespace", "", namespace) is None:
            self.status(404, "NotFound", f'namespaces "{namespace}" not found')
        else:
            applied, new = self.server_of.store.apply(json.loads(self.body))
            self.send(201 if new else 200, applied)

    def delete(self, served, one):
        meta = one["metadata"]
        wanted = json.loads(self.body or b"{}").get("preconditions", {}).get("uid", meta["uid"])
        if wanted != meta["uid"]:
            said = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {meta['uid']}"
            return self.status(409, "Conflict", said)
        self.server_of.store.delete(served.kind, meta.get("namespace", ""), meta["name"])
        if served.kind == "Pod":
            self.server_of.backend.end(meta["namespace"], meta["name"])
        details = {"name": meta["name"], "uid": meta["uid"]}
        return self.send(200, {"kind": "Status", "status": "Success", "details": details})

    def inside(self, sub, pod, query):
        """Exec and logs of a container."""
        meta, container = pod["metadata"], query["container"][0]
        target = f"pod/{meta['namespace']}/{meta['name']}/{container}"
        if container not in {c["name"] for c in pod["spec"]["containers"]}:
            self.status(400, "BadRequest", f"container {container} is not valid for pod {meta['name']}")
        elif sub == "log":
            tail = int(query.get("tailLines", ["1000"])[0])
            self.send(200, self.server_of.backend.logs(target, tail), kind="text/plain")
        else:
            self.exec(target, query["command"])

    def served(self, prefix, plural):
        return next((s for s in SERVED if (s.prefix, s.plural) == (prefix, plural)), None)

    def known(self, path: str) -> Any:
        """Version and discovery."""
        groups = sorted({s.version for s in SERVED if "/" in s.version})
        if path == "/version":
            return {"major": "1", "minor": "36", "gitVersion": self.server_of.version}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            versions = [{"groupVersion": g, "version": g.rpartition("/")[2]} for g in groups]
            listed = [
                {"name": v["groupVersion"].partition("/")[0], "versions": [v], "preferredVersion": v}
                for v in versions
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        for version in ("v1", *groups):
            kinds = [s for s in SERVED if s.version == version]
            if path == kinds[0].prefix:
                told = [
                    {
                        "name": s.plural,
                        "singularName": "",
                        "kind": s.kind,
                        "namespaced": s.namespaced,
                        "verbs": ["get"],
                    }
                    for s in kinds
                ]
                return {"kind": "APIResourceList", "groupVersion": version, "resources": told}
        return None

    def review(self, asked):
        of = asked["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (of["resource"], of.get("subresource"))))
        allowed = (of["verb"], resource) not in self.server_of.denied
        return self.send(201, {**asked, "status": {"allowed": allowed}})

    def watch(self, served, namespace, query):
        since = int(query.get("resourceVersion", ["0"])[0] or 0)
        limit = float(query.get("timeoutSeconds", ["60"])[0])
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(self.bookmark(served, since))
        try:
            for event in self.server_of.store.events(served.kind, namespace, since, limit):
                if event:
                    self.chunk({"type": event[0], "object": event[1]})
        except Gone:
            told = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}
            self.chunk({"type": "ERROR", "object": {**told, "message": f"too old resource version: {since}"}})
        self.wfile.write(b"0\r\n\r\n")

    def bookmark(self, served, version):
        one = {
            "kind": served.kind,
            "apiVersion": served.version,
            "metadata": {"resourceVersion": str(version)},
        }
        return {"type": "BOOKMARK", "object": one}

    def chunk(self, event):
        data = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def exec(self, target, argv):
        kube = self.server_of
        offered = [part.strip() for part in self.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        chosen = next((protocol for protocol in offered if protocol in kube.protocols), "")
        if self.headers.get("Upgrade", "").lower() != "websocket" or not chosen:
            return self.status(400, "BadRequest", "unable to upgrade: the protocols offered are not spoken")
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept(self.headers["Sec-WebSocket-Key"]))
        self.send_header("Sec-WebSocket-Protocol", chosen)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        kube.execs += 1
        socket = Socket(self.connection, self.rfile, self.wfile)
        return serve_exec(kube, socket, chosen, target, argv, self.fault)

    def status(self, code, reason, message, **headers):
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
        self.send(code, {**told, "reason": reason, "code": code}, headers=headers)

    def send(self, code, document, *, kind="application/json", headers=None):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(code)
        told = {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.fault.half else data)
        self.close_connection |= self.fault.half
