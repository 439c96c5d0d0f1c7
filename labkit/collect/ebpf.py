"""The maps of the `ebpf` topology of a lab, read on its nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import NODE, collects, gather
from labkit.collect.kubernetes import node_targets
from labkit.errors import CommandError, MissingFeature, ReplayMiss
from labkit.netns.ebpf.layout import pins
from labkit.parse import ebpf_maps
from labkit.schema import concat

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = [
    "backends", "connections", "counters", "frontends", "holders", "isolated", "policy_peers", "policy_ports",
]  # fmt: skip

#: Exit codes of a shell and of kubectl exec for a command that is not there.
NOT_FOUND = (126, 127)
ABSENT = b"No such file or directory"


@collects(ebpf_maps.FRONTENDS, NODE)
def frontends(cluster: Cluster) -> pd.DataFrame:
    """Services in the map of each node: frame FRONTENDS by node."""
    return _dump(cluster, "services", ebpf_maps.frontends)


@collects(ebpf_maps.BACKENDS, NODE)
def backends(cluster: Cluster) -> pd.DataFrame:
    """Backends in the map of each node, and how often each was chosen: frame BACKENDS by node."""
    return _dump(cluster, "backends", ebpf_maps.backends)


@collects(ebpf_maps.ISOLATED, NODE)
def isolated(cluster: Cluster) -> pd.DataFrame:
    """Pods of each node that policies isolate: frame ISOLATED by node."""
    return _dump(cluster, "isolated", ebpf_maps.isolated)


@collects(ebpf_maps.PEERS, NODE)
def policy_peers(cluster: Cluster) -> pd.DataFrame:
    """With whom they may speak: frame PEERS by node."""
    return _dump(cluster, "policy_peers", ebpf_maps.peers)


@collects(ebpf_maps.PORTS, NODE)
def policy_ports(cluster: Cluster) -> pd.DataFrame:
    """Of which ports: frame PORTS by node."""
    return _dump(cluster, "policy_ports", ebpf_maps.ports)


@collects(ebpf_maps.COUNTERS, NODE)
def counters(cluster: Cluster) -> pd.DataFrame:
    """What became of packets on each node: frame COUNTERS by node."""
    return _dump(cluster, "counters", ebpf_maps.counters)


@collects(ebpf_maps.CONNECTIONS, NODE)
def connections(cluster: Cluster) -> pd.DataFrame:
    """Connections that each node remembers: frame CONNECTIONS by node."""
    return _dump(cluster, "connections", ebpf_maps.connections)


def holders(cluster: Cluster) -> pd.DataFrame:
    """How many entries each node has for Services: `node`, `holds`, `entries`, `reply` (see scaling.HOLDERS).

    Raises MissingFeature where the arm has no such maps.
    """
    found = []
    for holds, name in (("eBPF services map", "services"), ("eBPF backends map", "backends")):
        parse = {"services": ebpf_maps.frontends, "backends": ebpf_maps.backends}[name]
        for node, reply in _replies(cluster, name).items():
            found.append(_row(node, holds, len(parse(reply.stdout)), reply.id))
    return concat(found)


def _row(node: str, holds: str, entries: int, reply: str) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  (import labkit must stay fast)

    row = pd.DataFrame({"node": [node], "holds": [holds], "entries": [entries], "reply": [reply]})
    return row.astype({"node": "str", "holds": "str", "entries": "Int64", "reply": "str"})


def _dump(cluster: Cluster, name: str, parse: Callable[[bytes], pd.DataFrame]) -> pd.DataFrame:
    return gather(_replies(cluster, name).values(), parse, "node", node_targets(cluster))


def _replies(cluster: Cluster, name: str) -> dict[str, Reply]:
    """The dump of a map by node, whose name is part of the path. Raises MissingFeature where there is none."""
    return {
        node: _reply(cluster, target, ("bpftool", "-j", "map", "dump", "pinned", f"{pins(node)}/{name}"))
        for target, node in sorted(node_targets(cluster).items())
    }


def _reply(cluster: Cluster, target: str, argv: tuple[str, ...]) -> Reply:
    try:
        reply = cluster.run(target, argv, check=False)
    except ReplayMiss:
        raise MissingFeature(cluster.arm, f"nobody asked {target} for {argv[-1]}") from None
    if reply.exit_code in NOT_FOUND:
        raise MissingFeature(cluster.arm, f"there is no bpftool to run on {target}")
    if reply.exit_code and ABSENT in reply.stdout + reply.stderr:
        raise MissingFeature(
            cluster.arm, f"there is no map {argv[-1]}: Services are no eBPF maps of a lab here"
        )
    if reply.exit_code:
        raise CommandError(reply)
    return reply
