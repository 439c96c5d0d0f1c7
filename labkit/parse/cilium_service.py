"""Services as an agent means to load-balance them, of `cilium-dbg service list -o json`.

Shape: cilium `api/v1/models/service.go`; read is `status.realized`, what the agent has taken in. It is
not yet what is in the maps: a frontend that still waits to be written has no number (`id`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import dump, frame_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["SERVICES", "services"]

TOOL = "cilium-dbg service list"

SERVICES = Schema(
    "cilium_services", "Frontends of an agent, one row a backend; one row without backend where there is none.",
    key=("frontend_ip", "port", "protocol", "backend_ip", "backend_port"), columns=(
    Column("service_id", "Int64", "number of the frontend in this node's maps; NA while it is not in them"),
    Column("namespace", "str", "namespace of the Service"),
    Column("service", "str", "name of the Service"),
    Column("type", "str", "ClusterIP, NodePort, LoadBalancer, ExternalIPs, HostPort, …"),
    Column("frontend_ip", "str", "address that clients use"),
    Column("port", "Int64", "port that clients use"),
    Column("protocol", "str", "TCP, UDP or SCTP"),
    Column("backend_ip", "str", "address of a backend; NA where the frontend has none"),
    Column("backend_port", "Int64", "port of the backend"),
    Column("state", "str", "state of the backend: active, terminating, quarantined or maintenance"),
    Column("weight", "Int64", "weight of the backend"),
    Column("backend_node", "str", "node of the backend; NA where the agent does not know it"),
))  # fmt: skip


def services(data: bytes) -> pd.DataFrame:
    """Frontends and their backends: frame SERVICES."""
    return frame_of(TOOL, SERVICES, (row for item in dump(TOOL, data) for row in _service(item)))


def _service(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    realized = item["status"]["realized"]
    flags, frontend = realized.get("flags") or {}, realized["frontend-address"]
    backends: list[dict[str, Any]] = realized.get("backend-addresses") or [{}]
    for backend in backends:
        yield {
            "service_id": realized.get("id"),
            "namespace": flags.get("namespace"),
            "service": flags.get("name"),
            "type": flags.get("type"),
            "frontend_ip": frontend["ip"],
            "port": frontend["port"],
            "protocol": frontend["protocol"],
            "backend_ip": backend["ip"] if backend else None,
            "backend_port": backend.get("port"),
            "state": backend.get("state"),
            "weight": backend.get("weight"),
            "backend_node": backend.get("nodeName"),
        }
