"""What more Services cost: connections to the first and the last of them, and what the nodes hold for them.

In the steps `services-<number>` that the arm's plan names so many Services `scale-00000` and on select the
backends, as far as they fit (`limits`). The baseline, without them, is the fetches of the performance plan
through the backends' own Service.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from labkit.collect import ebpf, footprint, kubernetes, performance, services
from labkit.collect.gather import NODE, collects, gather, stack
from labkit.collect.limits import fitting
from labkit.collect.plan import Plan, fetch, placement
from labkit.errors import MissingFeature, ReplayMiss
from labkit.parse import cilium_lb, curl, iptables, kubelet_summary
from labkit.parse import objects as parse
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = [
    "HOLDERS",
    "HOLDINGS",
    "PREFIX",
    "SLICES",
    "connections",
    "holdings",
    "memory",
    "replies",
    "slices",
]

#: How the names of the extra Services begin.
PREFIX = "scale-"
CHAINS = "KUBE-SVC chains"

SERVICES = Column("services", "Int64", "Services in the cluster at the time")
HOLDINGS = Schema("holdings", "What a node holds to find the backends of Services.", key=("services", "holds"), columns=(
    SERVICES,
    Column("holds", "str", "iptables rules, KUBE-SVC chains, slots of Cilium's service map, or entries of another eBPF map"),
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
def connections(cluster: Cluster, repetitions: int = 0) -> pd.DataFrame:
    """Each fetch, with a connection of its own: frame TRANSFERS and `reply`.

    A refused connection is a row with curl's exit code and without times. With `repetitions` the first so
    many; 0 gives all that the arm's plan has.
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
        for count, position, reply in _replies(cluster)
        if not repetitions or reply.request.sample < repetitions
    ]
    return stack(known, curl.transfers, connections.schema)


def _replies(cluster: Cluster) -> Iterator[tuple[int, str, Reply]]:
    for trial, reply in performance.replies(cluster):
        if (trial.tool, trial.path, trial.mode) == ("curl", "service", "new-connection"):
            yield _count(cluster, "baseline"), "only", reply
    for step in fitting(cluster):
        yield from replies(cluster, step)


def replies(cluster: Cluster, step: str) -> Iterator[tuple[int, str, Reply]]:
    """Connect to the first and the last extra Service of a step in turn: Services, which of them, and the reply."""
    plan, client = Plan.from_about(cluster.about), placement(cluster).client
    extra, count = _extra(cluster, step), _count(cluster, step)
    for sample in range(plan.repetitions):
        for position, at in (("first", 0), ("last", -1)):
            argv = fetch(str(extra["cluster_ip"].iloc[at]), plan.fetches)
            yield count, position, cluster.at(step).run(client, argv, sample=sample, check=False)


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
    for step in fitting(cluster):
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


@collects(kubelet_summary.USAGE, SERVICES, footprint.PART, NODE)
def memory(cluster: Cluster) -> pd.DataFrame:
    """What the dataplane's own pods use with more and more Services: frame USAGE by Services, part and node.

    The kubelet reads memory every ten seconds or so: it may be that of a moment before the step.
    Raises MissingFeature where no kubelet says it.
    """
    frames = [
        footprint.usage(cluster.at(step)).assign(services=_count(cluster, step)) for step in fitting(cluster)
    ]
    frame = concat([one.astype({"services": "Int64"})[memory.schema.names] for one in frames])
    return frame.sort_values(list(memory.schema.key), kind="stable", ignore_index=True)


@collects(HOLDINGS, NODE)
def holdings(cluster: Cluster) -> pd.DataFrame:
    """What each node holds, at the baseline and with more Services: frame HOLDINGS and `reply`.

    Raises MissingFeature where nothing that can be read holds the Services of this arm.
    """
    frames = [holdings.schema.empty()]
    for step in ("baseline", *fitting(cluster)):
        held = _held_in(cluster.at(step))
        frames += [frame.assign(services=_count(cluster, step)) for frame in held]
    frame = concat([frame.astype({"services": "Int64"})[holdings.schema.names] for frame in frames])
    return frame.sort_values(list(holdings.schema.key), kind="stable", ignore_index=True)


def _held_in(cluster: Cluster) -> list[pd.DataFrame]:
    """What holds Services in one step; the rules of iptables also where they hold none, if something else does."""
    rules = _rules(cluster)
    if kubernetes.is_cilium(cluster):
        return [rules, _slots(cluster)]
    if rules.loc[rules["holds"] == CHAINS, "entries"].any():
        return [rules]
    for holder in HOLDERS:
        with suppress(MissingFeature):
            return [rules, holder(cluster)]
    raise MissingFeature(
        cluster.arm, "neither iptables rules nor a map that can be read holds this arm's Services"
    )


def _rules(cluster: Cluster) -> pd.DataFrame:
    targets = kubernetes.node_targets(cluster)
    replies = cluster.run_each(targets, services.SAVE)
    rules = gather(replies, iptables.rules, "node", targets)
    chains = rules[rules["chain"].str.startswith("KUBE-SVC-")].drop_duplicates(["node", "chain"])
    asked = {targets[reply.request.subject]: reply.id for reply in replies}
    return concat([_held(asked, rules, "iptables rules"), _held(asked, chains, CHAINS)])


def _slots(cluster: Cluster) -> pd.DataFrame:
    agents = kubernetes.agent_targets(cluster)
    replies = cluster.run_each(agents, ("cilium-dbg", "bpf", "lb", "list", "-o", "json"))
    slots = gather(replies, cilium_lb.lb_map, "node", agents)
    return _held({agents[reply.request.subject]: reply.id for reply in replies}, slots, "service map slots")


def _held(asked: dict[str, str], counted: pd.DataFrame, holds: str) -> pd.DataFrame:
    """How many rows each node has in `counted`; 0 where it has none there. `asked` is each node's reply."""
    import pandas as pd  # noqa: PLC0415

    entries = counted.groupby("node").size().reindex(list(asked), fill_value=0)
    frame = pd.DataFrame({"node": list(asked), "reply": list(asked.values())})
    dtypes = {"node": "str", "reply": "str", "holds": "str", "entries": "Int64"}
    return frame.assign(holds=holds, entries=entries.to_numpy()).astype(dtypes)


#: What holds Services where neither iptables nor Cilium does: each gives rows of HOLDINGS but for `services`, with
#: `node` in front and `reply` behind, and raises MissingFeature where the arm has none of it.
HOLDERS: list[Callable[[Cluster], pd.DataFrame]] = [ebpf.holders]
