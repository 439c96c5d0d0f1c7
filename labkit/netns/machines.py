"""The seam between the control plane of a lab and its machines: what a pod needs done, and who does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from labkit.exec.output import pieces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labkit.exec.output import Output
    from labkit.netns.topology import Topology

__all__ = ["Dataplane", "Done", "Machines"]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended. `exit_code` is None where its time limit cut it off, `output` a file where stdout is long."""

    exit_code: int | None
    output: Output
    stderr: bytes

    @property
    def stdout(self) -> bytes:
        """stdout in memory."""
        return b"".join(pieces(self.output))


class Machines(Protocol):
    """The nodes of a lab and the pods on them. All methods are safe in threads."""

    topology: Topology

    def start(self, pod: Mapping[str, Any]) -> str:
        """Wire a scheduled pod (`spec.nodeName` is set) up on its node and start its containers; its address."""

    def stop(self, namespace: str, name: str) -> None:
        """End a pod's processes and take its devices, routes and files away. One that is not there is no error."""

    def listening(self, namespace: str, name: str) -> set[tuple[str, int]]:
        """Protocol (`TCP`, `UDP`) and port of what the pod's processes listen on."""

    def running(self, namespace: str, name: str) -> dict[str, int | None]:
        """Each container's exit code; None while it runs."""

    def run(self, target: str, argv: Sequence[str], *, stdin: bytes = b"", limit_s: float = 120.0) -> Done:
        """Run a command on `node/<name>` or `pod/<namespace>/<name>/<container>`. KeyError where there is none."""

    def write(self, target: str, path: str, content: bytes) -> None:
        """Write a file into the root of a target."""

    def logs(self, target: str, tail: int) -> bytes:
        """The last lines that a container printed. KeyError where there is none."""


class Dataplane(Protocol):
    """What turns Services and policies into rules or maps on every node."""

    def sync(self, objects: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Program every node for these objects, by kind: Service, EndpointSlice, Pod, NetworkPolicy, Namespace.

        Returns when all nodes are programmed. Only what changed is rewritten, so that counters survive.
        """
