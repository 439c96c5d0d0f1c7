"""What iptables holds on the nodes: kube-proxy's Services, masquerading, filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import NODE, collects, gather
from labkit.collect.kubernetes import node_targets
from labkit.parse import iptables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["backend", "chains", "rules", "rules6"]

SAVE = ("iptables-save", "-c")


def _ask(cluster: Cluster, argv: Sequence[str], parse: Callable[[bytes], pd.DataFrame]) -> pd.DataFrame:
    targets = node_targets(cluster)
    return gather(cluster.run_each(targets, argv), parse, "node", targets)


@collects(iptables.RULES, NODE)
def rules(cluster: Cluster) -> pd.DataFrame:
    """Every iptables rule of each node with its counters: frame RULES of iptables by node."""
    return _ask(cluster, SAVE, iptables.rules)


@collects(iptables.CHAINS, NODE)
def chains(cluster: Cluster) -> pd.DataFrame:
    """Every iptables chain of each node: frame CHAINS by node."""
    return _ask(cluster, SAVE, iptables.chains)


@collects(iptables.RULES, NODE)
def rules6(cluster: Cluster) -> pd.DataFrame:
    """Every ip6tables rule of each node: frame RULES of iptables by node."""
    return _ask(cluster, ("ip6tables-save", "-c"), iptables.rules)


@collects(iptables.BACKEND, NODE)
def backend(cluster: Cluster) -> pd.DataFrame:
    """Which iptables each node has, and what it writes to: frame BACKEND by node."""
    return _ask(cluster, ("iptables", "--version"), iptables.backend)
