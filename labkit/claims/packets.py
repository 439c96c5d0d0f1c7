"""What the run-book draws of packets between pods, held against captured packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.flows import on_the_wire, translations
from labkit.analysis.packets import journeys
from labkit.cluster import once
from labkit.collect import captures, kubernetes
from labkit.findings import claim, inconclusive, refuted, supported

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]


@once
def _journeys(cluster: Cluster) -> pd.DataFrame:
    here = cluster.at("baseline")
    return journeys(captures.packets(cluster), kubernetes.pods(here), kubernetes.services(here))


def _unseen(found: pd.DataFrame) -> Outcome:
    """Why no flow between nodes can be judged: there was none, or the node network carries it encrypted."""
    evidence = found["reply"]
    hidden = found.loc[(found["device"] == "nic") & found["encap"].isin(["wireguard", "esp"]), "encap"]
    if not hidden.empty:
        names = ", ".join(sorted(hidden.unique()))
        return inconclusive(f"the network cards carried {names}; what is inside is encrypted", evidence)
    return inconclusive("no packet between pods on different nodes was captured on a network card", evidence)


def _numbers(wire: pd.DataFrame) -> dict[str, int]:
    tunnelled = wire["encap"] != "none"
    numbers = {
        "cross_node_flows": len(wire),
        "packets": int(wire["packets_on_the_wire"].sum()),
        "encapsulated_flows": int(tunnelled.sum()),
        "bare_flows": int((~tunnelled).sum()),
        "overhead_bytes": int(wire["overhead_bytes"].max()),
    }
    for name, column in (("udp_port", "outer_port"), ("vni", "vni")):
        if wire[column].notna().any():
            numbers[name] = int(wire[column].min())
    return numbers


@claim(
    "vxlan-between-nodes",
    "Pod traffic is encapsulated in VXLAN between nodes.",
    topic="packets",
    said="Architecture Overview, CNI Overlay Architecture",
)
def vxlan_between_nodes(cluster: Cluster) -> Outcome:
    """Every flow between pods on different nodes, as the network cards of the nodes saw it."""
    found = _journeys(cluster)
    wire = on_the_wire(found)
    seen = wire[wire["nics"] > 0]
    if seen.empty:
        return _unseen(found)
    evidence = found.loc[found["flow"].isin(seen["flow"]), "reply"]
    numbers = _numbers(seen)
    in_vxlan, bare = seen["encap"] == "vxlan", seen["encap"] == "none"
    if not in_vxlan.all():
        how = f"{int(bare.sum())} of them bare" + ("" if bare.all() else f", {_others(seen)}")
        return refuted(
            f"{len(seen)} flows between nodes were seen on the network cards, {how}", evidence, **numbers
        )
    if len(seen) < len(wire):
        reason = f"{len(wire) - len(seen)} of {len(wire)} flows between nodes were on no network card"
        return inconclusive(reason, evidence, **numbers)
    kinds = ", ".join(f"{count} {name}" for name, count in seen["protocol"].value_counts().items())
    return supported(
        f"all {len(seen)} flows between nodes ({kinds}; {numbers['packets']} packets) cross the network cards in VXLAN: "
        f"UDP port {numbers['udp_port']}, VNI {numbers['vni']}, {numbers['overhead_bytes']} bytes more a packet",
        evidence,
        **numbers,
    )


def _others(wire: pd.DataFrame) -> str:
    kinds = wire.loc[wire["encap"] != "none", "encap"].value_counts()
    return ", ".join(f"{count} in {kind}" for kind, count in kinds.items())


@claim(
    "pod-address-on-the-wire",
    "Pod addresses cross the node network unchanged: no tunnel, no source translation.",
    topic="packets",
    said="not in the run-book; its drawings say the opposite of the overlay, nothing of Cilium",
)
def pod_address_on_the_wire(cluster: Cluster) -> Outcome:
    """What the network between the nodes sees decides whether its rules can tell pods apart."""
    found = _journeys(cluster)
    wire = on_the_wire(found)
    wire = wire[wire["nics"] > 0]
    if wire.empty:
        return _unseen(found)
    evidence = found.loc[found["flow"].isin(wire["flow"]), "reply"]
    tunnelled, rewritten = wire["encap"] != "none", wire["source_rewritten"].fillna(value=False).astype(bool)
    numbers = _numbers(wire) | {"sources_rewritten": int(rewritten.sum())}
    if tunnelled.any() or rewritten.any():
        outer = ", ".join(sorted({ip for ips in wire["outer_ips"].dropna() for ip in ips.split(",")}))
        return refuted(
            f"of {len(wire)} flows between nodes, {int(tunnelled.sum())} are in a tunnel"
            + (f" between {outer}" if outer else "")
            + f", {int(rewritten.sum())} have another source address than their pod's",
            evidence,
            **numbers,
        )
    return supported(
        f"all {len(wire)} flows between nodes ({numbers['packets']} packets) are bare, with both pods' addresses",
        evidence,
        **numbers,
    )


@claim(
    "clusterip-on-the-wire",
    "A client's packets carry the Service's ClusterIP until the node translates them.",
    topic="packets",
    said="Cilium CNI Analysis, Service Load Balancing Deep Dive (`bpf ct list global | grep $BACKEND_SVC_IP`)",
)
def clusterip_on_the_wire(cluster: Cluster) -> Outcome:
    """The address curl believes in, and the one its first SYN carries on the pod's own interface."""
    found, asked = _journeys(cluster), captures.asked(cluster)
    virtual = kubernetes.services(cluster.at("baseline"))["cluster_ip"].dropna()
    fetches = translations(found, asked)
    fetches = fetches[fetches["first_ip"].notna() & fetches["believed_ip"].isin(virtual)]
    if fetches.empty:
        return inconclusive("no fetch of a ClusterIP was captured in its pod", asked["reply"])
    flows = found["client_port"].isin(fetches["local_port"]) & found["client_pod"].isin(fetches["pod"])
    evidence = [
        *asked.loc[asked["local_port"].isin(fetches["local_port"]), "reply"],
        *found.loc[flows, "reply"],
    ]
    carried = fetches["first_ip"] == fetches["believed_ip"]
    numbers = {
        "fetches": len(fetches),
        "syns_to_the_clusterip": int(carried.sum()),
        "syns_to_a_pod_ip": int((~carried).sum()),
        "sources_rewritten": int(fetches["source_rewritten"].sum()),
    }
    places = _some(sorted(fetches["translated"].unique()))
    if not carried.all():
        return refuted(
            f"{numbers['syns_to_a_pod_ip']} of {len(fetches)} SYNs leave the pod with a backend's address, though "
            f"curl is told that it talks to {fetches['believed_ip'].iloc[0]}: translated {places}",
            evidence,
            **numbers,
        )
    behind = fetches["last_ip"] != fetches["believed_ip"]
    numbers["translated_on_the_node"] = int(behind.sum())
    if not behind.any():
        return inconclusive("the ClusterIP was seen, its translation was not captured", evidence, **numbers)
    return supported(
        f"all {len(fetches)} SYNs carry it out of the pod; translated {places}", evidence, **numbers
    )


def _some(places: list[str], most: int = 2) -> str:
    return "; ".join(places[:most]) + (f"; {len(places) - most} more places" if len(places) > most else "")


@claim(
    "host-filter-shows-vxlan",
    "`tcpdump -i any -n host <pod address>` on a node shows the pod's VXLAN traffic.",
    topic="packets",
    said="CNI Overlay Analysis, CNI Overlay Route Analysis",
)
def host_filter_shows_vxlan(cluster: Cluster) -> Outcome:
    """`host` compares the addresses of the first IP header, which in a tunnel are the nodes'."""
    found = _journeys(cluster)
    wrapped = found[(found["encap"] == "vxlan") & found["flow"].notna()]
    if wrapped.empty:
        return inconclusive("no pod packet in VXLAN was captured: there is nothing to show", found["reply"])
    outer = wrapped[["outer_src_ip", "outer_dst_ip"]]
    matching = outer.isin({*wrapped["src_ip"], *wrapped["dst_ip"]}).any(axis=1)
    numbers = {"vxlan_packets": len(wrapped), "matched_by_host": int(matching.sum())}
    reason = (
        f"of {len(wrapped)} captured VXLAN packets, {int(matching.sum())} have a pod's address in the header"
    )
    verdict = supported if matching.all() else refuted
    return verdict(f"{reason} that `host` reads", wrapped["reply"], **numbers)


@claim(
    "any-shows-a-packet-once",
    "A capture on `any` shows each packet once.",
    topic="packets",
    said="CNI Overlay Analysis, CNI Overlay Route Analysis",
)
def any_shows_a_packet_once(cluster: Cluster) -> Outcome:
    """Counting lines of such a capture counts devices, not packets."""
    found = _journeys(cluster)
    on_nodes = found[(found["tap"] == "node") & found["flow"].notna()]
    if on_nodes.empty:
        return inconclusive("no pod packet was captured on a node", found["reply"])
    times = on_nodes.groupby(["node", "packet"]).size()
    numbers = {"packets": len(times), "lines": int(times.sum()), "most_lines_of_a_packet": int(times.max())}
    reason = f"{len(times)} pod packets on {on_nodes['node'].nunique()} nodes have {int(times.sum())} lines"
    verdict = supported if times.max() == 1 else refuted
    return verdict(f"{reason}, one packet has up to {int(times.max())}", on_nodes["reply"], **numbers)


CLAIMS = (
    vxlan_between_nodes,
    pod_address_on_the_wire,
    clusterip_on_the_wire,
    host_filter_shows_vxlan,
    any_shows_a_packet_once,
)
