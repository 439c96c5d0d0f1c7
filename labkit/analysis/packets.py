"""One packet, many sightings: the way of each captured packet across the interfaces.

A packet that leaves a pod, crosses its node, the network and another node is captured at every interface on
the way. It is known again by what neither routing, nor address translation, nor a tunnel changes: of all the
protocol, IP identification and length, inside the tunnel where there is one; of TCP sequence and
acknowledgement number and flags; of echoes type and number, and of echoes and UDP what the payload begins
with, or where that was not captured, the identifier or the client's port, which translation of the source may
change. A packet that is alike in all this and comes to an interface again is another one: sent twice. One that
is fragmented, or cut up or joined by a network card (segmentation offload), is others from there on.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["JOURNEYS", "example", "journeys", "on_a_card"]

#: Columns of a journey, after `arm` where there is one. `src_ip` to `icmp_seq` are those of the innermost
#: packet; `outer_*` are those of the tunnel around it.
JOURNEYS = (
    "packet", "step", "tap", "node", "pod", "interface", "device", "device_type", "direction", "time",
    "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "ttl", "ip_id", "ip_bytes", "tcp_flags",
    "icmp_type", "icmp_seq", "vlan", "encap", "vni", "outer_src_ip", "outer_dst_ip", "outer_port", "overhead_bytes",
    "wire_bytes", "headers", "request", "flow", "client_pod", "client_node", "client_port", "server_pod",
    "server_node", "cross_node", "service", "service_ip", "n", "reply",
)  # fmt: skip

INNER = (
    "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "ttl", "ip_id", "ip_bytes", "tcp_flags", "seq",
    "ack", "icmp_type", "icmp_id", "icmp_seq",
)  # fmt: skip
#: Devices in the order that a packet crosses them on its way out of a node.
OUTWARDS = ("pod", "veth", "bridge", "cilium_host", "vxlan", "geneve", "wireguard", "nic")
REQUESTS, REPLIES = (8, 128), (0, 129)  # ICMP and ICMPv6


def journeys(packets: pd.DataFrame, pods: pd.DataFrame, services: pd.DataFrame) -> pd.DataFrame:
    """Every sighting of every packet, packet by packet, each packet's in the order of its way.

    Takes the frames of `captures.packets`, `kubernetes.pods` and `kubernetes.services`, all with a column
    `arm` or none. `step` numbers the sightings of a packet from 0. Clocks of different nodes are not
    compared: the source pod comes first, then its node, then the destination's node and pod, and times
    decide only among what one machine saw.

    `client_pod` and `server_pod` are the pods at the ends of the packet, found wherever on its way their own
    addresses were seen; `service` is the Service whose ClusterIP was. `flow` names a ping or a connection,
    with both its directions; it is NA where an end is no pod. Host-network pods are no pods here: their
    address is their node's. `request` says that the packet goes from client to server; the server of TCP and
    UDP is the end with the lower port. `overhead_bytes` is what the tunnel adds to the IP packet, 0 without
    one, NA where the inside is encrypted.
    """
    arm = ["arm"] if "arm" in packets else []
    seen = _innermost(packets)
    seen["packet"] = _identity(seen, arm)
    seen = _with_ends(seen, pods, services, arm)
    seen = _with_flow(seen)
    return _in_order(seen, arm)[[*arm, *JOURNEYS]]


def _innermost(packets: pd.DataFrame) -> pd.DataFrame:
    """Each sighting with the fields of its innermost packet, and the outer addresses where it is in a tunnel."""
    carried = packets["inner_src_ip"].notna()
    seen = packets.drop(columns=[name for name in packets if str(name).startswith("inner_")])
    outside = {"src_ip": "outer_src_ip", "dst_ip": "outer_dst_ip", "dst_port": "outer_port"}
    for name, outer in outside.items():
        seen[outer] = packets[name].where(carried)
    for name in INNER:
        seen[name] = packets[f"inner_{name}"].where(carried, packets[name])
    added = (packets["ip_bytes"] - packets["inner_ip_bytes"]).where(carried)
    seen["overhead_bytes"] = added.mask(packets["encap"].isna(), 0)
    return seen


def _identity(seen: pd.DataFrame, arm: list[str]) -> pd.Series:
    """What makes a packet the same packet on its way, as text."""
    echo, tcp = seen["icmp_type"].notna(), seen["protocol"].eq("tcp")
    own = np.select(
        [echo, tcp],
        [_joined(seen, "icmp_type", "icmp_seq"), _joined(seen, "seq", "ack", "tcp_flags")],
        default="",
    )
    found = seen["protocol"].fillna("-") + " " + pd.Series(own, index=seen.index, dtype="str")
    found = (found + " " + _joined(seen, "ip_id", "ip_bytes")).astype("str")
    # a capture that keeps too little of some packets cannot tell them apart by what they begin with
    keys = [*(seen[name] for name in arm), found]
    marked = seen["payload_mark"].notna().groupby(keys).transform("all")
    client = seen["icmp_id"].fillna(seen[["src_port", "dst_port"]].max(axis=1)).astype("str").fillna("-")
    found = found + " " + seen["payload_mark"].astype("str").where(marked, client.mask(tcp, ""))
    point = [seen[name].fillna("-") for name in ("tap", "node", "pod", "interface", "direction", "src_mac")]
    again = found.groupby([*(seen[name] for name in arm), found, *point]).cumcount()
    return (found + (" again " + again.astype("str")).where(again > 0, "")).astype("str")


def _joined(frame: pd.DataFrame, *names: str) -> pd.Series:
    text = frame[names[0]].astype("str").fillna("-")
    for name in names[1:]:
        text = text + " " + frame[name].astype("str").fillna("-")
    return text


def _with_ends(
    seen: pd.DataFrame, pods: pd.DataFrame, services: pd.DataFrame, arm: list[str]
) -> pd.DataFrame:
    """Who is at the ends of the packet, whatever its addresses were at this sighting."""
    own = pods[~pods["host_network"] & pods["pod_ip"].notna()]
    own = own.drop_duplicates([*arm, "pod_ip"])[[*arm, "pod_ip", "pod", "node"]]
    virtual = services[services["cluster_ip"].notna()].drop_duplicates([*arm, "cluster_ip"])
    virtual = virtual.assign(service=virtual["namespace"] + "/" + virtual["service"])
    virtual = virtual[[*arm, "cluster_ip", "service"]]
    for end in ("src", "dst"):
        names = {"pod_ip": f"{end}_ip", "pod": f"{end}_pod", "node": f"{end}_node"}
        seen = seen.merge(own.rename(columns=names), on=[*arm, f"{end}_ip"], how="left")
        names = {"cluster_ip": f"{end}_ip", "service": f"{end}_service"}
        seen = seen.merge(virtual.rename(columns=names), on=[*arm, f"{end}_ip"], how="left")
        seen[f"{end}_number"] = seen[f"{end}_port"].fillna(seen["icmp_id"]).where(seen[f"{end}_pod"].notna())
    seen["service"] = seen["dst_service"].fillna(seen["src_service"])
    address = seen["dst_ip"].where(seen["dst_service"].notna(), seen["src_ip"])
    seen["service_ip"] = address.where(seen["service"].notna())
    shared = [
        "service",
        "service_ip",
        *(f"{e}_{x}" for e in ("src", "dst") for x in ("pod", "node", "number")),
    ]
    seen[shared] = seen.groupby([*arm, "packet"], sort=False)[shared].transform("first")
    return seen


def _with_flow(seen: pd.DataFrame) -> pd.DataFrame:
    """Which ping or connection the packet belongs to, and in which direction it goes."""
    asks = seen["icmp_type"].isin(REQUESTS)
    answers = seen["icmp_type"].isin(REPLIES)
    by_port = seen["dst_port"] <= seen["src_port"]
    request = pd.Series(np.select([asks, answers], [1, 0], default=-1), index=seen.index).astype("Int64")
    request = request.where(request >= 0, by_port.astype("Int64"))
    seen["request"] = request.astype("boolean")
    forth = seen["request"].fillna(value=True)
    for name in ("pod", "node", "number"):
        seen[f"client_{name}"] = seen[f"src_{name}"].where(forth, seen[f"dst_{name}"])
        seen[f"server_{name}"] = seen[f"dst_{name}"].where(forth, seen[f"src_{name}"])
    seen = seen.rename(columns={"client_number": "client_port"})
    text = (
        seen["protocol"] + " " + seen["client_pod"] + ":" + seen["client_port"].astype("str")
        + " > " + seen["server_pod"]
    )  # fmt: skip
    whole = seen[["request", "client_pod", "server_pod", "client_port"]].notna().all(axis=1)
    seen["flow"] = text.where(whole)
    seen["cross_node"] = (seen["client_node"] != seen["server_node"]).astype("boolean").where(whole)
    return seen


def _in_order(seen: pd.DataFrame, arm: list[str]) -> pd.DataFrame:
    in_pod, on_node = seen["tap"] == "pod", seen["tap"] == "node"
    stage = np.select(
        [
            in_pod & (seen["pod"] == seen["src_pod"]),
            on_node & (seen["node"] == seen["src_node"]),
            on_node & (seen["node"] == seen["dst_node"]),
            in_pod & (seen["pod"] == seen["dst_pod"]),
        ],
        [0, 1, 3, 4],
        default=2,
    )
    group = seen.groupby([*arm, "packet"], sort=False)
    # devices that pass a packet on at once have it at the same microsecond
    ranks = {kind: float(number) for number, kind in enumerate(OUTWARDS)}
    depth = seen["device"].map(ranks).astype("float64").fillna(len(OUTWARDS))
    depth = depth.where(stage < 3, -depth)
    seen = seen.assign(stage=stage, depth=depth, started=group["time"].transform("min"))
    if arm:
        seen["arm_order"] = pd.factorize(seen["arm"])[0]
    order = [*(["arm_order"] if arm else []), "started", "packet", "stage", "time", "depth", "n"]
    seen = seen.sort_values(order, kind="stable", ignore_index=True)
    return seen.assign(step=seen.groupby([*arm, "packet"], sort=False).cumcount().astype("Int64"))


def example(journeys: pd.DataFrame, *, of: str = "http") -> pd.DataFrame:
    """The journey of one packet of each arm: the first cross-node packet of its kind, all its sightings.

    `of` is `http` (the SYN of a connection to a Service's port 80, or to any pod's) or `ping` (an echo
    request). Of several the one with most sightings: all of its way. An arm that sent none between nodes is
    left out.
    """
    arm = ["arm"] if "arm" in journeys else []
    mine = journeys[journeys["cross_node"].fillna(value=False) & journeys["request"].fillna(value=False)]
    if of == "ping":
        mine = mine[mine["icmp_type"].isin(REQUESTS)]
    else:
        mine = mine[(mine["tcp_flags"] == "SYN") & (mine["dst_port"] == 80)]
    sightings = mine.groupby([*arm, "packet"])["step"].transform("size")
    mine = mine.assign(sightings=sightings).sort_values("sightings", ascending=False, kind="stable")
    first = mine.drop_duplicates(arm or ["request"])[[*arm, "packet"]]
    return journeys.merge(first, on=[*arm, "packet"], how="inner")


def on_a_card(journey: pd.DataFrame) -> tuple[tuple[str, str, int], ...]:
    """Where in the captures each arm's packet is as a network card first saw it: arm, reply and number."""
    seen = journey[journey["device"] == "nic"].drop_duplicates("arm")
    return tuple(zip(seen["arm"], seen["reply"], seen["n"].astype(int), strict=True))
