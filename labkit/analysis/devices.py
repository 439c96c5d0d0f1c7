"""The devices of nodes and pods in a few rows."""

from __future__ import annotations

import pandas as pd

from labkit.analysis.routing import TUNNELS

__all__ = ["overview", "tunnels", "wiring", "with_far_ends"]

NAMED = 3
LOOPBACK, CARD, BRIDGE, TUNNEL = "loopback", "network card", "bridge", "tunnel"
PAIR, POD_END, OTHER = "pair within the node", "other end in a pod", "other"


def overview(links: pd.DataFrame, routes: pd.DataFrame) -> pd.DataFrame:
    """Devices of each node by what they are for; frames LINKS and ROUTES with `arm` and `node`.

    Columns: `arm`, `node`, `use`, `kind` (NA for hardware and loopback), `bridge` (that they are ports of),
    `mtu` in bytes, `devices` (how many) and `names` (the first of them). The network card is the device that
    the default route leaves by; a veth whose other end is in another namespace is taken for a pod's.
    """
    keys = ["arm", "node", "use", "kind", "bridge", "mtu"]
    devices = links.assign(use=_use(links, routes), bridge=links["master"])
    grouped = devices.groupby(keys, sort=False, dropna=False)
    counted = grouped.agg(devices=("interface", "size"), names=("interface", _names)).reset_index()
    return counted.astype({"devices": "Int64", "names": "str", "bridge": "str", "kind": "str", "use": "str"})


def _use(links: pd.DataFrame, routes: pd.DataFrame) -> pd.Series:
    """What each device is for; what is said last holds."""
    default = routes[(routes["prefix"] == "default") & (routes["table"] == "main")]
    cards = set(zip(default["arm"], default["node"], default["interface"], strict=True))
    is_card = [key in cards for key in zip(links["arm"], links["node"], links["interface"], strict=True)]
    veth = links["kind"] == "veth"
    use = pd.Series(OTHER, index=links.index, dtype="str")
    for what, holds in (
        (LOOPBACK, links["link_type"] == LOOPBACK),
        (PAIR, veth & links["peer"].notna()),
        (POD_END, veth & links["peer_ifindex"].notna()),
        (BRIDGE, links["kind"] == "bridge"),
        (TUNNEL, links["kind"].isin(TUNNELS)),
        (CARD, pd.Series(is_card, index=links.index, dtype="bool")),
    ):
        use = use.mask(holds, what)
    return use


def _names(names: pd.Series) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names.iloc[:NAMED]) + more


def tunnels(links: pd.DataFrame, forwarding: pd.DataFrame, neighbours: pd.DataFrame) -> pd.DataFrame:
    """VXLAN devices and where they send to; frames LINKS, FORWARDING and NEIGHBOURS with `arm` and `node`.

    Columns: `arm`, `node`, `interface`, `vxlan_id`, `vxlan_port`, `vxlan_local_ip`, `vxlan_learning`; for each
    forwarding entry `mac`, `far_end` (node that the outer packet is sent to) and `next_hop` (of the routes
    that lead there, by the neighbour table). A device without entries has one row without them.
    """
    on = ["arm", "node", "interface"]
    own = ["vxlan_id", "vxlan_port", "vxlan_local_ip", "vxlan_learning"]
    devices = links.loc[links["kind"] == "vxlan", [*on, *own]]
    entries = forwarding.dropna(subset="dst_ip")[[*on, "mac", "dst_ip"]].rename(columns={"dst_ip": "far_end"})
    hops = neighbours[[*on, "mac", "dst_ip"]].rename(columns={"dst_ip": "next_hop"}).dropna(subset="mac")
    return devices.merge(entries, on=on, how="left").merge(hops, on=[*on, "mac"], how="left")


def with_far_ends(remote: pd.DataFrame, tunnels: pd.DataFrame) -> pd.DataFrame:
    """`remote_pods` of `labkit.analysis.routing` with the `far_end` of the tunnel that a route leads into.

    It is the node that the outer packet is sent to, by the forwarding entry for the next hop's `mac`. NA where
    the route leads into no tunnel, or no entry is there.
    """
    on = ["arm", "node", "interface", "next_hop"]
    return remote.merge(tunnels[[*on, "mac", "far_end"]].dropna(subset="next_hop"), on=on, how="left")


def wiring(ends: pd.DataFrame, addresses: pd.DataFrame, routes: pd.DataFrame) -> pd.DataFrame:
    """How each pod is tied to its node: `host_ends` of `labkit.analysis.veth`, with address and default route.

    `addresses` is frame ADDRESSES and `routes` frame ROUTES, both by pod and with `arm`. Columns in front of
    the ends: `arm`, `pod`, `node`, `address` (with the length of its prefix), `gateway` (of the default route).
    """
    device = ["arm", "pod", "interface"]
    own = addresses[(addresses["family"] == "inet") & (addresses["scope"] == "global")]
    own = own[device].assign(address=own["ip"] + "/" + own["prefix_length"].astype("str"))
    default = routes[routes["prefix"] == "default"]
    default = default[device].assign(gateway=default["next_hop"])
    tied = (
        ends.rename(columns={"pod_interface": "interface"})
        .merge(own, on=device, how="left")
        .merge(default, on=device, how="left")
        .rename(columns={"interface": "pod_interface", "master": "bridge"})
    )
    first = ["arm", "pod", "node", "address", "gateway"]
    return tied[[*first, "pod_interface", "pod_mtu", "host_interface", "host_kind", "host_mtu", "bridge"]]
