"""The kernel's side of Cilium: maps, tables and programs, read through the agent of each node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.cilium import agents, ask, policy_map
from labkit.collect.gather import NODE, collects, gather
from labkit.collect.kubernetes import agent_targets
from labkit.errors import MissingFeature
from labkit.parse import (
    bpftool,
    cilium_ct,
    cilium_endpoint,
    cilium_ipcache,
    cilium_lb,
    cilium_maglev,
    cilium_map,
    cilium_metrics,
    cilium_nat,
    cilium_tunnel,
)
from labkit.parse.cilium import is_usage

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = [
    "ENTRIES", "attachments", "backends", "bpf_maps", "connections", "connections_text", "endpoint_map", "frontends",
    "ipcache", "lb_map", "maglev", "maglev_tables", "maps", "metrics", "nat", "programs", "revnat",
    "tunnels",
]  # fmt: skip

BPF = ("cilium-dbg", "bpf")
JSON = ("-o", "json")
LB = (*BPF, "lb", "list")
MAGLEV = (*BPF, "lb", "maglev", "list", *JSON)
CT = (*BPF, "ct", "list", "global")


@collects(cilium_lb.LB_MAP, NODE)
def lb_map(cluster: Cluster) -> pd.DataFrame:
    """The service map of each node: frame LB_MAP by node."""
    return ask(cluster, (*LB, *JSON), cilium_lb.lb_map)


@collects(cilium_lb.LB_FRONTENDS, NODE)
def frontends(cluster: Cluster) -> pd.DataFrame:
    """The service map of each node with backend numbers: frame LB_FRONTENDS by node."""
    return ask(cluster, (*LB, "--frontends"), cilium_lb.frontends)


@collects(cilium_lb.LB_BACKENDS, NODE)
def backends(cluster: Cluster) -> pd.DataFrame:
    """The backend map of each node: frame LB_BACKENDS by node."""
    return ask(cluster, (*LB, "--backends"), cilium_lb.backends)


@collects(cilium_lb.LB_REVNAT, NODE)
def revnat(cluster: Cluster) -> pd.DataFrame:
    """The reverse map of each node: frame LB_REVNAT by node."""
    return ask(cluster, (*LB, "--revnat"), cilium_lb.revnat)


@collects(cilium_maglev.MAGLEV, NODE)
def maglev(cluster: Cluster) -> pd.DataFrame:
    """Slots of each backend in the Maglev tables of each node: frame MAGLEV by node."""
    return ask(cluster, MAGLEV, cilium_maglev.maglev)


@collects(cilium_maglev.MAGLEV_TABLES, NODE)
def maglev_tables(cluster: Cluster) -> pd.DataFrame:
    """The Maglev tables of each node: frame MAGLEV_TABLES by node."""
    return ask(cluster, MAGLEV, cilium_maglev.maglev_tables)


@collects(cilium_ct.CONNECTIONS, NODE)
def connections(cluster: Cluster) -> pd.DataFrame:
    """The connection table of each node, from its JSON form: frame CONNECTIONS by node."""
    return ask(cluster, (*CT, *JSON), cilium_ct.connections)


@collects(cilium_ct.CONNECTIONS, NODE)
def connections_text(cluster: Cluster) -> pd.DataFrame:
    """The connection table of each node, from its text form: frame CONNECTIONS by node."""
    return ask(cluster, CT, cilium_ct.connections_text)


@collects(cilium_nat.NAT, NODE)
def nat(cluster: Cluster) -> pd.DataFrame:
    """The NAT table of each node: frame NAT by node."""
    return ask(cluster, (*BPF, "nat", "list", *JSON), cilium_nat.nat)


@collects(cilium_ipcache.IPCACHE, NODE)
def ipcache(cluster: Cluster) -> pd.DataFrame:
    """Addresses and identities that each node's programs know: frame IPCACHE by node."""
    return ask(cluster, (*BPF, "ipcache", "list", *JSON), cilium_ipcache.ipcache)


@collects(cilium_endpoint.ENDPOINT_MAP, NODE)
def endpoint_map(cluster: Cluster) -> pd.DataFrame:
    """Addresses that are local to each node: frame ENDPOINT_MAP by node."""
    return ask(cluster, (*BPF, "endpoint", "list", *JSON), cilium_endpoint.endpoint_map)


@collects(cilium_metrics.METRICS, NODE)
def metrics(cluster: Cluster) -> pd.DataFrame:
    """What each node's programs counted: frame METRICS by node."""
    return ask(cluster, (*BPF, "metrics", "list", *JSON), cilium_metrics.metrics)


@collects(cilium_map.MAPS, NODE)
def maps(cluster: Cluster) -> pd.DataFrame:
    """Maps that each agent has open: frame MAPS by node."""
    return ask(cluster, ("cilium-dbg", "map", "list", *JSON), cilium_map.maps)


@collects(cilium_tunnel.TUNNELS, NODE)
def tunnels(cluster: Cluster) -> pd.DataFrame:
    """The tunnel map of each node: frame TUNNELS by node.

    Raises MissingFeature where the agent's version has no such command, which it tells by printing its
    usage with exit code 0.
    """
    targets = agent_targets(cluster)
    replies = cluster.run_each(targets, (*BPF, "tunnel", "list"))
    if any(is_usage(reply.stdout) for reply in replies):
        versions = " and ".join(sorted(set(agents(cluster.at("baseline"))["version"])))
        raise MissingFeature(cluster.arm, f"cilium-dbg {versions} has no `bpf tunnel`")
    return gather(replies, cilium_tunnel.tunnels, "node", targets)


@collects(bpftool.PROGRAMS, NODE)
def programs(cluster: Cluster) -> pd.DataFrame:
    """BPF programs in the kernel of each node, by the bpftool of the agent: frame PROGRAMS by node."""
    return ask(cluster, ("bpftool", "-j", "prog", "show"), bpftool.programs)


@collects(bpftool.BPF_MAPS, NODE)
def bpf_maps(cluster: Cluster) -> pd.DataFrame:
    """BPF maps in the kernel of each node, by the bpftool of the agent: frame BPF_MAPS by node."""
    return ask(cluster, ("bpftool", "-j", "map", "show"), bpftool.bpf_maps)


@collects(bpftool.ATTACHMENTS, NODE)
def attachments(cluster: Cluster) -> pd.DataFrame:
    """Programs at the network devices of each node, by the bpftool of the agent: frame ATTACHMENTS by node."""
    return ask(cluster, ("bpftool", "-j", "net", "show"), bpftool.attachments)


#: How the entries of a map are read, by the name that the agent's status gives the map. Both maps of
#: connections are read by one command.
ENTRIES = {
    "connection tracking": connections,
    "NAT": nat,
    "IPv4 service": lb_map,
    "IPv4 service backend": backends,
    "IPv4 service reverse NAT": revnat,
    "IP cache": ipcache,
    "Endpoints": endpoint_map,
    "Endpoint policy": policy_map,
}
