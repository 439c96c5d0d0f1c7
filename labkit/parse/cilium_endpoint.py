"""The endpoints of one node: as its agent has them, and as they stand in the endpoint map.

Of `cilium-dbg endpoint list -o json` (shape: cilium `api/v1/models/endpoint.go`) and of `cilium-dbg bpf
endpoint list -o json`. The host itself is an endpoint without an address in the first and an address
without an endpoint in the second; the health probe is one without a pod.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import dump, frame_of
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ENDPOINTS", "ENDPOINT_MAP", "endpoint_map", "endpoints"]

TOOL = "cilium-dbg endpoint list"
MAP_TOOL = "cilium-dbg bpf endpoint list"

ENDPOINTS = Schema("cilium_endpoints", "Endpoints of an agent.", key=("endpoint",), columns=(
    Column("endpoint", "Int64", "id, unique on its node only"),
    Column("identity", "Int64", "security identity; NA while it has none"),
    Column("namespace", "str", "namespace of its pod; NA for the host and the health probe"),
    Column("pod", "str", "its pod; NA for the host and the health probe"),
    Column("ip", "str", "IPv4 address; NA where it has none"),
    Column("interface", "str", "its interface on the node"),
    Column("mac", "str", "MAC address in the pod"),
    Column("state", "str", "ready, regenerating, waiting-for-identity, …"),
    Column("health", "str", "overall health: OK, Bootstrap, Pending, Warning, Failure or Disabled"),
    Column("ingress_enforced", "boolean", "drops ingress that no policy allows; NA while it has no policy state"),
    Column("egress_enforced", "boolean", "drops egress that no policy allows; NA while it has no policy state"),
    Column("policy_revision", "Int64", "revision of the policy set that is in its maps"),
    Column("labels", "str", "labels of its identity, comma-separated"),
))  # fmt: skip

ENDPOINT_MAP = Schema("endpoint_map", "The map of a node's own addresses.", key=("ip",), columns=(
    Column("ip", "str", "address on this node"),
    Column("endpoint", "Int64", "id of its endpoint; NA for an address of the host"),
    Column("identity", "Int64", "security identity; NA for an address of the host"),
    Column("ifindex", "Int64", "number of its interface on the node; NA for an address of the host"),
    Column("mac", "str", "MAC address in the pod; NA for an address of the host"),
))  # fmt: skip

HOST = "(localhost)"
LOCAL = re.compile(
    r"id=(?P<id>\d+)\s+sec_id=(?P<identity>\d+)\s+flags=\S+\s+ifindex=(?P<ifindex>\d+)\s+mac=(?P<mac>\S+)\s.*"
)

#: `policy-enabled` of the API: whether ingress and egress are enforced. Audit mode only reports.
ENFORCED = {
    "none": (False, False),
    "ingress": (True, False),
    "egress": (False, True),
    "both": (True, True),
    "audit-ingress": (False, False),
    "audit-egress": (False, False),
    "audit-both": (False, False),
}


def endpoints(data: bytes) -> pd.DataFrame:
    """Endpoints of an agent: frame ENDPOINTS."""
    return frame_of(TOOL, ENDPOINTS, map(_endpoint, dump(TOOL, data)))


def endpoint_map(data: bytes) -> pd.DataFrame:
    """Addresses of a node and the endpoints behind them: frame ENDPOINT_MAP."""
    entries = json_object(MAP_TOOL, data)
    return frame_of(
        MAP_TOOL, ENDPOINT_MAP, (_local(key, value) for key, values in entries.items() for value in values)
    )


def _local(key: str, value: str) -> dict[str, Any]:
    ip = key.rpartition(":")[0].strip("[]")
    if value == HOST:
        return {"ip": ip, "endpoint": None, "identity": None, "ifindex": None, "mac": None}
    found = LOCAL.fullmatch(value)
    if found is None or not ip:
        raise ValueError(f"cannot read {key!r}: {value!r}")
    return {
        "ip": ip,
        "endpoint": int(found["id"]),
        "identity": int(found["identity"]),
        "ifindex": int(found["ifindex"]),
        "mac": found["mac"].lower(),
    }


def _endpoint(item: dict[str, Any]) -> dict[str, Any]:
    status = item["status"]
    names = status.get("external-identifiers") or {}
    identity = status.get("identity") or {}
    networking = status.get("networking") or {}
    policy = (status.get("policy") or {}).get("realized") or {}
    ingress, egress = ENFORCED[policy["policy-enabled"]] if policy else (None, None)
    return {
        "endpoint": item["id"],
        "identity": identity.get("id"),
        "namespace": names.get("k8s-namespace") or None,
        "pod": names.get("k8s-pod-name") or None,
        "ip": next((a["ipv4"] for a in networking.get("addressing") or () if a.get("ipv4")), None),
        "interface": networking.get("interface-name") or None,
        "mac": networking.get("mac") or None,
        "state": status["state"],
        "health": (status.get("health") or {}).get("overallHealth"),
        "ingress_enforced": ingress,
        "egress_enforced": egress,
        "policy_revision": policy.get("policy-revision"),
        "labels": ",".join(sorted(identity.get("labels") or ())),
    }
