"""Facts that must be equal in all arms, or else a difference between arms may not come from the dataplane.

After the threats that AKS comparisons meet: VM size, CPU, zones, kernel, image, versions, MTU, DNS path,
table sizes, agents on the nodes, time of measurement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import kubernetes, node
from labkit.collect.capabilities import ENGINES, policy_engine
from labkit.collect.gather import collects, first_reply, gather
from labkit.parse import proc_info
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["PARITY_FACTS", "facts"]

PARITY_FACTS = Schema("parity_facts", "What should be equal in all arms.", key=(), columns=(
    Column("fact", "str", "what is compared"),
    Column("value", "str", "what this arm has; several values are comma-separated"),
    Column("expected", "boolean", "it may differ, because it is what the arms differ in"),
    Column("why_it_matters", "str", "what a difference would do to the comparison"),
))  # fmt: skip

#: DaemonSets that are the dataplane itself, or the lab's own.
DATAPLANE = {*ENGINES, "kube-proxy", "network-analyzer"}
GIB = 2**30

Row = tuple[str, str, bool, str, str | None]


@collects(PARITY_FACTS)
def facts(cluster: Cluster) -> pd.DataFrame:
    """The facts of one arm, in reading order; `reply` is where each was read first."""
    rows = [*_of_nodes(cluster), *_of_machines(cluster), *_of_workloads(cluster), *_of_the_arm(cluster)]
    frame = PARITY_FACTS.frame(
        {"fact": fact, "value": value, "expected": expected, "why_it_matters": why}
        for fact, value, expected, why, _ in rows
    )
    frame["reply"] = [reply for *_, reply in rows]
    return frame.astype({"reply": "str"})


def _of_nodes(cluster: Cluster) -> Iterator[Row]:
    frame = kubernetes.nodes(cluster)
    reply = first_reply(frame)
    yield (
        "Kubernetes",
        kubernetes.version(cluster),
        False,
        "behaviour changes between versions",
        cluster.read("/version").id,
    )
    yield "nodes", str(len(frame)), False, "more nodes spread the load", reply
    for fact, column, why in (
        ("VM size", "instance_type", "bandwidth and CPU follow the size"),
        ("zones", "zone", "round-trip time follows the pair of zones"),
        ("kernel", "kernel", "the kernel is half of the dataplane"),
        ("OS image", "os_image", "defaults and drivers come with the image"),
        ("container runtime", "runtime", "sets up the pods' network namespaces"),
        ("architecture", "architecture", ""),
    ):
        yield fact, _set(frame[column]), False, why, reply
    kernels = frame["boot_id"].nunique()
    yield (
        "kernels",
        f"{kernels} under {len(frame)} nodes",
        False,
        "nodes that share a kernel share its CPUs",
        reply,
    )


def _of_machines(cluster: Cluster) -> Iterator[Row]:
    targets = kubernetes.node_targets(cluster)
    cpu = gather(cluster.run_each(targets, ["cat", "/proc/cpuinfo"]), proc_info.cpuinfo, "node", targets)
    memory = gather(cluster.run_each(targets, ["cat", "/proc/meminfo"]), proc_info.meminfo, "node", targets)
    yield (
        "CPU model",
        _set(cpu["model"]),
        False,
        "one VM size is served by several models",
        first_reply(cpu),
    )
    yield "CPUs per node", _set(cpu["cpus"]), False, "iperf3 and softirq work share them", first_reply(cpu)
    gib = (memory["total_bytes"] / GIB).round()
    yield (
        "memory per node, GiB",
        _set(gib.astype("Int64")),
        False,
        "sizes of tables follow it",
        first_reply(memory),
    )
    links = node.links(cluster)
    routes = node.routes(cluster)
    default = routes[(routes["prefix"] == "default") & (routes["table"] == "main")]
    nics = links.merge(default[["node", "interface"]].drop_duplicates(), on=["node", "interface"])
    yield "MTU of the network card", _set(nics["mtu"]), False, "bytes per packet", first_reply(nics)
    limits = node.sysctls(cluster)
    mine = limits[limits["name"] == "net.netfilter.nf_conntrack_max"]
    yield (
        "nf_conntrack_max",
        _set(mine["value"]),
        False,
        "connections that the kernel can track",
        first_reply(mine),
    )


def _of_workloads(cluster: Cluster) -> Iterator[Row]:
    daemonsets = kubernetes.daemonsets(cluster)
    others = daemonsets[~daemonsets["daemonset"].isin(DATAPLANE)]
    yield (
        "other DaemonSets",
        _set(others["daemonset"]),
        False,
        "agents cost CPU on every node",
        first_reply(daemonsets),
    )
    containers = kubernetes.containers(cluster)
    lab = containers[containers["namespace"] == cluster.namespace]
    yield (
        "workload images",
        _set(lab["image"]),
        False,
        "another server is another measurement",
        first_reply(containers),
    )
    pods = kubernetes.pods(cluster)
    dns = pods[pods["app"] == "kube-dns"]
    spread = f"{len(dns)} on {dns['node'].nunique()} node(s)"
    yield (
        "CoreDNS pods",
        spread,
        False,
        "names resolve faster where a server is on the node",
        first_reply(pods),
    )
    targets = kubernetes.pod_targets(cluster, "frontend", "toolbox")
    resolvers = gather(
        cluster.run_each(targets, ["cat", "/etc/resolv.conf"]), proc_info.resolv_conf, "pod", targets
    )
    yield (
        "resolver of pods",
        _set(resolvers["nameservers"]),
        False,
        "LocalDNS changes the DNS path of one arm",
        first_reply(resolvers),
    )
    services = kubernetes.services(cluster)
    lab_services = services[services["namespace"] == cluster.namespace]
    yield (
        "Service ports of the lab",
        str(len(lab_services)),
        False,
        "rules and maps grow with them",
        first_reply(services),
    )


def _of_the_arm(cluster: Cluster) -> Iterator[Row]:
    frame = kubernetes.nodes(cluster)
    reply = first_reply(frame)
    at = str(cluster.about["recorded_at"])[:16].replace("T", " ")
    yield "measured at (UTC)", at, False, "arms measured one after the other carry the drift between", reply
    yield "pod ranges", _set(frame["pod_cidr"]), True, "", reply
    yield "node addresses", _set(frame["node_ip"]), True, "", reply
    yield "policy engine", policy_engine(cluster), True, "", first_reply(kubernetes.daemonsets(cluster))


def _set(values: Iterable[object]) -> str:
    """The different values, sorted, comma-separated; `none` where there is none."""
    return ", ".join(sorted({str(value) for value in values})) or "none"
