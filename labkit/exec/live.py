"""A real cluster: any context of the kubeconfig, through the official client. Safe in threads.

Exec            a websocket each (live_exec), ended by its time limit there as well as here (live_commands)
Read, Logs      GET (live_api), repeated while the API server cannot be reached
Apply, Delete   server-side apply, deletion until it is gone (live_objects), only in labkit's own namespaces
"""

from __future__ import annotations

import importlib.metadata
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from labkit.errors import (
    ApiError,
    ConnectionLost,
    LabError,
    MissingFeature,
    OwnershipError,
    SourceError,
)
from labkit.exec.live_api import NAMES_ONLY, Api
from labkit.exec.live_commands import Commands
from labkit.exec.live_config import Access, shown
from labkit.exec.live_objects import Objects
from labkit.exec.live_targets import Targets
from labkit.exec.request import Apply, Delete, Exec, Logs, Read, Reply

if TYPE_CHECKING:
    from labkit.exec.output import Output
    from labkit.exec.request import Request

__all__ = ["Live"]

#: How long the API server is asked again at the start, and about what a cut socket left running.
HASTY_S = 5.0
#: How long to wait when a watch was cut, before the list is asked for.
LOST_S = 0.5


class Live:
    """An executor on the cluster behind a context.

    `limit_s` bounds a command, `delete_s` the wait for a deletion; `patience_s` is for how long an API server
    that does not answer is asked again. Something is only changed on clusters that labkit created (`created`),
    or whose context the person named (`allow_context`), and never with `read_only`.
    """

    def __init__(
        self,
        context: str,
        *,
        kubeconfig: str = "",
        namespace: str = "cni-lab",
        limit_s: float = 120.0,
        delete_s: float = 300.0,
        patience_s: float = 60.0,
        created: bool = False,
        allow_context: str = "",
        read_only: bool = False,
    ) -> None:
        """Connects. Raises SourceError for an unknown context, a failed login, or a cluster out of reach."""
        self._access = Access(context, kubeconfig)
        self._context, self._namespace = context, namespace
        self._delete_s = delete_s
        self._may_change, self._read_only = created or allow_context == context, read_only
        self._api = Api(self._access, patience_s=patience_s)
        self._hasty = Api(self._access, patience_s=min(HASTY_S, patience_s))
        self._targets = Targets(self._api, namespace)
        self._commands = Commands(self._api, self._hasty, self._targets, limit_s)
        self._objects = Objects(self._api, shown(context))
        self._closing = threading.Lock()
        self._closed = False
        try:
            self.about = self._describe()
        except LabError as error:
            self.close()
            raise SourceError(f"live:{shown(context)}: {error}") from None

    def run(self, request: Request) -> Reply:
        """Answer one request.

        Raises NoTarget, ApiError, ConnectionLost; OwnershipError for a change that is not labkit's to make, and
        MissingFeature for one that `read_only` rules out.
        """
        if self._closed:
            raise ConnectionLost(f"{self.about['name']} was closed before {request.words[:120]}", request)
        started, begun = datetime.now(UTC), time.perf_counter()
        code: int | None = 0
        out: Output = b""
        err = b""
        if isinstance(request, Exec):
            code, out, err = self._commands.run(request)
        elif isinstance(request, Read):
            out = self._api.read(request.path, request)
        elif isinstance(request, Logs):
            out = self._logs(request)
        elif isinstance(request, Apply):
            self._allow(request)
            out = self._objects.apply(request)
        elif isinstance(request, Delete):
            self._allow(request)
            out, left = self._objects.delete(request, self._delete_s)
            if left:
                code, err = None, f"still there after {self._delete_s:.0f} s: {', '.join(left)}\n".encode()
        return Reply("live", request, started, round(time.perf_counter() - begun, 4), code, out, err)

    def allowed(self, verb: str, resource: str, group: str = "", namespace: str = "") -> bool:
        """Whether who is logged in may do so (`pods/exec` is a subresource). Asking changes nothing."""
        kind, _, part = resource.partition("/")
        of = {"verb": verb, "group": group, "resource": kind, "subresource": part, "namespace": namespace}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        ask = Read(step="", path="/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        told = self._api.post(ask.path, {**review, "spec": {"resourceAttributes": of}}, ask)
        return bool(told["status"]["allowed"])

    @property
    def verified(self) -> bool:
        """Whether TLS proves that the server is the one of the kubeconfig, if it is spoken at all."""
        return bool(self._access.configuration.verify_ssl)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        time.sleep(seconds)

    def await_change(self, path: str, since: str, seconds: float) -> None:
        """Watch a list until it changes. Where it cannot be watched, time passes: it may have changed."""
        end = time.monotonic() + seconds
        try:
            for event in self._hasty.watch(path, since, Read(step="", path=path), seconds):
                if event["type"] != "BOOKMARK":
                    return
        except ConnectionLost:
            time.sleep(max(0.0, min(LOST_S, end - time.monotonic())))
        except ApiError as error:
            if error.status != 410:  # too old: there is something new
                time.sleep(max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """End the commands that still run, there too, and forget the credentials."""
        with self._closing:
            already, self._closed = self._closed, True
        if already:
            return
        self._commands.close()
        self._api.close()
        self._hasty.close()
        self._access.close()

    def _describe(self) -> dict[str, Any]:
        ask = Read(step="", path="/version")
        version = self._hasty.read_json("/version", ask)["gitVersion"]
        try:
            nodes = len(self._hasty.read_json("/api/v1/nodes", ask, accept=NAMES_ONLY)["items"])
        except ApiError as error:
            if error.status != 403:
                raise
            nodes = None
        return {
            "name": shown(self._context),
            "origin": "live",
            "note": f"Kubernetes {version}, {'its nodes may not be read' if nodes is None else f'{nodes} nodes'}.",
            "recorded_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "recorder": f"labkit {importlib.metadata.version('labkit')}",
            "namespace": self._namespace,
        }

    def _allow(self, request: Request) -> None:
        name = shown(self._context)
        if self._read_only:
            raise MissingFeature(name, f"read-only: this would need {request.words[:120]}")
        if not self._may_change:
            raise OwnershipError(
                f"labkit did not create the cluster of context {name}, so it does not change it "
                f"({request.words[:120]}); to allow it: --allow-context {self._context}"
            )

    def _logs(self, request: Logs) -> bytes:
        where = self._targets.find(request.target, request)
        query = urlencode({"container": where.name, "tailLines": request.tail})
        return self._api.read(
            f"/api/v1/namespaces/{where.namespace}/pods/{where.pod}/log?{query}", request, accept="*/*"
        )
