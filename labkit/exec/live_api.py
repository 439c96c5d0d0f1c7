"""Requests to the API server through the official client: bytes in, bytes out, repeated where that is safe.

GET, server-side apply and DELETE may be repeated; they are, with back-off and Retry-After, until they are
answered or patience ends: while the API server refuses connections, cuts them, is overloaded or broken.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from labkit.errors import ConnectionLost
from labkit.exec.live_errors import api_error, cause, is_certificate, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kubernetes.client import ApiClient
    from kubernetes.client.rest import RESTResponse

    from labkit.exec.live_config import Access
    from labkit.exec.request import Request

__all__ = ["APPLY", "NAMES_ONLY", "Api", "pauses", "seconds", "signed"]

CONNECT_S = 10.0
JSON = "application/json"
#: Media type of server-side apply; JSON is YAML.
APPLY = "application/apply-patch+yaml"
#: Asks for metadata alone, which is a tenth of a list of pods.
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
PASSING = frozenset({429, 500, 502, 503, 504})


def pauses(patience_s: float, longest_s: float = 5.0) -> Iterator[float]:
    """Seconds to wait between attempts: doubled each time, with jitter, until patience is used up."""
    end, pause = time.monotonic() + patience_s, 0.2
    while (left := end - time.monotonic()) > 0:
        yield min(pause * random.uniform(0.5, 1.0), left)  # noqa: S311  (no secret)
        pause = min(2 * pause, longest_s)


class Api:
    """The API server of one context. Safe in threads.

    `patience_s` is for how long a request is repeated; `answer_s` how long one answer may pause.
    """

    def __init__(self, access: Access, *, patience_s: float = 60.0, answer_s: float = 60.0) -> None:
        self.patience_s, self.answer_s = patience_s, answer_s
        self.access = access
        self._made: ApiClient | None = None
        self._serial = 0
        self._making = threading.Lock()

    def close(self) -> None:
        """Close the connections that are kept."""
        if self._made:
            self._made.close()

    def client(self, serial: int) -> ApiClient:
        """The official client with the credentials of this number, or newer ones."""
        from kubernetes.client import ApiClient  # noqa: PLC0415  (half a second)

        with self._making:
            if self._made is None or serial > self._serial:
                self._made, self._serial = ApiClient(self.access.configuration), serial
                self._made.user_agent = "labkit"
            return self._made

    def read(self, path: str, request: Request, *, accept: str = JSON) -> bytes:
        """GET a path. Raises ApiError where the server says no, ConnectionLost where it does not answer."""
        return self._until_answered("GET", path, request, accept=accept)

    def read_json(self, path: str, request: Request, *, accept: str = JSON) -> dict[str, Any]:
        """GET a path that answers with an object."""
        return dict(json.loads(self.read(path, request, accept=accept)))

    def apply(self, path: str, manifest: Mapping[str, Any], request: Request) -> bytes:
        """Server-side apply of one object as field manager `labkit`, taking over fields that others own."""
        query = f"{path}?fieldManager=labkit&force=true"
        return self._until_answered("PATCH", query, request, body=manifest, content=APPLY)

    def delete(self, path: str, propagation: str, request: Request, uid: str = "") -> bytes:
        """DELETE one object; with `uid` only that one, and not another that has its name meanwhile (status 409)."""
        body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid:
            body["preconditions"] = {"uid": uid}
        return self._until_answered("DELETE", path, request, body=body)

    def post(self, path: str, body: Mapping[str, Any], request: Request) -> dict[str, Any]:
        """POST a review (SelfSubjectAccessReview), which changes nothing and so may be repeated."""
        return dict(json.loads(self._until_answered("POST", path, request, body=body)))

    def watch(self, path: str, since: str, request: Request, limit_s: float) -> Iterator[dict[str, Any]]:
        """The events of a list from a resource version on, until the server ends the watch or the limit passes.

        Raises ApiError with status 410 where the version is too old, ConnectionLost where it was cut: read the
        list again in both cases.
        """
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        mark = "&" if "?" in path else "?"
        query = f"{path}{mark}watch=true&allowWatchBookmarks=true&resourceVersion={since}&timeoutSeconds={max(1, int(limit_s))}"
        try:
            answer = self._send(self.access.current(), "GET", query, read_s=limit_s + 5)
            if answer.status >= 400:
                raise api_error(request, answer.status, status_of(answer.read()))
            with contextlib.closing(answer.response):  # whoever has seen enough leaves in the middle
                for line in answer.response:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise api_error(request, int(event["object"].get("code", 500)), event["object"])
                    yield event
        except (ApiException, HTTPError, OSError, ValueError) as error:
            raise ConnectionLost(f"the watch of {path} ended: {cause(error)}", request) from None

    def _until_answered(
        self,
        method: str,
        path: str,
        request: Request,
        *,
        body: Mapping[str, Any] | None = None,
        content: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        doing = f"{method} {path.partition('?')[0]}"
        left, renewed = pauses(self.patience_s), False
        while True:
            after, serial = 0.0, self.access.current()
            try:
                answer = self._send(serial, method, path, body=body, content=content, accept=accept)
                data: bytes = answer.read()
                if answer.status < 400:
                    return data
                problem = api_error(request, answer.status, status_of(data), doing=doing)
                if answer.status == 401 and not renewed and self.access.renew(serial):
                    renewed = True
                    continue
                if answer.status not in PASSING:
                    raise problem
                after = seconds(answer.headers.get("Retry-After"))
            except (ApiException, HTTPError, OSError) as error:
                problem = ConnectionLost(f"{doing}: {cause(error)}", request)
                if is_certificate(error):
                    raise problem from None
            pause = next(left, None)
            if pause is None or after > self.patience_s:
                raise problem
            time.sleep(max(pause, after))

    def _send(
        self,
        serial: int,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: str = JSON,
        accept: str = JSON,
        read_s: float = 0.0,
    ) -> RESTResponse:
        client = self.client(serial)
        url, headers = signed(client, method, path, {"accept": accept, "accept-encoding": "gzip"})
        if body is not None:
            headers["Content-Type"] = content
        return client.call_api(
            method, url, headers, body, _request_timeout=(CONNECT_S, read_s or self.answer_s)
        )


def signed(
    client: ApiClient,
    method: str,
    path: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    query: Sequence[tuple[str, Any]] = (),
) -> tuple[str, dict[str, str]]:
    """The whole URL of a path, and headers with the client's credentials."""
    _, url, found, _, _ = client.param_serialize(
        method,
        path,
        query_params=list(query),
        header_params=dict(headers),
        auth_settings=["BearerToken"],
        collection_formats={"command": "multi"},
    )
    return url, found


def seconds(retry_after: str | None) -> float:
    """Retry-After in seconds; a date, which Kubernetes does not send, is ignored."""
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
