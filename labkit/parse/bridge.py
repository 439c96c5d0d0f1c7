"""`bridge -j` of iproute2 and `brctl show` of bridge-utils: forwarding entries and ports.

Formats: `bridge/fdb.c` and `bridge/link.c` of iproute2, `brctl/brctl_cmd.c` of bridge-utils.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.parse.iproute import entries, framed
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BRCTL", "FORWARDING", "PORTS", "brctl", "forwarding", "ports"]

FORWARDING = Schema("forwarding", "Forwarding entries of bridges, VXLAN devices and the devices' own filters.",
    key=("interface", "mac", "dst_ip"), columns=(
    Column("interface", "str", "the device the entry belongs to; of a bridge, the port the MAC is behind"),
    Column("mac", "str", "link-layer address"),
    Column("dst_ip", "str", "of a VXLAN device: the tunnel's other end; else NA"),
    Column("port", "Int64", "of a VXLAN device: UDP port, where another than the device's own"),
    Column("vxlan_id", "Int64", "of a VXLAN device: network identifier, where another than the device's own"),
    Column("master", "str", "the bridge that uses the entry; NA for the device's own"),
    Column("vlan", "Int64", "VLAN, where the bridge filters by it"),
    Column("state", "str", "permanent, static, or empty where it was learnt"),
    Column("flags", "str", "self, extern_learn, …; comma-separated"),
))  # fmt: skip

PORTS = Schema("bridge_ports", "Devices that are ports of a bridge.", key=("master", "interface"), columns=(
    Column("master", "str", "the bridge; NA for a device that switches in hardware"),
    Column("interface", "str", "the port"),
    Column("state", "str", "forwarding, blocking, …"),
    Column("mtu", "Int64", "largest packet, in bytes"),
    Column("hairpin", "boolean", "may send a frame back by the port it came in by"),
    Column("learning", "boolean", "learns addresses from what it receives"),
    Column("flood", "boolean", "gets frames for unknown addresses"),
))  # fmt: skip

BRCTL = Schema("brctl", "What `brctl show` lists, one row a port.", key=("bridge", "interface"), columns=(
    Column("bridge", "str", "the bridge"),
    Column("bridge_id", "str", "priority and MAC"),
    Column("stp", "boolean", "spanning tree is on"),
    Column("interface", "str", "a port; NA for a bridge without ports"),
))  # fmt: skip

HEAD = ["bridge name", "bridge id", "STP enabled", "interfaces"]


def forwarding(data: bytes) -> pd.DataFrame:
    """`bridge -j fdb show`: frame FORWARDING. Raises ParseError."""
    return framed("bridge fdb", FORWARDING, (
        {
            "interface": entry["ifname"],
            "mac": entry["mac"],
            "dst_ip": entry.get("dst"),
            "port": entry.get("port"),
            "vxlan_id": entry.get("vni"),
            "master": entry.get("master"),
            "vlan": entry.get("vlan"),
            "state": entry["state"],
            "flags": ",".join(entry["flags"]),
        }
        for entry in entries("bridge fdb", data)
    ))  # fmt: skip


def ports(data: bytes) -> pd.DataFrame:
    """`bridge -j -d link show`: frame PORTS. Raises ParseError.

    The `link` of an entry is left out: iproute2 looks the number of the peer up among the devices of its
    own namespace, so that a veth whose peer is in a pod seems to hang on the device that has this number here.
    """
    return framed("bridge link", PORTS, (
        {
            "master": entry.get("master"),
            "interface": entry["ifname"],
            "state": entry.get("state"),
            "mtu": entry["mtu"],
            "hairpin": entry.get("hairpin"),
            "learning": entry.get("learning"),
            "flood": entry.get("flood"),
        }
        for entry in entries("bridge link", data)
    ))  # fmt: skip


def brctl(data: bytes) -> pd.DataFrame:
    """`brctl show`: frame BRCTL, empty where there is no bridge (it then prints its heading, or nothing)."""
    rows: list[dict[str, object]] = []
    lines = text_of("brctl", data).splitlines()
    if lines and [name for name in lines[0].split("\t") if name] != HEAD:
        raise ParseError("brctl", "an unknown heading", line=1, excerpt=lines[0])
    for number, line in enumerate(lines[1:], 2):
        match [field.strip() for field in line.split("\t") if field.strip()]:
            case [port] if rows:
                rows.append(rows[-1] | {"interface": port})
            case [bridge, bridge_id, "yes" | "no" as stp, *port] if len(port) < 2:
                rows.append({
                    "bridge": bridge,
                    "bridge_id": bridge_id,
                    "stp": stp == "yes",
                    "interface": port[0] if port else None,
                })  # fmt: skip
            case _:
                raise ParseError("brctl", "not a line of a bridge or a port", line=number, excerpt=line)
    return BRCTL.frame(rows)
