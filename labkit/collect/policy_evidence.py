"""What an arm's own tables and logs say of policies, in the steps of the policy experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import cilium, cilium_maps, hubble, monitor, services
from labkit.collect.gather import NODE, collects
from labkit.collect.policies import STEP
from labkit.parse import cilium_endpoint, cilium_metrics, cilium_monitor, cilium_policy, iptables
from labkit.parse import hubble as parse_hubble
from labkit.schema import concat

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["counters", "endpoints", "flows", "iptables_rules", "monitored", "policy_maps"]

#: Steps before any policy, under the deny, and with the rules that allow something.
BEFORE, DENIED, ALLOWED = "baseline", "policy-deny-all", "policy-allow-frontend"


@collects(cilium_policy.POLICY_MAP, STEP, NODE)
def policy_maps(cluster: Cluster) -> pd.DataFrame:
    """Policy maps of each node before and with policies: frame POLICY_MAP by step and node."""
    return _steps(cluster, cilium.policy_map, (BEFORE, DENIED, ALLOWED))


@collects(cilium_endpoint.ENDPOINTS, STEP, NODE)
def endpoints(cluster: Cluster) -> pd.DataFrame:
    """Endpoints of each node before and with policies: frame ENDPOINTS of Cilium by step and node."""
    return _steps(cluster, cilium.endpoints, (BEFORE, DENIED, ALLOWED))


@collects(parse_hubble.FLOWS, STEP, NODE)
def flows(cluster: Cluster) -> pd.DataFrame:
    """The last 1000 flows of each node at the end of each step with policies: frame FLOWS by step and node.

    The ring goes on from step to step: what is in it may be older than the step.
    """
    return _steps(cluster, hubble.flows, (DENIED, ALLOWED))


@collects(cilium_monitor.EVENTS, STEP, NODE)
def monitored(cluster: Cluster) -> pd.DataFrame:
    """Drops that each node's monitor printed while it ran under the deny: frame EVENTS by step and node."""
    return _steps(cluster, lambda at: monitor.monitor(at, type="drop"), (DENIED,))


@collects(cilium_metrics.METRICS, STEP, NODE)
def counters(cluster: Cluster) -> pd.DataFrame:
    """What each node's programs have counted, before policies and under the deny: frame METRICS by step and node."""
    return _steps(cluster, cilium_maps.metrics, (BEFORE, DENIED))


@collects(iptables.RULES, STEP, NODE)
def iptables_rules(cluster: Cluster) -> pd.DataFrame:
    """iptables of each node, before policies and under the deny: frame RULES of iptables by step and node."""
    return _steps(cluster, services.rules, (BEFORE, DENIED))


def _steps(cluster: Cluster, read: Callable[[Cluster], pd.DataFrame], steps: tuple[str, ...]) -> pd.DataFrame:
    frames = []
    for step in steps:
        frame = read(cluster.at(step))
        frame.insert(0, "step", step)
        frames.append(frame.astype({"step": "str"}))
    return concat(frames)
