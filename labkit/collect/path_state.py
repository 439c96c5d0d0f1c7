"""What decides on the way of a packet and is read for nothing else: resolvers, qdiscs, policies in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import NODE, POD, collects, gather, read_one
from labkit.collect.kubernetes import node_targets, pod_targets
from labkit.parse import iptables, network_policy, qdisc, resolv_conf

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["chains6", "network_policies", "qdiscs", "resolvers"]


@collects(resolv_conf.RESOLVERS, POD)
def resolvers(cluster: Cluster) -> pd.DataFrame:
    """What each frontend's resolver asks: frame RESOLVERS by pod."""
    targets = pod_targets(cluster, "frontend", "toolbox")
    replies = cluster.run_each(targets, ("cat", "/etc/resolv.conf"))
    return gather(replies, resolv_conf.resolver, "pod", targets)


@collects(qdisc.QDISCS, NODE)
def qdiscs(cluster: Cluster) -> pd.DataFrame:
    """Queueing disciplines of each node's devices: frame QDISCS by node."""
    targets = node_targets(cluster)
    return gather(
        cluster.run_each(targets, ("tc", "-s", "-j", "qdisc", "show")), qdisc.qdiscs, "node", targets
    )


@collects(iptables.CHAINS, NODE)
def chains6(cluster: Cluster) -> pd.DataFrame:
    """Every ip6tables chain of each node: frame CHAINS by node."""
    targets = node_targets(cluster)
    return gather(cluster.run_each(targets, ("ip6tables-save", "-c")), iptables.chains, "node", targets)


@collects(network_policy.RULES)
def network_policies(cluster: Cluster) -> pd.DataFrame:
    """What the NetworkPolicies in force allow: frame RULES of network_policy and `reply`."""
    return read_one(cluster.read("/apis/networking.k8s.io/v1/networkpolicies"), network_policy.rules)
