"""Events of the datapath while they happen: `cilium-dbg monitor` on every node, for a bounded time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from labkit.collect.gather import NODE, POD, collects, gather, read_one
from labkit.collect.kubernetes import agent_targets, pod_targets, pods
from labkit.collect.plan import Plan
from labkit.collect.pod import backend_ips
from labkit.errors import CommandError, MissingFeature
from labkit.parse import cilium_monitor as parse
from labkit.parse import ping
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["TRACED", "monitor", "traced_pings"]

HEAD_START_S = 2.0
NO_PROGRAM = (126, 127)
CUT_OFF = 124  # exit code of timeout(1) where it had to end the command: the way a monitor ends

TRACED = Schema("traced_pings", "Pings while the monitors ran, one row a pair of pods.", key=("dst_ip",), columns=(
    Column("dst_ip", "str", "the backend that was pinged"),
    Column("sent", "Int64", "echo requests that were sent"),
    Column("received", "Int64", "echo replies that came back"),
    Column("shown", "Int64", "echo requests that a monitor showed on their way into the backend"),
    Column("monitor_replies", "str", "ids of the monitors' replies"),
))  # fmt: skip
WHOLE = Schema(TRACED.name, TRACED.meaning, ("pod", "dst_ip"), (POD, *TRACED.columns, REPLY))


@collects(parse.EVENTS, NODE)
def monitor(cluster: Cluster, type: str = "trace") -> pd.DataFrame:
    """Events of one type (trace, drop, policy-verdict, capture) of each node: frame EVENTS by node.

    Live, something else must make the traffic meanwhile. Raises MissingFeature where the arm has no Cilium
    agent or none that can end by itself, and CommandError where the monitor ended otherwise than by its time
    limit.
    """
    targets = agent_targets(cluster)
    seconds = Plan.from_about(cluster.about).listen_s
    argv = ("timeout", "-s", "INT", str(seconds), "cilium-dbg", "monitor", "-j", "--type", type)
    replies = cluster.run_each(targets, argv, check=False)
    for reply in replies:
        if reply.exit_code in NO_PROGRAM:
            raise MissingFeature(
                cluster.arm, "the agent's image has no `timeout`, so a monitor in it would never end"
            )
        if reply.exit_code not in (0, CUT_OFF, None):
            raise CommandError(reply)
    return gather(replies, parse.events, "node", targets)


@collects(TRACED, POD)
def traced_pings(cluster: Cluster) -> pd.DataFrame:
    """Every frontend pings every backend while the monitors trace: frame TRACED by pod.

    Raises MissingFeature where the arm has no Cilium agent.
    """
    sources = pod_targets(cluster, "frontend", "toolbox")
    agent_targets(cluster)
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(monitor, cluster)
        wait([watching], HEAD_START_S)  # less where it is answered already, as in a recording
        asked = [
            (
                sources[target],
                cluster.run(target, ("ping", "-c", "2", "-i", "0.2", "-W", "1", ip), check=False),
            )
            for target in sorted(sources)
            for ip in backend_ips(cluster)
        ]
    events = watching.result()
    address = pods(cluster.at("baseline")).set_index("pod")["pod_ip"]
    return WHOLE.frame(_traced(pod, address[pod], reply, events) for pod, reply in asked)


def _traced(pod: str, address: str, reply: Reply, events: pd.DataFrame) -> dict[str, Any]:
    told = read_one(reply, ping.summary).iloc[0]
    arrived = events[(events["icmp_type"] == "EchoRequest") & (events["observation_point"] == "to-endpoint")]
    mine = arrived[(arrived["src_ip"] == address) & (arrived["dst_ip"] == told["dst_ip"])]
    return {
        "pod": pod,
        "dst_ip": told["dst_ip"],
        "sent": told["sent"],
        "received": told["received"],
        "shown": len(mine),
        "monitor_replies": ",".join(sorted(set(events["reply"]))),
        "reply": reply.id,
    }
