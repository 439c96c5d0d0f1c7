"""What the run-book says of devices, addresses and routes, held against what the kernels say."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from labkit.analysis import mtu
from labkit.analysis.routing import remote_pods
from labkit.analysis.veth import host_ends
from labkit.collect import kubernetes, node, pod
from labkit.explain import between_nodes
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.collect.gather import Collector
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

OVERVIEW = "Architecture Overview, CNI Overlay Architecture"
DIFFERENCES = "Traffic Flow Comparison, Key Differences Summary"


def _of(cluster: Cluster, collect: Collector[...]) -> pd.DataFrame:
    """A frame with a column `arm`, as the analysis takes it."""
    return collect(cluster).assign(arm=cluster.arm)


def _own_pods(cluster: Cluster) -> pd.DataFrame:
    """Running pods with a network namespace of their own."""
    found = kubernetes.pods(cluster)
    return found[~found["host_network"] & (found["phase"] == "Running")].dropna(subset="pod_ip")


@claim(
    "vxlan-device",
    "Nodes have a VXLAN device that tunnels pod traffic.",
    topic="routing",
    said=f"{OVERVIEW}; Route Table Analysis on Node (`ip link show type vxlan`)",
)
def vxlan_device(cluster: Cluster) -> Outcome:
    """A device of kind vxlan, and routes to the pods of other nodes that leave by it."""
    links, routes = _of(cluster, node.links), _of(cluster, node.routes)
    devices = links[links["kind"] == "vxlan"]
    evidence = [*links["reply"], *routes["reply"]]
    nodes = links["node"].nunique()
    if devices.empty:
        return refuted(f"no device of kind vxlan on {nodes} nodes", evidence, nodes=nodes, vxlan_devices=0)
    remote = remote_pods(_of(cluster, kubernetes.pods), routes, links)
    inside = remote["kind"] == "vxlan"
    numbers = {"nodes": nodes, "vxlan_devices": len(devices), "routes": len(remote), "routes_into_vxlan": int(inside.sum())}  # fmt: skip
    if remote.empty:
        return inconclusive("there are VXLAN devices, but no pods on other nodes", evidence, **numbers)
    if not inside.all():
        return refuted(
            f"{int((~inside).sum())} of {len(remote)} routes to other nodes' pods lead past the VXLAN devices",
            evidence, **numbers,
        )  # fmt: skip
    first = devices.iloc[0]
    return supported(
        f"all {len(remote)} routes to other nodes' pods leave by {first['interface']} "
        f"(VXLAN {first['vxlan_id']}, UDP {first['vxlan_port']})",
        evidence, **numbers,
    )  # fmt: skip


@claim(
    "node-bridge",
    "Pods hang on a kernel bridge of their node.",
    topic="routing",
    said=f"{OVERVIEW} (Node Bridge); {DIFFERENCES}, Traffic Routing",
)
def node_bridge(cluster: Cluster) -> Outcome:
    """The host's end of each frontend's veth, and whether it is the port of a bridge."""
    links, inside = _of(cluster, node.links), _of(cluster, pod.links)
    ends = host_ends(inside, _of(cluster, kubernetes.pods), links)
    evidence = [*inside["reply"], *links["reply"]]
    bridges = links[links["kind"] == "bridge"]
    on_bridge = ends["master"].isin(bridges["interface"])
    numbers = {"pods": len(ends), "pods_on_a_bridge": int(on_bridge.sum()), "bridges": len(bridges)}
    if ends.empty:
        return inconclusive("no host device of a pod was found", evidence, **numbers)
    if on_bridge.all():
        masters = ", ".join(sorted(set(ends["master"])))
        return supported(
            f"the host's end of all {len(ends)} pods that were asked is a port of {masters}",
            evidence, **numbers,
        )  # fmt: skip
    return refuted(
        f"the host's end of {int((~on_bridge).sum())} of {len(ends)} pods that were asked is a port of no bridge "
        f"({len(bridges)} bridges on the nodes)",
        evidence, **numbers,
    )  # fmt: skip


@claim(
    "cni-only-ipam",
    "The CNI plugin only manages addresses (IPAM).",
    topic="routing",
    said=f"{OVERVIEW} (Role); {DIFFERENCES}, IPAM Role",
)
def cni_only_ipam(cluster: Cluster) -> Outcome:
    """What of a pod's network exists besides its address: an address alone reaches nothing."""
    links, inside, routes = _of(cluster, node.links), _of(cluster, pod.links), _of(cluster, pod.routes)
    node_routes = _of(cluster, node.routes)
    ends = host_ends(inside, _of(cluster, kubernetes.pods), links)
    evidence = [*inside["reply"], *links["reply"], *routes["reply"], *node_routes["reply"]]
    to_pods = node_routes["prefix"].isin([f"{ip}/32" for ip in _own_pods(cluster)["pod_ip"]])
    ports = int(links["master"].notna().sum())
    numbers = {"veths": len(ends), "routes_in_pods": len(routes), "host_routes_to_pods": int(to_pods.sum()), "bridge_ports": ports}  # fmt: skip
    if ends.empty:
        return inconclusive("no host device of a pod was found", evidence, **numbers)
    wired = f"{int(to_pods.sum())} routes to single pods" if to_pods.any() else f"{ports} bridge ports"
    return refuted(
        f"besides the addresses there are a veth of each of {len(ends)} pods that were asked, "
        f"{len(routes)} routes in them, and {wired} on the nodes",
        evidence, **numbers,
    )  # fmt: skip


@claim(
    "pod-ips-from-pod-cidr",
    "A pod's address comes from its node's pod range.",
    topic="routing",
    said=f"{OVERVIEW} (Assigns Pod IPs from overlay subnet)",
)
def pod_ips_from_pod_cidr(cluster: Cluster) -> Outcome:
    """Every pod with an address of its own against `spec.podCIDR` of its node."""
    nodes, own = kubernetes.nodes(cluster), _own_pods(cluster)
    placed = own.merge(nodes[["node", "pod_cidr"]], on="node")
    evidence = [*nodes["reply"], *own["reply"]]
    if placed.empty or placed["pod_cidr"].isna().any():
        return inconclusive("the nodes do not say which pod range they have (spec.podCIDR)", evidence)
    inside = [
        ip_address(ip) in ip_network(cidr)
        for ip, cidr in zip(placed["pod_ip"], placed["pod_cidr"], strict=True)
    ]
    numbers = {"pods": len(inside), "pods_inside": sum(inside)}
    if all(inside):
        ranges = ", ".join(sorted(set(placed["pod_cidr"])))
        return supported(f"all {len(inside)} pods are in their node's range ({ranges})", evidence, **numbers)
    return refuted(f"{len(inside) - sum(inside)} of {len(inside)} pods are outside", evidence, **numbers)


def _all_in(addresses: pd.Series, prefix: str, what: str, evidence: list[str]) -> Outcome:
    inside = [ip_address(ip) in ip_network(prefix) for ip in addresses]
    shown = ", ".join(sorted(addresses)[:3])
    numbers = {"addresses": len(inside), "addresses_inside": sum(inside)}
    if inside and all(inside):
        return supported(f"all {len(inside)} {what} are in {prefix}: {shown}", evidence, **numbers)
    return refuted(f"{sum(inside)} of {len(inside)} {what} are in {prefix}: {shown}", evidence, **numbers)


@claim(
    "node-addresses-10-240",
    "The host network is 10.240.x.x.",
    topic="routing",
    said=f"{OVERVIEW} (Host Network)",
)
def node_addresses_10_240(cluster: Cluster) -> Outcome:
    """AKS gives nodes addresses of the virtual network it is told to use; current samples show 10.224."""
    nodes = kubernetes.nodes(cluster)
    return _all_in(nodes["node_ip"], "10.240.0.0/16", "node addresses", [*nodes["reply"]])


@claim(
    "pod-addresses-10-244",
    "Pods have addresses 10.244.x.",
    topic="routing",
    said=f"{OVERVIEW} and Cilium CNI Architecture (Pod A 10.244.x)",
)
def pod_addresses_10_244(cluster: Cluster) -> Outcome:
    """Drawn for both clusters, although the run-book creates the second with 10.245.0.0/16."""
    own = _own_pods(cluster)
    return _all_in(own["pod_ip"], "10.244.0.0/16", "pod addresses", [*own["reply"]])


@claim(
    "remote-pods-by-node-route",
    "A node has a route for the pods of each other node.",
    topic="routing",
    said="Route Table Analysis on Node (`ip route show`)",
)
def remote_pods_by_node_route(cluster: Cluster) -> Outcome:
    """The route that each node takes to each pod of another. On AKS it is the default route: Azure routes pods."""
    links, routes = _of(cluster, node.links), _of(cluster, node.routes)
    remote = remote_pods(_of(cluster, kubernetes.pods), routes, links)
    evidence = [*routes["reply"], *links["reply"]]
    if remote.empty:
        return inconclusive("no pods on other nodes", evidence)
    default = remote["how"].isin(["default route", "not at all"])
    numbers = {"routes": len(remote), "by_default_route": int(default.sum())}
    shown = "; ".join(dict.fromkeys(
        f"{row.prefix} via {row.next_hop} dev {row.interface}" for row in remote.itertuples()
    ))  # fmt: skip
    if default.any():
        return refuted(f"pods of other nodes are reached by {shown}", evidence, **numbers)
    return supported(f"pods of other nodes are reached by {shown}", evidence, **numbers)


@claim(
    "full-mtu-between-pods",
    "Pods can use the node's full MTU.",
    topic="routing",
    said="not in the run-book; its VXLAN tunnel would cost 50 bytes of each packet",
)
def full_mtu_between_pods(cluster: Cluster) -> Outcome:
    """Pings that may not be fragmented, to pods on other nodes, against the MTU of the nodes' way out."""
    links, routes, inside = _of(cluster, node.links), _of(cluster, node.routes), _of(cluster, pod.links)
    pods = _of(cluster, kubernetes.pods)
    probes, found = _of(cluster, pod.mtu_probes), _of(cluster, pod.path_mtus)
    sizes = mtu.path_mtu(probes, found, pods, host_ends(inside, pods, links), mtu.node_mtus(links, routes))
    away = sizes[sizes["path"] == "other node"]
    evidence = [*probes["reply"], *links["reply"]]
    if away.empty or away["node_mtu"].isna().any():
        return inconclusive("no probe between nodes, or no MTU of a node to compare with", evidence)
    first = away.iloc[0]
    numbers = {"node_mtu_bytes": int(first["node_mtu"]), "pod_mtu_bytes": int(first["pod_mtu"])}
    if away["full"].isna().any():
        return inconclusive("no probe was as large as the node's MTU", evidence, **numbers)
    passed = away["largest_passed"].dropna()
    if len(passed) == len(away):
        numbers["largest_passed_bytes"] = int(passed.min())
    if away["full"].all():
        return supported(
            f"packets of {numbers['node_mtu_bytes']} bytes reach pods on other nodes unfragmented",
            evidence, **numbers,
        )  # fmt: skip
    return refuted(
        f"the largest packet that reached every pod on another node unfragmented has "
        f"{numbers.get('largest_passed_bytes', 'no')} bytes; the node's own MTU is {numbers['node_mtu_bytes']} bytes",
        evidence, **numbers,
    )  # fmt: skip


def _crossed(arm: Cluster) -> tuple[list[str], str, list[str], str]:
    """Devices on the way (the longest of several), what is assumed of it, its replies, and why it is open, if it is."""
    hops = between_nodes(arm)
    forth = hops[hops["way"].str.startswith("1")]
    devices = forth[forth["place"] == "device"].groupby("branch")["device"].agg(list)
    assumed = forth.loc[forth["verdict"] == "assumed", "note"].dropna().unique()
    evidence = [reply for cell in forth["reply"].dropna() for reply in cell.split()]
    ends = forth.groupby("branch").tail(1)
    astray = ends[ends["verdict"] != "delivered"]
    why = "" if astray.empty else f"{astray['verdict'].iloc[0]}: {astray['decision'].iloc[0]}"
    return max(devices, key=len, default=[]), "; ".join(assumed), evidence, why


def _fewer(mine: Cluster, other: Cluster) -> Outcome:
    """The devices of nodes and pods between two frontends, by each arm's own state; routers between nodes are none."""
    counts, said, evidence = [], [], []
    for arm, mark in ((mine, ""), (other, "versus:")):
        devices, assumed, replies, why = _crossed(arm)
        evidence += [f"{mark}{reply}" for reply in replies]
        if why:
            return inconclusive(f"on {arm.arm} the way does not end in the other pod: {why}", evidence)
        counts.append(len(devices))
        said.append(f"{len(devices)} devices ({', '.join(devices)}{assumed and '; '}{assumed})")
    ours, theirs = counts
    contrast = "better" if ours < theirs else "worse" if ours > theirs else "no difference"
    return (supported if ours < theirs else refuted)(
        " against ".join(said), evidence, devices=ours, devices_versus=theirs, contrast=contrast
    )


@claim(
    "fewer-devices",
    "With Cilium a packet crosses fewer devices on its way to a pod on another node.",
    topic="routing",
    said=f"{DIFFERENCES}, Traffic Routing and Performance",
    scope="pair",
)
def fewer_devices(cluster: Cluster, other: Cluster) -> Outcome:
    """Devices on the explained way. Cilium can hand a packet into a pod past the host's end of its veth."""
    return _fewer(cluster, other)


@claim(
    "fewer-devices-than-first",
    "A packet crosses fewer devices on its way to a pod on another node than on the first arm.",
    topic="routing",
    said=f"(about the run-book) {DIFFERENCES}",
    scope="rivals",
)
def fewer_devices_than_first(mine: Cluster, other: Cluster) -> Outcome:
    """As `fewer-devices`, of two arms of which both have Cilium, or neither."""
    return _fewer(mine, other)


CLAIMS = (
    vxlan_device, node_bridge, cni_only_ipam, pod_ips_from_pod_cidr, node_addresses_10_240, pod_addresses_10_244,
    remote_pods_by_node_route, full_mtu_between_pods, fewer_devices, fewer_devices_than_first,
)  # fmt: skip
