"""What the Cilium agents say: status, options, endpoints, identities. Each speaks for its own node only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import NODE, collects, gather
from labkit.collect.kubernetes import agent_targets
from labkit.parse import (
    cilium_config,
    cilium_endpoint,
    cilium_identity,
    cilium_node,
    cilium_policy,
    cilium_service,
    cilium_status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = [
    "addresses", "agents", "ask", "config", "endpoints", "identities", "map_sizes", "mutable_options",
    "peers", "policy_map", "services", "status",
]  # fmt: skip

STATUS = ("cilium-dbg", "status", "--verbose", "-o", "json")


def ask(
    cluster: Cluster, argv: Sequence[str], parse: Callable[[bytes], pd.DataFrame], *, sample: int = 0
) -> pd.DataFrame:
    """Run a command in the agent of every node: the parser's frame with `node` in front and `reply` behind.

    Raises MissingFeature where the arm has no Cilium agent.
    """
    targets = agent_targets(cluster)
    return gather(cluster.run_each(targets, argv, sample=sample), parse, "node", targets)


@collects(cilium_status.AGENTS, NODE)
def agents(cluster: Cluster) -> pd.DataFrame:
    """The agent on each node: frame AGENTS by node."""
    return ask(cluster, ("cilium-dbg", "version"), cilium_status.version)


@collects(cilium_status.STATUS, NODE)
def status(cluster: Cluster) -> pd.DataFrame:
    """What each agent says of itself: frame STATUS by node."""
    return ask(cluster, STATUS, cilium_status.status)


@collects(cilium_status.MAP_SIZES, NODE)
def map_sizes(cluster: Cluster) -> pd.DataFrame:
    """How much each agent's maps hold: frame MAP_SIZES by node."""
    return ask(cluster, STATUS, cilium_status.map_sizes)


@collects(cilium_status.ADDRESSES, NODE)
def addresses(cluster: Cluster) -> pd.DataFrame:
    """Addresses that each agent allocated: frame ADDRESSES by node."""
    return ask(cluster, STATUS, cilium_status.addresses)


@collects(cilium_endpoint.ENDPOINTS, NODE)
def endpoints(cluster: Cluster, *, sample: int = 0) -> pd.DataFrame:
    """Endpoints of each node: frame ENDPOINTS by node."""
    return ask(
        cluster, ("cilium-dbg", "endpoint", "list", "-o", "json"), cilium_endpoint.endpoints, sample=sample
    )


@collects(cilium_identity.IDENTITIES, NODE)
def identities(cluster: Cluster) -> pd.DataFrame:
    """Security identities that each agent knows: frame IDENTITIES by node."""
    return ask(cluster, ("cilium-dbg", "identity", "list", "-o", "json"), cilium_identity.identities)


@collects(cilium_config.CONFIG, NODE)
def config(cluster: Cluster) -> pd.DataFrame:
    """Every option of each agent: frame CONFIG by node."""
    return ask(cluster, ("cilium-dbg", "config", "--all", "-o", "json"), cilium_config.config)


@collects(cilium_config.CONFIG, NODE)
def mutable_options(cluster: Cluster) -> pd.DataFrame:
    """The options that plain `cilium-dbg config` prints: frame CONFIG by node."""
    return ask(cluster, ("cilium-dbg", "config"), cilium_config.mutable_options)


@collects(cilium_service.SERVICES, NODE)
def services(cluster: Cluster) -> pd.DataFrame:
    """Services as each agent has them: frame SERVICES by node."""
    return ask(cluster, ("cilium-dbg", "service", "list", "-o", "json"), cilium_service.services)


@collects(cilium_node.PEERS, NODE)
def peers(cluster: Cluster) -> pd.DataFrame:
    """Nodes that each agent knows: frame PEERS by node."""
    return ask(cluster, ("cilium-dbg", "node", "list", "-o", "json"), cilium_node.peers)


@collects(cilium_policy.POLICY_MAP, NODE)
def policy_map(cluster: Cluster) -> pd.DataFrame:
    """Policy maps of each node's endpoints: frame POLICY_MAP by node."""
    return ask(
        cluster, ("cilium-dbg", "bpf", "policy", "get", "--all", "-o", "json"), cilium_policy.policy_map
    )
