"""The nodes that an agent knows, of `cilium-dbg node list -o json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import dump, frame_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PEERS", "peers"]

TOOL = "cilium-dbg node list"

PEERS = Schema("cilium_peers", "Nodes that an agent knows, itself too.", key=("cluster", "peer"), columns=(
    Column("cluster", "str", "name of the cluster in Cilium's configuration"),
    Column("peer", "str", "name of the node"),
    Column("node_ip", "str", "IPv4 address of the node"),
    Column("pod_cidr", "str", "range its pods get addresses from; NA where IPAM is delegated"),
    Column("health_ip", "str", "address of its health endpoint; NA where it has none"),
    Column("source", "str", "local, custom-resource, kvstore, …: where the agent knows it from"),
))  # fmt: skip


def peers(data: bytes) -> pd.DataFrame:
    """Nodes that an agent knows: frame PEERS."""
    return frame_of(TOOL, PEERS, map(_peer, dump(TOOL, data)))


def _peer(item: dict[str, Any]) -> dict[str, Any]:
    cluster, _, name = item["name"].rpartition("/")
    primary = item["primary-address"]["ipv4"]
    return {
        "cluster": cluster,
        "peer": name,
        "node_ip": primary["ip"],
        "pod_cidr": primary.get("alloc-range"),
        "health_ip": ((item.get("health-endpoint-address") or {}).get("ipv4") or {}).get("ip"),
        "source": item.get("source"),
    }
