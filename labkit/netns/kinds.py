"""The kinds of objects that a lab's API knows, and the paths they are read at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KINDS", "Kind", "expand", "group_versions", "kind_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind. `generation` says whether the API server counts changes of its spec."""

    name: str
    plural: str
    group: str
    version: str = "v1"
    namespaced: bool = True
    generation: bool = False
    short: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """As an object names it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """The path of its group and version: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def words(self) -> str:
        """As kubectl prints it before a name: `service`, `deployment.apps`."""
        return f"{self.name.lower()}.{self.group}" if self.group else self.name.lower()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("Namespace", "namespaces", "", namespaced=False, short=("ns",)),
        Kind("Node", "nodes", "", namespaced=False, short=("no",)),
        Kind("Pod", "pods", "", generation=True, short=("po",)),
        Kind("Service", "services", "", short=("svc",)),
        Kind("ConfigMap", "configmaps", "", short=("cm",)),
        Kind("Event", "events", "", short=("ev",)),
        Kind("Deployment", "deployments", "apps", generation=True, short=("deploy",)),
        Kind("ReplicaSet", "replicasets", "apps", generation=True, short=("rs",)),
        Kind("DaemonSet", "daemonsets", "apps", generation=True, short=("ds",)),
        Kind("EndpointSlice", "endpointslices", "discovery.k8s.io", generation=True),
        Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io", generation=True, short=("netpol",)),
    )
}


def kind_of(item: Mapping[str, Any]) -> Kind:
    """The kind of an object. Raises ParameterError for one that the lab does not know."""
    kind = KINDS.get(str(item.get("kind")))
    if kind is None or item.get("apiVersion") != kind.api_version:
        raise ParameterError(
            f"a lab of network namespaces knows no {item.get('kind')} of {item.get('apiVersion')}; "
            f"it knows {', '.join(f'{k.name} ({k.api_version})' for k in KINDS.values())}"
        )
    return kind


def expand(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The objects of a `List`, or the object itself."""
    if item.get("kind") == "List":
        yield from item.get("items", ())
    else:
        yield item


def group_versions() -> dict[str, str]:
    """Named groups and their version, in the order of the table."""
    return {kind.group: kind.version for kind in KINDS.values() if kind.group}
