"""What more Services cost: connections to the first and the last of them, and what the nodes hold for them.

In the steps `services-100` and `services-1000` so many Services `scale-00000` and on select the backends.
The baseline, without them, is the fetches of the performance plan through the backends' own Service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import kubernetes, services
from labkit.collect.gather import NODE, collects, gather, stack
from labkit.collect.plan import FETCHES, REPETITIONS, Trial, fetch, placement, plan
from labkit.errors import MissingFeature, ReplayMiss
from labkit.parse import cilium_lb, curl
from labkit.parse import objects as parse
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["HOLDINGS", "SLICES", "STEPS", "connections", "holdings", "slices"]

STEPS = ("services-100", "services-1000")
PREFIX = "scale-"

SERVICES = Column("services", "Int64", "Services in the cluster at the time")
HOLDINGS = Schema("holdings", "What a node holds to find the backends of Services.", key=("services", "holds"), columns=(
    SERVICES,
    Column("holds", "str", "iptables rules, KUBE-SVC chains, or slots of Cilium's service map"),
    Column("entries", "Int64", "how many"),
))  # fmt: skip
SLICES = Schema("slices", "The extra Services, and when their first EndpointSlice came.", key=("services", "service"), columns=(
    SERVICES,
    Column("service", "str", "name"),
    Column("created_at", "datetime64[us, UTC]", "creation of the Service, in whole seconds"),
    Column("slice_at", "datetime64[us, UTC]", "creation of its EndpointSlice; NA where there was none yet"),
    Column("read_at", "datetime64[us, UTC]", "when the API server was asked for the EndpointSlices"),
))  # fmt: skip
CONNECTION = (
    SERVICES,
    Column("position", "str", "which Service: only (the backends' own), first or last of the extra ones"),
    Column("repetition", "Int64", "number of the repetition, from 0"),
    Column("started_at", "datetime64[us, UTC]", "when the command was asked for"),
    Column("duration_s", "float64", "until its reply was there"),
)


@collects(curl.TRANSFERS, *CONNECTION)
def connections(cluster: Cluster, repetitions: int = REPETITIONS) -> pd.DataFrame:
    """Each fetch, with a connection of its own: frame TRANSFERS and `reply`.

    A refused connection is a row with curl's exit code and without times.
    """
    known = [
        (
            reply,
            {
                "services": count,
                "position": position,
                "repetition": reply.request.sample,
                "started_at": reply.started_at,
                "duration_s": reply.duration_s,
            },
        )
        for count, position, reply in _commands(cluster, repetitions)
    ]
    return stack(known, curl.transfers, connections.schema)


def _commands(cluster: Cluster, repetitions: int) -> Iterator[tuple[int, str, Reply]]:
    trials = plan(cluster, repetitions)
    for trial in trials:
        if (trial.tool, trial.path, trial.mode) == ("curl", "service", "new-connection"):
            yield _count(cluster, "baseline"), "only", _ask(cluster.at("performance"), trial)
    client = placement(cluster).client
    for step in STEPS:
        extra, count = _extra(cluster, step), _count(cluster, step)
        for sample in range(repetitions):
            for position, at in (("first", 0), ("last", -1)):
                argv = fetch(str(extra["cluster_ip"].iloc[at]), FETCHES)
                trial = Trial(sample, "curl", "service", position, "", client, argv, sample)
                yield count, position, _ask(cluster.at(step), trial)


def _ask(cluster: Cluster, trial: Trial) -> Reply:
    return cluster.run(trial.target, trial.argv, sample=trial.sample, check=False)


def _services(cluster: Cluster, step: str) -> pd.DataFrame:
    try:
        return kubernetes.services(cluster.at(step))
    except ReplayMiss:
        raise MissingFeature(cluster.arm, f"step {step} with more Services was not recorded") from None


def _extra(cluster: Cluster, step: str) -> pd.DataFrame:
    """The extra Services of a step, in the order of their names."""
    found = _services(cluster, step)
    mine = found[(found["namespace"] == cluster.namespace) & found["service"].str.startswith(PREFIX)]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no Services {PREFIX}* in step {step}")
    return mine.sort_values("service", ignore_index=True)


def _count(cluster: Cluster, step: str) -> int:
    return len(_services(cluster, step).drop_duplicates(["namespace", "service"]))


@collects(SLICES)
def slices(cluster: Cluster) -> pd.DataFrame:
    """Each extra Service and its EndpointSlice, as the API showed them before the first connection."""
    frames = [slices.schema.empty()]
    for step in STEPS:
        at = cluster.at(step)
        count = _count(cluster, step)
        created = parse.objects(at.read("/api/v1/services").stdout, "Service").set_index("name")["created_at"]
        reply = at.read("/apis/discovery.k8s.io/v1/endpointslices")
        found = parse.objects(reply.stdout, "EndpointSlice")
        first = found.sort_values("created_at").drop_duplicates("owner").set_index("owner")["created_at"]
        frame = SLICES.frame(
            {
                "services": count,
                "service": name,
                "created_at": created[name],
                "slice_at": first.get(f"Service/{name}"),
                "read_at": reply.started_at,
            }
            for name in _extra(cluster, step)["service"]
        )
        frames.append(frame.assign(reply=reply.id).astype({"reply": "str"}))
    return concat(frames)


@collects(HOLDINGS, NODE)
def holdings(cluster: Cluster) -> pd.DataFrame:
    """What each node holds, at the baseline and with more Services: frame HOLDINGS and `reply`."""
    frames = [holdings.schema.empty()]
    for step in ("baseline", *STEPS):
        held = [_rules(cluster.at(step))]
        if kubernetes.is_cilium(cluster):
            held.append(_slots(cluster.at(step)))
        frames += [frame.assign(services=_count(cluster, step)) for frame in held]
    frame = concat([frame.astype({"services": "Int64"})[holdings.schema.names] for frame in frames])
    return frame.sort_values(list(holdings.schema.key), kind="stable", ignore_index=True)


def _rules(cluster: Cluster) -> pd.DataFrame:
    rules = services.rules(cluster)
    chains = rules[rules["chain"].str.startswith("KUBE-SVC-")].drop_duplicates(["node", "chain"])
    return concat([_held(rules, rules, "iptables rules"), _held(rules, chains, "KUBE-SVC chains")])


def _slots(cluster: Cluster) -> pd.DataFrame:
    agents = kubernetes.agent_targets(cluster)
    replies = cluster.run_each(agents, ("cilium-dbg", "bpf", "lb", "list", "-o", "json"))
    slots = gather(replies, cilium_lb.lb_map, "node", agents)
    return _held(slots, slots, "service map slots")


def _held(read: pd.DataFrame, counted: pd.DataFrame, holds: str) -> pd.DataFrame:
    """How many rows each node has in `counted`; 0 where it has none there, but was read."""
    nodes = read[["node", "reply"]].drop_duplicates(ignore_index=True)
    entries = counted.groupby("node").size().reindex(nodes["node"], fill_value=0)
    return nodes.assign(holds=holds, entries=entries.to_numpy()).astype({"holds": "str", "entries": "Int64"})
