"""The run-book's commands in the agent: whether they show what it expects of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.collect import cilium, cilium_maps, kubernetes
from labkit.findings import claim, inconclusive, refuted, supported
from labkit.parse.cilium import dump, is_usage

if TYPE_CHECKING:
    from labkit.cluster import Cluster
    from labkit.findings import Outcome

__all__ = ["CLAIMS"]

SUB_COMMAND = re.compile(r"^  ([a-z]\w*)  ", re.MULTILINE)
TRAFFIC = "load-balancing"


@claim(
    "clusterip-in-ct",
    "`bpf ct list global | grep $BACKEND_SVC_IP` shows the connections of a Service.",
    topic="cilium",
    said="Service Load Balancing Deep Dive",
)
def clusterip_in_ct(cluster: Cluster) -> Outcome:
    """After hundreds of connections to a Service's address. Socket LB translates before there is a packet."""
    busy = cluster.at(TRAFFIC)
    entries = cilium_maps.connections(busy)
    addresses = kubernetes.services(cluster)["cluster_ip"].dropna().unique()
    found = entries[entries["src_ip"].isin(addresses) | entries["dst_ip"].isin(addresses)]
    state = cilium.status(busy)
    evidence, numbers = (
        [*entries["reply"], *state["reply"]],
        {"entries": len(entries), "with_cluster_ip": len(found)},
    )
    if len(found):
        return supported(
            f"{len(found)} of {len(entries)} entries hold a cluster address", evidence, **numbers
        )
    if state["socket_lb_coverage"].eq("Full").all():
        return refuted(
            f"none of {len(entries)} entries holds one: socket LB translates the address in connect()",
            evidence,
            **numbers,
        )
    return inconclusive(f"none of {len(entries)} entries holds one", evidence, **numbers)


@claim(
    "config-shows-maglev",
    "`cilium-dbg config | grep -i maglev` shows the load-balancing configuration.",
    topic="cilium",
    said="Load Balancing Algorithm Comparison",
)
def config_shows_maglev(cluster: Cluster) -> Outcome:
    """Plain `config` prints what can be changed at run time, and the algorithm cannot."""
    options, state = cilium.mutable_options(cluster), cilium.status(cluster)
    words = options["option"] + " " + options["value"]
    found = options[words.str.contains("maglev", case=False)]
    evidence, numbers = [*options["reply"], *state["reply"]], {"options": len(options)}
    algorithm = ", ".join(sorted(state["lb_algorithm"].fillna("not told").unique()))
    if len(found):
        return supported(f"it prints {found['option'].iloc[0]}", evidence, **numbers)
    return refuted(f"none of its lines has the word; the status says: {algorithm}", evidence, **numbers)


@claim(
    "bpf-prog-list",
    "`cilium-dbg bpf prog list` shows whether programs are loaded.",
    topic="cilium",
    said="Cilium Troubleshooting",
)
def bpf_prog_list(cluster: Cluster) -> Outcome:
    """Not recorded; but the usage of `cilium-dbg bpf`, which a missing sub-command prints, lists what there is."""
    replies = cluster.run_each(kubernetes.agent_targets(cluster), ("cilium-dbg", "bpf", "tunnel", "list"))
    evidence = [reply.id for reply in replies]
    if not all(is_usage(reply.stdout) for reply in replies):
        return inconclusive("the command was not recorded, and no reply lists the sub-commands", evidence)
    known = SUB_COMMAND.findall(replies[0].stdout.decode())
    if "prog" in known:
        return inconclusive("`bpf prog` is a sub-command here, but was not recorded", evidence)
    return refuted(
        f"`prog` is none of the {len(known)} sub-commands of `cilium-dbg bpf`; bpftool shows programs", evidence,
        sub_commands=len(known),
    )  # fmt: skip


@claim(
    "lb-list-statistics",
    "`cilium-dbg bpf lb list` shows statistics of eBPF programs.",
    topic="cilium",
    said="Cilium Network Analysis, eBPF Map Analysis",
)
def lb_list_statistics(cluster: Cluster) -> Outcome:
    """It lists slots of the service map; what programs count is in `bpf metrics list`."""
    slots, counted = cilium_maps.lb_map(cluster), cilium_maps.metrics(cluster)
    return refuted(
        f"it lists {len(slots)} slots of the service map and no counter; `bpf metrics list` has {len(counted)}",
        [*slots["reply"], *counted["reply"]], slots=len(slots), counters=len(counted),
    )  # fmt: skip


@claim(
    "service-jq-frontend",
    "`service list -o json | jq '.[] | select(.frontend.port == 80)'` selects the Services of port 80.",
    topic="cilium",
    said="Service Load Balancing Deep Dive",
)
def service_jq_frontend(cluster: Cluster) -> Outcome:
    """The port stands in `.spec."frontend-address".port`; jq finds nothing where a field is missing."""
    replies = cluster.run_each(
        kubernetes.agent_targets(cluster), ("cilium-dbg", "service", "list", "-o", "json")
    )
    items = [item for reply in replies for item in dump("cilium-dbg service list", reply.stdout)]
    chosen = [item for item in items if (item.get("frontend") or {}).get("port") == 80]
    on_80 = int(
        (
            cilium.services(cluster).drop_duplicates(["node", "frontend_ip", "port", "protocol"])["port"]
            == 80
        ).sum()
    )
    evidence, numbers = [reply.id for reply in replies], {"selected": len(chosen), "on_port_80": on_80}
    if len(chosen) == on_80:
        return supported(f"it selects all {on_80}", evidence, **numbers)
    return refuted(
        f"it selects {len(chosen)} of {on_80}: the objects have no field `frontend`", evidence, **numbers
    )


@claim(
    "endpoint-id-by-grep",
    "`endpoint list | grep <namespace> | head -1 | awk '{print $1}'` gives the id of an endpoint.",
    topic="cilium",
    said="Cilium Network Analysis, eBPF Map Analysis",
)
def endpoint_id_by_grep(cluster: Cluster) -> Outcome:
    """Labels stand on lines of their own, so the line that matches mostly starts with a label."""
    targets = kubernetes.agent_targets(cluster)
    replies = cluster.run_each(targets, ("cilium-dbg", "endpoint", "list"))
    found = [_first_word(reply.stdout.decode(), cluster.namespace) for reply in replies]
    ids = [word for word in found if word.isdigit()]
    evidence, numbers = [reply.id for reply in replies], {"agents": len(found), "ids": len(ids)}
    if len(ids) == len(found):
        return supported(f"it gives {', '.join(ids)}", evidence, **numbers)
    other = next(word for word in found if not word.isdigit())
    return refuted(
        f"on {len(found) - len(ids)} of {len(found)} nodes it gives {other or 'nothing'}", evidence, **numbers
    )


def _first_word(text: str, wanted: str) -> str:
    line = next((line for line in text.splitlines() if wanted in line), "")
    return line.split()[0] if line.split() else ""


CLAIMS = (
    clusterip_in_ct, config_shows_maglev, bpf_prog_list, lb_list_statistics, service_jq_frontend, endpoint_id_by_grep,
)  # fmt: skip
