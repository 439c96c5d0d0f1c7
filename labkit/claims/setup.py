"""What the run-book takes for granted when it sets the arms up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.parity import blocking, gate
from labkit.collect import kubernetes
from labkit.collect.parity import facts
from labkit.findings import claim, inconclusive, refuted, supported
from labkit.schema import concat

if TYPE_CHECKING:
    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

#: Exit codes of a container runtime and of shells where a program is not there.
NOT_FOUND = (126, 127)


@claim(
    "azure-cni-pods",
    "`kubectl get pods -n kube-system | grep azure-cni` shows the CNI at work.",
    topic="setup",
    said="CNI Overlay Analysis, Switch to CNI Overlay Cluster Context",
)
def azure_cni_pods(cluster: Cluster) -> Outcome:
    """On AKS too the CNI is a binary on the node and azure-cns its daemon: no pod has that name."""
    pods = kubernetes.pods(cluster)
    system = pods[pods["namespace"] == "kube-system"]
    named = system[system["pod"].str.startswith("azure-cni")]
    if named.empty:
        return refuted(
            f"none of {len(system)} pods in kube-system is called so", pods["reply"], pods=len(system)
        )
    return supported(f"{len(named)} pods are called so", named["reply"], pods=len(named))


@claim(
    "agent-on-every-node",
    "A Cilium agent runs on every node.",
    topic="setup",
    said="Cilium CNI Analysis, Switch to Cilium Cluster Context",
)
def agent_on_every_node(cluster: Cluster) -> Outcome:
    """One agent a node, and ready: an agent answers for its own node only."""
    agents = kubernetes.agent_targets(cluster)
    pods, nodes = kubernetes.pods(cluster), kubernetes.nodes(cluster)
    ready = pods[(pods["app"] == "cilium") & pods["ready"] & pods["node"].isin(list(agents.values()))]
    without = sorted(set(nodes["node"]) - set(ready["node"]))
    evidence = [*pods["reply"], *nodes["reply"]]
    if without:
        return refuted(
            f"no ready agent on {', '.join(without)}", evidence, nodes=len(nodes), agents=len(ready)
        )
    return supported(
        f"{len(ready)} ready agents on {len(nodes)} nodes", evidence, nodes=len(nodes), agents=len(ready)
    )


@claim(
    "first-pods-cross-nodes",
    "The first frontend and the first backend pod (`items[0]`) show the path between nodes.",
    topic="setup",
    said="CNI Overlay Analysis, Pod Network Information",
)
def first_pods_cross_nodes(cluster: Cluster) -> Outcome:
    """Two replicas on two nodes: which is first is the API server's order of names, that is, chance."""
    pods = kubernetes.pods(cluster)
    mine = pods[pods["namespace"] == cluster.namespace].drop_duplicates("app").set_index("app")
    if not {"frontend", "backend"} <= set(mine.index):
        return inconclusive("no frontend or no backend pod in this arm", pods["reply"])
    front, back = (str(mine.loc[app, "node"]) for app in ("frontend", "backend"))
    if front == back:
        return refuted(f"both run on {front}: their traffic never leaves it", pods["reply"])
    return supported(f"they happen to run on {front} and {back}; nothing places them so", pods["reply"])


@claim(
    "nginx-has-tools",
    "`ping`, `ip` and `nslookup` can be run in the frontend's nginx container.",
    topic="setup",
    said="CNI Overlay Analysis, Pod-to-Pod Communication Analysis",
)
def nginx_has_tools(cluster: Cluster) -> Outcome:
    """`ip route show` in it. The official image has none of the three; that of recordings is a stand-in."""
    targets = kubernetes.pod_targets(cluster.at("baseline"), "frontend", "frontend")
    replies = cluster.at("baseline").run_each(targets, ("ip", "route", "show"), check=False)
    evidence = [reply.id for reply in replies]
    if any(reply.exit_code in NOT_FOUND for reply in replies):
        return refuted("`ip` is not there; commands run in the toolbox container instead", evidence)
    if not str(cluster.about.get("source", "")).startswith("live:"):  # recordings of labs pulled no images
        return inconclusive(
            "the image here is a stand-in with tools; nginx's own Dockerfile installs curl, but no iproute2, "
            "ping or nslookup. Commands run in the toolbox container instead",
            evidence,
        )
    return supported("`ip` is there", evidence)


@claim(
    "arms-differ-only-in-dataplane",
    "The two clusters differ in nothing but their dataplane.",
    topic="setup",
    said="Environment Setup, Cluster Creation Commands",
    scope="pair",
)
def arms_differ_only_in_dataplane(mine: Cluster, other: Cluster) -> Outcome:
    """The parity table of these two arms: what is not expected to differ must not."""
    frames = []
    for arm in (mine, other):
        frame = facts(arm)
        frame.insert(0, "arm", arm.arm)
        frames.append(frame)
    table = gate(concat(frames))
    differs = blocking(table)
    mine_too, others = (frame["reply"].dropna() for frame in frames)
    evidence = [*mine_too, *("versus:" + others)]
    if differs:
        return refuted(
            f"they differ in {', '.join(differs)}", evidence, facts=len(table), differ=len(differs)
        )
    return supported(
        f"{len(table)} facts are equal, or expected to differ", evidence, facts=len(table), differ=0
    )


CLAIMS = (
    azure_cni_pods,
    agent_on_every_node,
    first_pods_cross_nodes,
    nginx_has_tools,
    arms_differ_only_in_dataplane,
)
