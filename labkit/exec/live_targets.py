"""Which container a target is: `pod/<namespace>/<name>/<container>`, or the analyzer of `node/<name>`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from labkit.errors import NoTarget
from labkit.exec.live_exec import Container

if TYPE_CHECKING:
    from labkit.exec.live_api import Api
    from labkit.exec.request import Request

__all__ = ["ANALYZER", "Targets"]

#: DaemonSet and container of the analyzer.
ANALYZER = ("network-analyzer", "analyzer")


class Targets:
    """Finds containers; the analyzers are remembered until one is missing. Safe in threads."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self.namespace = api, namespace
        self._analyzers: dict[str, str] = {}
        self._asking = threading.Lock()

    def find(self, target: str, request: Request) -> Container:
        """The container of a target. Raises NoTarget where the node has no analyzer that runs."""
        kind, _, name = target.partition("/")
        if kind == "pod" and name.count("/") == 2:
            return Container(*name.split("/"))
        if kind == "node" and name:
            return self.analyzer(name, request)
        raise NoTarget(f"{target!r} is no target: node/<name> or pod/<namespace>/<name>/<container>", request)

    def analyzer(self, node: str, request: Request) -> Container:
        """The analyzer of a node."""
        with self._asking:
            if node not in self._analyzers:
                self._analyzers = self._read(request)
            pod = self._analyzers.get(node)
        if pod is None:
            raise NoTarget(
                f"no pod of DaemonSet {ANALYZER[0]} runs on node {node} (namespace {self.namespace}); "
                f"apply the workload (01_setup), or see why it does not come up: "
                f"kubectl -n {self.namespace} describe daemonset {ANALYZER[0]}",
                request,
            )
        return Container(self.namespace, pod, ANALYZER[1])

    def forget(self, where: Container) -> None:
        """Look again for this analyzer: its pod has gone."""
        with self._asking:
            self._analyzers = {node: pod for node, pod in self._analyzers.items() if pod != where.pod}

    def _read(self, request: Request) -> dict[str, str]:
        listed = self._api.read_json(f"/api/v1/namespaces/{self.namespace}/pods", request)
        return {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in listed["items"] if _serves(pod)}


def _serves(pod: dict[str, Any]) -> bool:
    """Whether this pod is an analyzer whose container runs, and not one that is being deleted."""
    meta, status = pod["metadata"], pod.get("status", {})
    owners = {(owner["kind"], owner["name"]) for owner in meta.get("ownerReferences") or []}
    running = {
        told["name"] for told in status.get("containerStatuses") or [] if "running" in told.get("state", {})
    }
    return ("DaemonSet", ANALYZER[0]) in owners and "deletionTimestamp" not in meta and ANALYZER[1] in running
