"""How large a packet may be: what is configured, and what got through."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HEADERS", "node_mtus", "path_mtu"]

#: Bytes of IPv4 and ICMP headers around the payload of an echo.
HEADERS = 28
COLUMNS = {
    "arm": "str", "pod": "str", "dst_ip": "str", "path": "str", "node_mtu": "Int64", "pod_mtu": "Int64",
    "tracepath_mtu": "Int64", "largest_passed": "Int64", "smallest_failed": "Int64", "full": "boolean",
}  # fmt: skip


def node_mtus(links: pd.DataFrame, routes: pd.DataFrame) -> pd.DataFrame:
    """The MTU of the device that each node's default route leaves by: `arm`, `node`, `interface`, `node_mtu`."""
    default = routes[
        (routes["prefix"] == "default") & (routes["table"] == "main") & (routes["family"] == "inet")
    ]
    leaving = default.sort_values("metric", kind="stable").drop_duplicates(["arm", "node"])
    merged = leaving[["arm", "node", "interface"]].merge(links, on=["arm", "node", "interface"])
    return merged.rename(columns={"mtu": "node_mtu"})[["arm", "node", "interface", "node_mtu"]]


def path_mtu(
    probes: pd.DataFrame,
    path_mtus: pd.DataFrame,
    pods: pd.DataFrame,
    host_ends: pd.DataFrame,
    nodes: pd.DataFrame,
) -> pd.DataFrame:
    """MTUs of each pod and destination, in bytes of the whole packet; all frames with `arm`.

    `probes` is frame SUMMARY of pings that may not be fragmented, `path_mtus` frame PATH_MTU, `pods` frame
    PODS, `host_ends` of `labkit.analysis.veth`, `nodes` of `node_mtus`.

    Columns: `path` (same node or other node), `node_mtu`, `pod_mtu`, `tracepath_mtu`, `largest_passed`,
    `smallest_failed` (NA where all passed), `full`: a packet of the node's MTU passed; NA where none was tried.
    """
    key = ["arm", "pod", "dst_ip"]
    sized = probes.assign(size=probes["payload_bytes"] + HEADERS)
    passed = sized[sized["received"] > 0].groupby(key)["size"].max().rename("largest_passed")
    failed = sized[sized["received"] == 0].groupby(key)["size"].min().rename("smallest_failed")
    tried = sized.groupby(key)["size"].max().rename("largest_tried")
    found = path_mtus.set_index(key)["mtu"].rename("tracepath_mtu")
    frame = sized[key].drop_duplicates(ignore_index=True)
    for column in (passed, failed, tried, found):
        frame = frame.merge(column.reset_index(), on=key, how="left")
    places = host_ends[["arm", "pod", "node", "pod_mtu"]]
    frame = frame.merge(places, on=["arm", "pod"], how="left").merge(
        nodes[["arm", "node", "node_mtu"]], on=["arm", "node"], how="left"
    )
    there = pods[["arm", "pod_ip", "node"]].rename(columns={"pod_ip": "dst_ip", "node": "dst_node"})
    frame = frame.merge(there.drop_duplicates(["arm", "dst_ip"]), on=["arm", "dst_ip"], how="left")
    frame["path"] = "other node"
    frame["path"] = frame["path"].mask(frame["node"] == frame["dst_node"], "same node")
    full = (frame["largest_passed"].fillna(0) >= frame["node_mtu"]).astype("boolean")
    frame["full"] = full.mask(frame["largest_tried"] < frame["node_mtu"])
    return frame[list(COLUMNS)].astype(COLUMNS)
