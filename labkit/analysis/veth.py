"""Which device of its node a pod hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["host_ends"]


def host_ends(pod_links: pd.DataFrame, pods: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """The host's end of every pod device that has one; all frames with `arm` or without.

    `pod_links` is frame LINKS by pod, `links` by node, `pods` frame PODS. Both ends name the other's number
    (`peer_ifindex`), and numbers are only unique in their namespace: a device counts as the other end if it
    is on the pod's node and points back, so that no other pod's device is taken for it.

    Columns: `pod`, `node`, `pod_ip`, `pod_interface`, `pod_mac`, `pod_mtu`, `host_interface`, `host_kind`,
    `host_mtu`, `master` (the bridge that end is a port of). A pod device without such an end has no row.
    """
    on = [column for column in ("arm",) if column in pod_links]
    own = ["pod", "pod_interface", "pod_mac", "pod_mtu", "ifindex", "peer_ifindex"]
    inside = pod_links.dropna(subset="peer_ifindex").rename(
        columns={"interface": "pod_interface", "mac": "pod_mac", "mtu": "pod_mtu"}
    )[[*on, *own]]
    placed = inside.merge(pods[[*on, "pod", "node", "pod_ip"]], on=[*on, "pod"])
    outside = links[[*on, "node", "ifindex", "peer_ifindex", "interface", "kind", "mtu", "master"]].rename(
        columns={
            "ifindex": "peer_ifindex",
            "peer_ifindex": "ifindex",
            "interface": "host_interface",
            "kind": "host_kind",
            "mtu": "host_mtu",
        }
    )
    ends = placed.merge(outside, on=[*on, "node", "ifindex", "peer_ifindex"])
    columns = ["pod", "node", "pod_ip", "pod_interface", "pod_mac", "pod_mtu"]
    return ends[[*on, *columns, "host_interface", "host_kind", "host_mtu", "master"]]
