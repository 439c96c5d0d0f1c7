"""Connectivity probes in each step of the policy experiment, and the policies in force in them.

The probes read: they open connections and look what becomes of it. Applying and deleting the policies
between the steps is an experiment's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from labkit.collect.gather import collects, read_one
from labkit.collect.kubernetes import pods, services
from labkit.errors import MissingFeature, ParseError, ReplayMiss
from labkit.parse import network_policy, reachability
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = [
    "IN_FORCE", "POLICIES", "PROBES", "RULES", "STEPS",
    "in_force", "namespaces", "policies", "probes", "rules",
]  # fmt: skip

#: The steps of the experiment, in their order.
STEPS = ("policy-none", "policy-deny-all", "policy-allow-frontend", "policy-removed")
#: Where the policies were read that held in a step in which the recorder did not read them: nothing was
#: applied between `baseline` and `policy-none`, nor between `policy-removed` and `cleanup`.
READ_INSTEAD = {"policy-none": "baseline", "policy-removed": "cleanup"}
NETWORK_POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"

#: Who asks: the label app of the pods, and the container in them.
SOURCES = (("frontend", "toolbox"), ("perf-client", "client"))
BACKEND, SERVICE = "backend", "backend-service"
HTTP = ("curl", "-sS", "-o", "/dev/null", "--connect-timeout", "2", "--max-time", "4", "-w", "%{json}")
PING = ("ping", "-c", "2", "-i", "0.2", "-W", "1")
LOOKUP = ("dig", "+time=2", "+tries=1", "+noall", "+comments", "+answer", "+stats")

STEP = Column("step", "str", "the step of the experiment")

PROBES = Schema("policy_probes", "Connectivity probes, in the order they ran.", key=("started_at",), columns=(
    STEP,
    Column("namespace", "str", "namespace of the pod that asked"),
    Column("pod", "str", "the pod that asked"),
    Column("app", "str", "its label app"),
    Column("node", "str", "its node"),
    Column("src_ip", "str", "its address"),
    Column("kind", "str", "what it asked for: pod, service-ip, service-name or dns"),
    Column("destination", "str", "pod, Service, or the name that was asked for"),
    Column("dst_node", "str", "node of the destination pod; NA where it is no pod"),
    Column("dst_ip", "str", "address of the pod or Service; of dns the name server's; NA where not known"),
    Column("protocol", "str", "TCP (an HTTP GET), ICMP (two echo requests) or UDP (one lookup)"),
    Column("dst_port", "Int64", "port that was asked for; NA of ICMP"),
    Column("dns_ip", "str", "the name server that a probe by name needs; NA where it needs none"),
    *reachability.COLUMNS,
    Column("started_at", "datetime64[us, UTC]", "when it began, by the clock of whoever asked"),
    Column("ended_at", "datetime64[us, UTC]", "when it was over, by the same clock"),
))  # fmt: skip

IN_FORCE = Schema("policies_in_force", "NetworkPolicies in force in each step.", key=("read_at",), columns=(
    STEP,
    Column("policies", "Int64", "how many are in force, in all namespaces"),
    Column("names", "str", "namespace/name of each, comma-separated; NA where none is"),
    Column("read_in", "str", "the step they were read in: another one where this one has no such reading"),
    Column("read_at", "datetime64[us, UTC]", "when the API server was asked"),
))  # fmt: skip


def _by_step(schema: Schema) -> Schema:
    return Schema(schema.name, schema.meaning, ("step", *schema.key), (STEP, *schema.columns))


POLICIES, RULES = _by_step(network_policy.POLICIES), _by_step(network_policy.RULES)


@collects(network_policy.NAMESPACES)
def namespaces(cluster: Cluster) -> pd.DataFrame:
    """Namespaces with their labels: frame NAMESPACES and `reply`."""
    return read_one(cluster.read("/api/v1/namespaces"), network_policy.namespaces)


@collects(IN_FORCE)
def in_force(cluster: Cluster) -> pd.DataFrame:
    """Which NetworkPolicies hold in each step, and where that was read: frame IN_FORCE and `reply`."""
    rows = []
    for step in STEPS:
        reply = _read(cluster.at(step))
        found = read_one(reply, network_policy.policies)
        rows.append({
            "step": step,
            "policies": len(found),
            "names": ",".join(found["namespace"] + "/" + found["policy"]) or None,
            "read_in": reply.request.step,
            "read_at": reply.started_at,
            "reply": reply.id,
        })  # fmt: skip
    return in_force.schema.frame(rows)


@collects(POLICIES)
def policies(cluster: Cluster) -> pd.DataFrame:
    """The NetworkPolicies of each step: frame POLICIES and `reply`. A step in which none holds has no row."""
    return _each_step(cluster, network_policy.policies)


@collects(RULES)
def rules(cluster: Cluster, steps: Sequence[str] = STEPS) -> pd.DataFrame:
    """What the NetworkPolicies of these steps allow: frame RULES and `reply`."""
    return _each_step(cluster, network_policy.rules, steps)


def _each_step(
    cluster: Cluster, parse: Callable[[bytes], pd.DataFrame], steps: Sequence[str] = STEPS
) -> pd.DataFrame:
    frames = []
    for step in steps:
        frame = read_one(_read(cluster.at(step)), parse)
        frame.insert(0, "step", step)
        frames.append(frame.astype({"step": "str"}))
    return concat(frames)


def _read(cluster: Cluster) -> Reply:
    """The NetworkPolicies of a step, read in it or in the step that stands for it."""
    try:
        return cluster.read(NETWORK_POLICIES)
    except ReplayMiss:
        if cluster.step not in READ_INSTEAD:
            raise
        return cluster.at(READ_INSTEAD[cluster.step]).read(NETWORK_POLICIES)


class _Probe(NamedTuple):
    """What is asked for, as columns of PROBES; the command that asks; what reads its answer."""

    columns: dict[str, Any]
    argv: tuple[str, ...]
    read: Callable[[bytes], reachability.Attempt]


@collects(PROBES)
def probes(cluster: Cluster, steps: Sequence[str] = STEPS) -> pd.DataFrame:
    """Every probe of these steps: frame PROBES and `reply`.

    Each source asks for each backend pod by address, for the Service by address and by name, pings each
    backend, and looks the name up. Raises MissingFeature where the lab's pods or its Service are not there.
    """
    sources, plan = _sources(cluster.at("baseline")), _plan(cluster.at("baseline"))
    rows = [row for step in steps for probe in plan for row in _ask(cluster.at(step), sources, probe)]
    servers = {(row["step"], row["pod"]): row["dst_ip"] for row in rows if row["kind"] == "dns"}
    for row in rows:
        row["dns_ip"] = servers[row["step"], row["pod"]] if row["kind"] == "service-name" else None
    return probes.schema.frame(rows)


def _sources(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """The containers that ask, by target, as columns of PROBES."""
    return {
        f"pod/{cluster.namespace}/{pod}/{container}": {
            "namespace": cluster.namespace, "pod": pod, "app": app, "node": node, "src_ip": ip,
        }
        for app, container in SOURCES
        for pod, ip, node in _places(cluster, app)
    }  # fmt: skip


def _plan(cluster: Cluster) -> list[_Probe]:
    """What each source asks for, in this order."""
    backends, service_ip = list(_places(cluster, BACKEND)), _service_ip(cluster)
    name = f"{SERVICE}.{cluster.namespace}.svc.cluster.local"
    return [
        *(_http("pod", pod, ip, ip, node) for pod, ip, node in backends),
        _http("service-ip", SERVICE, service_ip, service_ip),
        _http("service-name", name, service_ip, name),
        *(
            _Probe(_columns("pod", pod, "ICMP", None, ip, node), (*PING, ip), reachability.echo)
            for pod, ip, node in backends
        ),
        _Probe(_columns("dns", name, "UDP", 53), (*LOOKUP, name), reachability.lookup),
    ]


def _http(kind: str, destination: str, ip: str, host: str, node: str | None = None) -> _Probe:
    columns = _columns(kind, destination, "TCP", 80, ip, node)
    return _Probe(columns, (*HTTP, f"http://{host}/"), reachability.http)


def _columns(
    kind: str,
    destination: str,
    protocol: str,
    port: int | None,
    ip: str | None = None,
    node: str | None = None,
) -> dict[str, Any]:
    return {
        "kind": kind, "destination": destination, "dst_node": node, "dst_ip": ip,
        "protocol": protocol, "dst_port": port,
    }  # fmt: skip


def _ask(cluster: Cluster, sources: dict[str, dict[str, Any]], probe: _Probe) -> Iterator[dict[str, Any]]:
    """A row for each source that asked."""
    for reply in cluster.run_each(sources, probe.argv, check=False):
        became = _read_attempt(reply, probe)
        server = {"dst_ip": became.server} if probe.columns["kind"] == "dns" else {}
        yield {
            "step": cluster.step,
            **sources[reply.request.subject],
            **probe.columns,
            **server,
            "outcome": became.outcome,
            "cause": became.cause,
            "detail": became.detail,
            "started_at": reply.started_at,
            "ended_at": reply.started_at + timedelta(seconds=reply.duration_s),
            "reply": reply.id,
        }


def _read_attempt(reply: Reply, probe: _Probe) -> reachability.Attempt:
    try:
        return probe.read(reply.stdout)
    except ParseError as error:
        error.add_note(f"reply {reply.id}: {reply.request.words[:200]} on {reply.request.subject}")
        raise


def _places(cluster: Cluster, app: str) -> Iterator[tuple[str, str, str]]:
    """Name, address and node of the lab's pods with this app label."""
    found = pods(cluster)
    mine = found[(found["namespace"] == cluster.namespace) & (found["app"] == app)]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no pod with app={app} in namespace {cluster.namespace}")
    return zip(mine["pod"], mine["pod_ip"], mine["node"], strict=True)


def _service_ip(cluster: Cluster) -> str:
    found = services(cluster)
    mine = found[(found["namespace"] == cluster.namespace) & (found["service"] == SERVICE)]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no Service {SERVICE} in namespace {cluster.namespace}")
    return str(mine["cluster_ip"].iloc[0])
