"""Security identities, of `cilium-dbg identity list -o json`.

Scopes: cilium `pkg/identity/numericidentity.go`. Below 256 the number is fixed by Cilium; the top byte
then says where the identity holds: 0 in the whole cluster, 1 on this node only (peers outside the
cluster), 2 on this node only (other nodes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import dump, frame_of, typed
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IDENTITIES", "identities"]

TOOL = "cilium-dbg identity list"

IDENTITIES = Schema("identities", "Security identities that an agent knows.", key=("identity",), columns=(
    Column("identity", "Int64", "number in policy maps, ipcache and flows"),
    Column("scope", "str", "reserved, cluster, local or remote-node: where the number holds"),
    Column("namespace", "str", "namespace of its pods; NA where it is not of pods"),
    Column("app", "str", "the label that names the workload: app, k8s-app, name or component; NA where none"),
    Column("labels", "str", "security-relevant labels with their source, comma-separated"),
))  # fmt: skip

RESERVED_BELOW = 256
SCOPE_SHIFT = 24
SCOPES = ("cluster", "local", "remote-node")
NAMESPACE = "k8s:io.kubernetes.pod.namespace"
APP = ("k8s:app", "k8s:k8s-app", "k8s:name", "k8s:component", "k8s:io.cilium/app")


def identities(data: bytes) -> pd.DataFrame:
    """Identities with their labels: frame IDENTITIES."""
    return frame_of(TOOL, IDENTITIES, map(_identity, dump(TOOL, data)))


def _identity(item: dict[str, Any]) -> dict[str, Any]:
    labels = sorted(typed(item["labels"], list, "labels"))
    values = dict(label.partition("=")[::2] for label in labels)
    return {
        "identity": item["id"],
        "scope": _scope(item["id"]),
        "namespace": values.get(NAMESPACE),
        "app": next((values[key] for key in APP if key in values), None),
        "labels": ",".join(labels),
    }


def _scope(number: int) -> str:
    return "reserved" if number < RESERVED_BELOW else SCOPES[number >> SCOPE_SHIFT]
