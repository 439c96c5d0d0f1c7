"""What is asked in a step as soon as an arm is in it, and in which order.

Some answers hold for a moment only: counters and tables after so much traffic, connections to Services that
have just come. Whatever reads a step first would set that moment, and bringing an arm into a step once for
each reader would take longer than measuring. So a step has a program; who reads it later gets what was answered.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from labkit.collect import (
    captures,
    cilium,
    cilium_maps,
    cleanup,
    footprint,
    hubble,
    kubernetes,
    limits,
    load_balancing,
    logs,
    monitor,
    node,
    performance,
    points,
    policies,
    policy_scaling,
    scaling,
    services,
)
from labkit.collect.plan import Plan
from labkit.errors import LabError
from labkit.experiments.steps import AFFINITY, POLICY_STEPS, policy_count, service_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.cluster import Cluster

__all__ = ["has_program", "run_program"]

log = logging.getLogger(__name__)

#: Lines of the backends' logs that hold all that is asked of them in the step.
TAIL = 1000


def has_program(step: str) -> bool:
    """Whether something is asked in this step as soon as an arm is in it."""
    return bool(_program(step))


def run_program(cluster: Cluster) -> None:
    """Ask what the step's program asks. What an arm does not answer is left to who asks for it."""
    for ask in _program(cluster.step):
        _ask(ask, cluster)


def _ask(ask: Callable[[Cluster], object], cluster: Cluster) -> None:
    try:
        ask(cluster)
    except LabError as error:
        log.info("%s, step %s: %s", cluster.arm, cluster.step, error)


def _program(step: str) -> list[Callable[[Cluster], object]]:
    if service_count(step):
        return [*SERVICES]
    if policy_count(step):
        return [*SCALED_POLICIES]
    if step in ("policy-none", "policy-removed", *POLICY_STEPS):
        return [*POLICIES, *([_policy_connections] if step == policy_scaling.NONE else [])]
    return [*PROGRAMS.get(step, ())]


def _probes(cluster: Cluster) -> None:
    """The probes of one step, while the monitors show what is dropped."""
    with ThreadPoolExecutor(1) as pool:
        if cluster.step in POLICY_STEPS:
            pool.submit(_ask, lambda at: monitor.monitor(at, type="drop"), cluster)
        policies.probes(cluster, (cluster.step,))


def _connections(cluster: Cluster) -> None:
    """Connections to the first and the last of the Services of one step."""
    for _ in scaling.replies(cluster, cluster.step):
        pass


def _policy_connections(cluster: Cluster) -> None:
    """Connections from frontends to backends with the policies of one step, where the arm's plan scales them."""
    if Plan.from_about(cluster.about).policies:
        for _ in policy_scaling.replies(cluster, cluster.step):
            pass


PROGRAMS: dict[str, tuple[Callable[[Cluster], object], ...]] = {
    # what targets and paths are worked out from, in every other step too
    "baseline": (
        kubernetes.version,
        kubernetes.nodes,
        kubernetes.pods,
        kubernetes.services,
        kubernetes.endpoints,
        kubernetes.daemonsets,
        policies.namespaces,
        lambda cluster: cluster.read("/api/v1/namespaces/kube-system/configmaps"),
        cleanup.everything,
        limits.limits,
    ),
    "capture": (captures.asked, points.points),
    "monitor": (monitor.traced_pings,),
    "load-balancing": (
        footprint.usage,
        load_balancing.timings,
        load_balancing.answers,
        node.connections,
        services.rules,
        lambda cluster: logs.backend_log(cluster, TAIL),
        hubble.flows,
        hubble.status,
        cilium.status,
        cilium_maps.connections,
        lambda cluster: footprint.usage(cluster, sample=1),
    ),
    AFFINITY: (load_balancing.kept, load_balancing.sticky),
    "performance": (performance.trials,),
    "cleanup": (cleanup.everything,),
}
POLICIES: tuple[Callable[[Cluster], object], ...] = (
    lambda cluster: cluster.read(policies.NETWORK_POLICIES),
    _probes,
    cilium.policy_map,
    cilium.endpoints,
    hubble.flows,
    hubble.dropped,
    cilium_maps.metrics,
    services.rules,
)
SERVICES: tuple[Callable[[Cluster], object], ...] = (
    kubernetes.services,
    kubernetes.endpoints,
    _connections,
    services.rules,
    cilium_maps.lb_map,
    lambda cluster: [holder(cluster) for holder in scaling.HOLDERS],
    footprint.usage,
)
SCALED_POLICIES: tuple[Callable[[Cluster], object], ...] = (
    kubernetes.services,
    _policy_connections,
    *policy_scaling.HOLDERS.values(),
    footprint.usage,
)
