"""The network state of the nodes: devices, routes, neighbours, bridges, tracked connections, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import NODE, collects, gather
from labkit.collect.kubernetes import node_targets
from labkit.errors import MissingFeature
from labkit.parse import bridge, conntrack, ethtool, iproute, iproute_routes, nft, sysctl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = [
    "addresses",
    "brctl",
    "brctl_replies",
    "bridge_ports",
    "connection_counters",
    "connections",
    "driver",
    "forwarding",
    "links",
    "neighbours",
    "nft_chains",
    "offloads",
    "routes",
    "rules",
    "sysctls",
]  # fmt: skip

#: The device that carries the node's own address, as AKS names it (and the namespaces of the recordings).
NIC = "eth0"
#: Exit codes of a shell and of kubectl exec for a command that is not there.
NOT_FOUND = (126, 127)
SYSCTLS = (
    "net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.ipv4.conf.all.rp_filter",
    "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_count",
)  # fmt: skip


def _ask(
    cluster: Cluster, argv: Sequence[str], parse: Callable[[bytes], pd.DataFrame], *, check: bool = True
) -> pd.DataFrame:
    """The parser's frame of every node, with `node` in front and `reply` behind."""
    targets = node_targets(cluster)
    return gather(cluster.run_each(targets, argv, check=check), parse, "node", targets)


@collects(iproute.LINKS, NODE)
def links(cluster: Cluster) -> pd.DataFrame:
    """Devices of each node with their counters: frame LINKS by node."""
    return _ask(cluster, ("ip", "-j", "-d", "-s", "link", "show"), iproute.links)


@collects(iproute.ADDRESSES, NODE)
def addresses(cluster: Cluster) -> pd.DataFrame:
    """Addresses of each node: frame ADDRESSES by node."""
    return _ask(cluster, ("ip", "-j", "addr", "show"), iproute.addresses)


@collects(iproute_routes.ROUTES, NODE)
def routes(cluster: Cluster) -> pd.DataFrame:
    """Routes of each node, of all tables and both families: frame ROUTES by node."""
    return _ask(cluster, ("ip", "-j", "route", "show", "table", "all"), iproute_routes.routes)


@collects(iproute_routes.RULES, NODE)
def rules(cluster: Cluster) -> pd.DataFrame:
    """Policy routing rules of each node: frame RULES of iproute_routes by node."""
    return _ask(cluster, ("ip", "-j", "rule", "show"), iproute_routes.rules)


@collects(iproute.NEIGHBOURS, NODE)
def neighbours(cluster: Cluster) -> pd.DataFrame:
    """Neighbour table of each node: frame NEIGHBOURS by node."""
    return _ask(cluster, ("ip", "-j", "neigh", "show"), iproute.neighbours)


@collects(bridge.FORWARDING, NODE)
def forwarding(cluster: Cluster) -> pd.DataFrame:
    """Forwarding entries of bridges and VXLAN devices of each node: frame FORWARDING by node."""
    return _ask(cluster, ("bridge", "-j", "fdb", "show"), bridge.forwarding)


@collects(bridge.PORTS, NODE)
def bridge_ports(cluster: Cluster) -> pd.DataFrame:
    """Ports of bridges of each node: frame PORTS by node; empty where no device is in a bridge."""
    return _ask(cluster, ("bridge", "-j", "-d", "link", "show"), bridge.ports)


@collects(bridge.BRCTL, NODE)
def brctl(cluster: Cluster) -> pd.DataFrame:
    """What the run-book's `brctl show` prints on each node: frame BRCTL by node.

    Raises MissingFeature where the nodes' tools have no brctl: that says nothing about bridges.
    """
    replies = _brctl(cluster)
    return gather(replies, bridge.brctl, "node", node_targets(cluster))


def brctl_replies(cluster: Cluster) -> list[str]:
    """Ids of the replies of `brctl show`: where it prints nothing, no row of a frame names them."""
    return [reply.id for reply in _brctl(cluster)]


def _brctl(cluster: Cluster) -> list[Reply]:
    replies = cluster.run_each(node_targets(cluster), ("brctl", "show"), check=False)
    if any(reply.exit_code in NOT_FOUND for reply in replies):
        raise MissingFeature(cluster.arm, "there is no brctl to run on the nodes")
    return replies


@collects(conntrack.ENTRIES, NODE)
def connections(cluster: Cluster) -> pd.DataFrame:
    """Connections that the kernel of each node tracks: frame ENTRIES of conntrack by node."""
    return _ask(cluster, ("conntrack", "-L", "-o", "extended"), conntrack.entries)


@collects(conntrack.COUNTERS, NODE)
def connection_counters(cluster: Cluster) -> pd.DataFrame:
    """Counters of the connection tracking of each node: frame COUNTERS by node."""
    return _ask(cluster, ("conntrack", "-S"), conntrack.counters)


@collects(sysctl.SETTINGS, NODE)
def sysctls(cluster: Cluster) -> pd.DataFrame:
    """Settings of each node's kernel that forwarding depends on: frame SETTINGS by node.

    sysctl exits with an error where one of them is missing (the bridge module is not loaded); the others
    are read nevertheless.
    """
    return _ask(cluster, ("sysctl", *SYSCTLS), sysctl.settings, check=False)


@collects(ethtool.FEATURES, NODE)
def offloads(cluster: Cluster) -> pd.DataFrame:
    """Offloads of each node's network card: frame FEATURES by node."""
    return _ask(cluster, ("ethtool", "-k", NIC), ethtool.features)


@collects(ethtool.DRIVER, NODE)
def driver(cluster: Cluster) -> pd.DataFrame:
    """Driver of each node's network card: frame DRIVER by node."""
    return _ask(cluster, ("ethtool", "-i", NIC), ethtool.driver)


@collects(nft.NFT_CHAINS, NODE)
def nft_chains(cluster: Cluster) -> pd.DataFrame:
    """Chains of nftables of each node, those that iptables wrote among them: frame NFT_CHAINS by node."""
    return _ask(cluster, ("nft", "-j", "list", "ruleset"), nft.chains)
