"""What the dataplane itself takes of a node: memory and CPU of its pods, and how full the kernel's table is.

The pods are those of what moves packets or decides about them, told by their names; the kubelet of each node
says what they use. Nodes of namespaces have no kubelet, and a recording holds only what was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import ebpf, node
from labkit.collect.gather import NODE, collects, read_one
from labkit.collect.kubernetes import nodes
from labkit.errors import ApiError, MissingFeature, ReplayMiss
from labkit.netns.ebpf.layout import CAPACITY
from labkit.parse import kubelet_summary
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["CONNTRACK", "MAP_FILL", "PART", "PARTS", "conntrack", "lab_maps", "usage"]

#: How the names of the pods begin, and so which part of a dataplane they are; the longer ones first.
PARTS = (
    "cilium-operator", "cilium-envoy", "cilium", "hubble-relay", "kube-proxy", "azure-cns", "azure-npm",
    "azure-ip-masq-agent", "acns-security-agent", "retina-agent", "calico-node", "calico-typha", "kindnet",
)  # fmt: skip
PART = Column("part", "str", "the part of the dataplane that the container belongs to, such as kube-proxy")
COUNT, MOST = "net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max"

CONNTRACK = Schema("conntrack_fill", "How full a node's connection table is (the kernel's, not Cilium's).", key=(), columns=(
    Column("entries", "Int64", "connections that it holds (nf_conntrack_count)"),
    Column("max_entries", "Int64", "connections that it can hold (nf_conntrack_max)"),
    Column("used_pct", "float64", "the one of the other"),
))  # fmt: skip


#: Maps of the `ebpf` topology of a lab that fill with what is asked of it, and how each is read.
LAB_MAPS = {
    "services": ebpf.frontends,
    "backends": ebpf.backends,
    "connections": ebpf.connections,
    "policy_peers": ebpf.policy_peers,
    "policy_ports": ebpf.policy_ports,
}
MAP_FILL = Schema("map_fill", "How full the maps of a lab's node are.", key=("map",), columns=(
    Column("map", "str", "name of the map"),
    Column("entries", "Int64", "entries that it holds"),
    Column("max_entries", "Int64", "entries that it can hold"),
    Column("used_pct", "float64", "the one of the other"),
))  # fmt: skip


@collects(kubelet_summary.USAGE, PART, NODE)
def usage(cluster: Cluster, *, sample: int = 0) -> pd.DataFrame:
    """What the containers of the dataplane use on each node: frame USAGE by part and node.

    Raises MissingFeature where no kubelet answers, and where none of its pods is one of PARTS.
    """
    names = nodes(cluster.at("baseline"))["node"]
    every = concat(
        read_one(_summary(cluster, name, sample), kubelet_summary.usage).assign(node=name) for name in names
    )
    every["part"] = every["pod"].str.extract(rf"^({'|'.join(PARTS)})-", expand=False)
    mine = every.dropna(subset="part").astype({"node": "str", "part": "str"})
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no pod of this arm is one of {', '.join(PARTS)}")
    return mine[usage.schema.names].sort_values(list(usage.schema.key), kind="stable", ignore_index=True)


def _summary(cluster: Cluster, name: str, sample: int) -> Reply:
    try:
        return cluster.read(f"/api/v1/nodes/{name}/proxy/stats/summary", sample=sample)
    except ReplayMiss:
        raise MissingFeature(cluster.arm, f"the kubelet of {name} was not asked what its pods use") from None
    except ApiError as error:
        why = "there is none" if error.status == 404 else str(error)
        raise MissingFeature(cluster.arm, f"no kubelet says what the pods of {name} use: {why}") from None


@collects(CONNTRACK, NODE)
def conntrack(cluster: Cluster) -> pd.DataFrame:
    """How full the kernel's connection table is on each node: frame CONNTRACK by node.

    What Cilium translates itself is not in it: its own tables are maps (`cilium_maps.ENTRIES`). Raises
    MissingFeature where a kernel does not say.
    """
    found = node.sysctls(cluster)
    counted, most = (
        {str(row.node): int(str(row.value)) for row in found[found["name"] == name].itertuples()}
        for name in (COUNT, MOST)
    )
    if not counted or counted.keys() != most.keys():
        raise MissingFeature(cluster.arm, "the kernel does not say how full its connection table is")
    replies = found.drop_duplicates("node").set_index("node")["reply"]
    return conntrack.schema.frame(
        {
            "node": name,
            "entries": entries,
            "max_entries": most[name],
            "used_pct": 100 * entries / most[name],
            "reply": replies[name],
        }
        for name, entries in counted.items()
    )


@collects(MAP_FILL, NODE)
def lab_maps(cluster: Cluster) -> pd.DataFrame:
    """How full the maps of the `ebpf` topology of a lab are on each node: frame MAP_FILL by node.

    Those of Cilium are `analysis.map_fill`. Raises MissingFeature where the arm has no such maps.
    """
    found = []
    for name, read in LAB_MAPS.items():
        held = read(cluster).groupby("node")["reply"].agg(["size", "first"])
        for node_name in nodes(cluster.at("baseline"))["node"]:
            entries = int(held["size"].get(node_name, 0))
            found.append({
                "node": node_name, "map": name, "entries": entries, "max_entries": CAPACITY[name],
                "used_pct": 100 * entries / CAPACITY[name], "reply": held["first"].get(node_name),
            })  # fmt: skip
    return lab_maps.schema.frame(found)
