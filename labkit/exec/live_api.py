"""Requests to the API server through the official client: bytes in, bytes out, repeated where that is safe.

GET, server-side apply and DELETE may be repeated; they are, with back-off and Retry-After, until they are
answered or patience ends: while the API server refuses connections, cuts them, is overloaded or broken.
"""

from __future__ import annotations

import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from labkit.errors import ConnectionLost
from labkit.exec.live_errors import api_error, cause, is_certificate, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubernetes.client.rest import RESTResponse

    from labkit.exec.live_config import Access
    from labkit.exec.request import Request

__all__ = ["APPLY", "NAMES_ONLY", "Api", "pauses", "seconds"]

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
        from kubernetes.client import ApiClient  # noqa: PLC0415  (half a second)

        self.patience_s, self.answer_s = patience_s, answer_s
        self.configuration = access.configuration
        self._client = ApiClient(access.configuration)
        self._client.user_agent = "labkit"
        self._login = threading.Lock()  # a login program runs once, not in each thread

    def close(self) -> None:
        """Close the connections that are kept."""
        self._client.close()

    def signed(
        self, method: str, path: str, query: list[tuple[str, Any]] | None = None, **headers: str
    ) -> tuple[str, dict[str, str]]:
        """The whole URL of a path, and headers with credentials that are valid now."""
        with self._login:
            _, url, signed, _, _ = self._client.param_serialize(
                method,
                path,
                query_params=query or [],
                header_params={name.replace("_", "-"): value for name, value in headers.items()},
                auth_settings=["BearerToken"],
                collection_formats={"command": "multi"},
            )
        return url, signed

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

    def delete(self, path: str, propagation: str, request: Request) -> bytes:
        """DELETE one object."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
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
            answer = self._send("GET", query, read_s=limit_s + 5)
            if answer.status >= 400:
                raise api_error(request, answer.status, status_of(answer.read()))
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
        left = pauses(self.patience_s)
        while True:
            after = 0.0
            try:
                answer = self._send(method, path, body=body, content=content, accept=accept)
                data: bytes = answer.read()
                if answer.status < 400:
                    return data
                problem = api_error(request, answer.status, status_of(data), doing=doing)
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
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: str = JSON,
        accept: str = JSON,
        read_s: float = 0.0,
    ) -> RESTResponse:
        url, headers = self.signed(method, path, accept=accept, accept_encoding="gzip")
        if body is not None:
            headers["Content-Type"] = content
        return self._client.call_api(
            method, url, headers, body, _request_timeout=(CONNECT_S, read_s or self.answer_s)
        )


def seconds(retry_after: str | None) -> float:
    """Retry-After in seconds; a date, which Kubernetes does not send, is ignored."""
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
