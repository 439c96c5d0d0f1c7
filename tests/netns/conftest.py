"""Labs of network namespaces, one a topology for the whole session: starting one takes a second."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, closing
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from labkit.exec.netns import Netns
from labkit.exec.request import Apply, Delete, Exec, Read
from labkit.netns.needs import missing
from labkit.netns.topology import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labkit.exec.request import Reply

STEP = "baseline"


@cache
def lacking(topology: str) -> str:
    """What this machine lacks for a lab, in words; empty where one can run."""
    return "; ".join(f"{need.what} ({need.remedy})" for need in missing(TOPOLOGIES[topology]))


def require(topology: str) -> None:
    """Skip where a lab cannot run; in CI that is a failure."""
    if lacking(topology):
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop(f"no lab of namespaces here: {lacking(topology)}")


class Arm:
    """A lab, asked in few words."""

    def __init__(self, topology: str) -> None:
        self.topology = TOPOLOGIES[topology]
        self.executor = Netns(topology)

    def close(self) -> None:
        self.executor.close()

    def run(self, target: str, *argv: str, check: bool = True) -> Reply:
        """`target` is a node, or a pod of the namespace `test` whose container is called `main`."""
        where = f"node/{target}" if target.startswith("node-") else f"pod/test/{target}/main"
        reply = self.executor.run(Exec(step=STEP, target=where, argv=argv))
        assert not check or reply.exit_code == 0, (argv, reply)
        return reply

    def json(self, target: str, *argv: str) -> Any:
        return json.loads(self.run(target, *argv).stdout)

    def read(self, path: str) -> dict[str, Any]:
        return json.loads(self.executor.run(Read(step=STEP, path=path)).stdout)

    def apply(self, *objects: dict[str, Any]) -> Reply:
        return self.executor.run(Apply(step=STEP, objects=named(objects), manifest=json.dumps(objects)))

    def delete(self, *objects: dict[str, Any]) -> Reply:
        return self.executor.run(Delete(step=STEP, objects=named(objects), manifest=json.dumps(objects)))

    def ip(self, pod: str) -> str:
        """A pod's address, once its containers run."""
        return self.when(lambda: self.read(f"/api/v1/namespaces/test/pods/{pod}")["status"], is_running)[
            "podIP"
        ]

    def when(self, ask: Callable[[], Any], good: Callable[[Any], bool], limit_s: float = 10.0) -> Any:
        """What `ask` gives as soon as it is good."""
        end = time.monotonic() + limit_s
        while not good(found := ask()):
            assert time.monotonic() < end, found
            time.sleep(0.02)
        return found


def is_running(status: dict[str, Any]) -> bool:
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def named(objects: tuple[dict[str, Any], ...]) -> tuple[str, ...]:
    return tuple(f"{item['kind']}/{item['metadata']['name']}" for item in objects)


NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "test", "labels": {"app.kubernetes.io/managed-by": "labkit"}},
}


def pod(name: str, node: str, image: str = "nicolaka/netshoot", **container: Any) -> dict[str, Any]:
    """A pod of one container on a node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "test", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": image, **container}]},
    }


def variable(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


#: Writes its pod's and its node's name into its page, as the lab's backend does.
PAGE = 'echo "$POD $NODE" >/usr/local/apache2/htdocs/index.html; exec httpd-foreground'
WEB = pod(
    "web", "node-2", "httpd:2.4", command=["sh", "-c", PAGE],
    env=[variable("POD", "metadata.name"), variable("NODE", "spec.nodeName")],
)  # fmt: skip
PODS = (pod("near", "node-1"), pod("beside", "node-1"), pod("far", "node-2"), WEB)


@pytest.fixture(scope="session")
def arms() -> Iterator[Callable[[str], Arm]]:
    """The lab of a topology with pods in it, started when it is first asked for."""
    with ExitStack() as held:

        @cache
        def arm(topology: str) -> Arm:
            require(topology)
            made = held.enter_context(closing(Arm(topology)))
            made.apply(NAMESPACE, *PODS)
            for item in PODS:
                made.ip(item["metadata"]["name"])
            return made

        yield arm


@pytest.fixture(params=["vxlan", "routed"])
def arm(request: pytest.FixtureRequest, arms: Callable[[str], Arm]) -> Arm:
    """Each wiring in turn."""
    return arms(request.param)
