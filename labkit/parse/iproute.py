"""`ip -j` of iproute2: links, addresses and neighbours.

Formats: `ip/ipaddress.c`, `ip/iplink_vxlan.c` and `ip/ipneigh.c` of iproute2. Older versions print an empty
object for each entry that a filter (such as `type vxlan`) left out; those are no entries. Routes and rules
are in `labkit.parse.iproute_routes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import json_list
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

__all__ = ["ADDRESSES", "LINKS", "NEIGHBOURS", "addresses", "entries", "framed", "links", "neighbours"]

LINKS = Schema("links", "Network devices.", key=("ifindex",), columns=(
    Column("ifindex", "Int64", "number of the device in its network namespace"),
    Column("interface", "str", "name"),
    Column("kind", "str", "veth, bridge, vxlan, …; NA for hardware, loopback and where -d was not given"),
    Column("link_type", "str", "ether, loopback, none, …"),
    Column("state", "str", "operational state: UP, DOWN or UNKNOWN"),
    Column("mtu", "Int64", "largest packet, in bytes"),
    Column("mac", "str", "link-layer address"),
    Column("master", "str", "the bridge or bond it is a port of"),
    Column("peer_ifindex", "Int64", "the device it is tied to in another namespace; of a veth, its other end"),
    Column("peer_netns", "Int64", "local number of that namespace"),
    Column("peer", "str", "the device it is tied to in the same namespace"),
    Column("vxlan_id", "Int64", "VXLAN network identifier"),
    Column("vxlan_port", "Int64", "UDP port it sends to"),
    Column("vxlan_local_ip", "str", "source address of the outer packets"),
    Column("vxlan_interface", "str", "the device that sends the outer packets"),
    Column("vxlan_learning", "boolean", "learns forwarding entries from what it receives"),
    Column("rx_packets", "Int64", "packets received; NA where -s was not given"),
    Column("rx_bytes", "Int64", "bytes received"),
    Column("rx_errors", "Int64", "packets received with an error"),
    Column("rx_dropped", "Int64", "received packets that were dropped"),
    Column("tx_packets", "Int64", "packets sent"),
    Column("tx_bytes", "Int64", "bytes sent"),
    Column("tx_errors", "Int64", "packets that could not be sent for an error"),
    Column("tx_dropped", "Int64", "packets to be sent that were dropped"),
))  # fmt: skip

ADDRESSES = Schema("addresses", "Addresses on devices.", key=("ifindex", "family", "ip"), columns=(
    Column("ifindex", "Int64", "number of the device"),
    Column("interface", "str", "name of the device"),
    Column("family", "str", "inet or inet6"),
    Column("ip", "str", "address"),
    Column("prefix_length", "Int64", "length of the network part"),
    Column("scope", "str", "global, link or host"),
))  # fmt: skip

NEIGHBOURS = Schema("neighbours", "The neighbour table: who has which MAC.", key=("interface", "dst_ip"), columns=(
    Column("dst_ip", "str", "the neighbour's address"),
    Column("interface", "str", "the device it is reached by"),
    Column("mac", "str", "its link-layer address; NA where it is not resolved"),
    Column("state", "str", "REACHABLE, STALE, PERMANENT, …; several comma-separated"),
))  # fmt: skip

TRAFFIC = ("packets", "bytes", "errors", "dropped")


def entries(tool: str, data: bytes) -> list[dict[str, Any]]:
    """The entries of a JSON answer, without the empty objects of older versions."""
    found = json_list(tool, data)
    for entry in found:
        if not isinstance(entry, dict):
            raise ParseError(tool, "an entry that is no object", excerpt=str(entry))
    return [entry for entry in found if entry]


def framed(tool: str, schema: Schema, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a frame; a member that an entry lacks raises ParseError."""
    try:
        return schema.frame(rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise ParseError(tool, f"an entry of {schema.name} without {error}") from None


def links(data: bytes) -> pd.DataFrame:
    """`ip -j [-d] [-s] link show [type KIND]`: frame LINKS. Raises ParseError."""
    return framed("ip link", LINKS, map(_link, entries("ip link", data)))


def _link(entry: dict[str, Any]) -> dict[str, Any]:
    info = entry.get("linkinfo", {})
    vxlan = info.get("info_data", {}) if info.get("info_kind") == "vxlan" else {}
    stats = entry.get("stats64", {})
    return {
        "ifindex": entry["ifindex"],
        "interface": entry["ifname"],
        "kind": info.get("info_kind"),
        "link_type": entry["link_type"],
        "state": entry["operstate"],
        "mtu": entry["mtu"],
        "mac": entry.get("address"),
        "master": entry.get("master"),
        "peer_ifindex": entry.get("link_index"),
        "peer_netns": entry.get("link_netnsid"),
        "peer": entry.get("link"),
        "vxlan_id": vxlan.get("id"),
        "vxlan_port": vxlan.get("port"),
        "vxlan_local_ip": vxlan.get("local") or vxlan.get("local6"),
        "vxlan_interface": vxlan.get("link"),
        "vxlan_learning": vxlan.get("learning"),
        **{f"{way}_{name}": stats[way][name] if stats else None for way in ("rx", "tx") for name in TRAFFIC},
    }


def addresses(data: bytes) -> pd.DataFrame:
    """`ip -j addr show`: frame ADDRESSES. A device without addresses has no row. Raises ParseError."""
    return framed("ip addr", ADDRESSES, (
        {
            "ifindex": entry["ifindex"],
            "interface": entry["ifname"],
            "family": address["family"],
            "ip": address["local"],
            "prefix_length": address["prefixlen"],
            "scope": address["scope"],
        }
        for entry in entries("ip addr", data)
        for address in entry["addr_info"]
    ))  # fmt: skip


def neighbours(data: bytes) -> pd.DataFrame:
    """`ip -j neigh show`: frame NEIGHBOURS. Raises ParseError."""
    return framed("ip neigh", NEIGHBOURS, (
        {
            "dst_ip": entry["dst"],
            "interface": entry["dev"],
            "mac": entry.get("lladdr"),
            "state": ",".join(entry["state"]),
        }
        for entry in entries("ip neigh", data)
    ))  # fmt: skip
