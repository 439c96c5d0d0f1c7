"""What Hubble says, asked of the agent on every node: flows, drops, lost events, status.

An agent keeps the flows of its own node in a ring, and `--last` is what is asked for, not what there was.
`hubble-relay` would merge the nodes; asking each agent needs no certificate and keeps the node apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.cilium import ask
from labkit.collect.gather import NODE, collects
from labkit.collect.kubernetes import agent_targets, cilium_config
from labkit.errors import MissingFeature
from labkit.parse import hubble as parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["dropped", "flows", "lost", "status"]


@collects(parse.FLOWS, NODE)
def flows(cluster: Cluster, last: int = 1000) -> pd.DataFrame:
    """The last flows of each node: frame FLOWS by node."""
    return _ask(cluster, _observe(last), parse.flows)


@collects(parse.LOST, NODE)
def lost(cluster: Cluster, last: int = 1000) -> pd.DataFrame:
    """What Hubble lost, by its own account in the answer of `flows`: frame LOST by node."""
    return _ask(cluster, _observe(last), parse.lost)


@collects(parse.FLOWS, NODE)
def dropped(cluster: Cluster, last: int = 500) -> pd.DataFrame:
    """The last dropped flows of each node: frame FLOWS by node.

    A packet that policy denied is there twice: as `policy-verdict` and as `drop`.
    """
    argv = ("hubble", "observe", "--verdict", "DROPPED", "--last", str(last), "-o", "jsonpb")
    return _ask(cluster, argv, parse.flows)


@collects(parse.STATUS, NODE)
def status(cluster: Cluster) -> pd.DataFrame:
    """How full each node's ring is: frame STATUS by node."""
    return _ask(cluster, ("hubble", "status", "-o", "json"), parse.status)


def _observe(last: int) -> tuple[str, ...]:
    return ("hubble", "observe", "--last", str(last), "-o", "jsonpb")


def _ask(cluster: Cluster, argv: Sequence[str], parse: Callable[[bytes], pd.DataFrame]) -> pd.DataFrame:
    agent_targets(cluster)  # an arm without agents has no Hubble either, and that is the better reason
    if cilium_config(cluster.at("baseline")).get("enable-hubble") != "true":
        raise MissingFeature(
            cluster.arm, "Hubble is off in this arm: enable-hubble in cilium-config is not true"
        )
    return ask(cluster, argv, parse)
