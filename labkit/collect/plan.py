"""The performance plan: who talks to whom, with which command, in which order.

One repetition is: for each server (on the client's node, on another node, behind the Service) four runs of
iperf3, each between two readings of `/proc/stat` on every node; then ping to a backend on the client's node
and on another; then fetches over a connection each, and over one connection, from both backends and from
the Service. When all repetitions are over, as many pings go between the nodes themselves: host network, no pod
and no veth on the way. So that baseline is of one moment, after the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.collect import kubernetes
from labkit.errors import MissingFeature

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = [
    "FETCHES",
    "HTTP_MODES",
    "IPERF_MODES",
    "PATHS",
    "REPETITIONS",
    "Placement",
    "Trial",
    "fetch",
    "placement",
    "plan",
    "service_address",
]

REPETITIONS = 6
FETCHES = 100
PATHS = ("same-node", "other-node", "service", "node-to-node")
IPERF_MODES = {
    "tcp": ("-t", "3", "-O", "1"),
    "tcp-4": ("-t", "3", "-O", "1", "-P", "4"),
    "tcp-reverse": ("-t", "3", "-O", "1", "-R"),
    "udp": ("-u", "-b", "500M", "-l", "1200", "-t", "3"),
}
HTTP_MODES = ("new-connection", "keep-alive")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the client and what it talks to run. `servers` and `backends` hold an address for each path."""

    client: str
    client_node: str
    other_node: str
    other_node_ip: str
    nodes: tuple[str, ...]
    servers: dict[str, str]
    backends: dict[str, str]


@dataclass(frozen=True, slots=True)
class Trial:
    """One command of the plan. `when` is `before` or `after` for the readings around a run."""

    repetition: int
    tool: str
    path: str
    mode: str
    when: str
    target: str
    argv: tuple[str, ...]
    sample: int


def placement(cluster: Cluster) -> Placement:
    """Read from the API where everything runs.

    Paths follow from it: `same-node` is a pod on the client's node, `other-node` the first that is not.
    Raises MissingFeature where there is no client, or no pod to make a path with.
    """
    cluster = cluster.at("baseline")
    ((client, pod),) = kubernetes.pod_targets(cluster, "perf-client", "client").items()
    every, addresses = kubernetes.pods(cluster), kubernetes.nodes(cluster).set_index("node")["node_ip"]
    node = str(every.loc[every["pod"] == pod, "node"].item())
    others = [name for name in addresses.index if name != node]
    if not others:
        raise MissingFeature(cluster.arm, "one node only, so there is no path to another")
    mine = every[(every["namespace"] == cluster.namespace) & (every["phase"] == "Running")]
    return Placement(
        client=client,
        client_node=node,
        other_node=others[0],
        other_node_ip=str(addresses[others[0]]),
        nodes=tuple(addresses.index),
        servers=_addresses(cluster, mine, "perf-server", "perf-server", node),
        backends=_addresses(cluster, mine, "backend", "backend-service", node),
    )


def _addresses(cluster: Cluster, pods: pd.DataFrame, app: str, service: str, node: str) -> dict[str, str]:
    found = pods[pods["app"] == app].sort_values(["node", "pod"])
    same, other = found[found["node"] == node], found[found["node"] != node]
    if same.empty or other.empty:
        raise MissingFeature(
            cluster.arm, f"pods of {app} do not run both on the client's node and on another"
        )
    return {
        "same-node": str(same["pod_ip"].iloc[0]),
        "other-node": str(other["pod_ip"].iloc[0]),
        "service": service_address(cluster, service),
    }


def service_address(cluster: Cluster, service: str) -> str:
    """The virtual address of a Service of the lab. Raises MissingFeature where there is none."""
    found = kubernetes.services(cluster.at("baseline"))
    mine = found[(found["namespace"] == cluster.namespace) & (found["service"] == service)]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no Service {service} in namespace {cluster.namespace}")
    return str(mine["cluster_ip"].iloc[0])


def fetch(address: str, times: int, *, keep_alive: bool = False) -> tuple[str, ...]:
    """Fetch the page at an address so often with one curl, a JSON line for each; by default a connection each."""
    close = () if keep_alive else ("-H", "Connection: close")
    return (
        *("curl", "-sS", "--connect-timeout", "3", *close, "-w", r"%{json}\n"),
        *("-o", "/dev/null", f"http://{address}/") * times,
    )


def plan(cluster: Cluster, repetitions: int = REPETITIONS) -> list[Trial]:
    """Every command of the plan, in order."""
    where = placement(cluster)
    between, argv = f"node/{where.client_node}", _ping(where.other_node_ip)
    return [
        *(trial for n in range(repetitions) for trial in _repetition(where, n)),
        *(Trial(n, "ping", "node-to-node", "icmp", "", between, argv, n) for n in range(repetitions)),
    ]


def _repetition(where: Placement, n: int) -> Iterator[Trial]:
    tests = [(path, mode) for path in where.servers for mode in IPERF_MODES]
    for k, (path, mode) in enumerate(tests):
        first = 2 * (n * len(tests) + k)
        yield from _readings(where, n, path, mode, "before", first)
        argv = ("iperf3", "-J", "-c", where.servers[path], *IPERF_MODES[mode])
        yield Trial(n, "iperf3", path, mode, "", where.client, argv, n)
        yield from _readings(where, n, path, mode, "after", first + 1)
    for path in ("same-node", "other-node"):
        yield Trial(n, "ping", path, "icmp", "", where.client, _ping(where.backends[path]), n)
    for path, address in where.backends.items():
        for mode in HTTP_MODES:
            argv = fetch(address, FETCHES, keep_alive=mode == "keep-alive")
            yield Trial(n, "curl", path, mode, "", where.client, argv, n)


def _readings(where: Placement, n: int, path: str, mode: str, when: str, sample: int) -> Iterator[Trial]:
    for node in where.nodes:
        yield Trial(n, "proc-stat", path, mode, when, f"node/{node}", ("cat", "/proc/stat"), sample)


def _ping(address: str) -> tuple[str, ...]:
    return ("ping", "-c", "300", "-i", "0.005", "-W", "1", address)
