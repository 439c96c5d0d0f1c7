"""Packets captured on every node and in every frontend while the frontends talk to the backends.

The taps listen for some seconds; two seconds after they start, each frontend pings each backend pod and
fetches the Service by name. What the frontends were told by ping and curl is kept beside the packets: it
says what must be found in them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from labkit.capture import HEAD_START_S, require_whole
from labkit.cluster import once
from labkit.collect import node
from labkit.collect.gather import Collector, read_one, read_reply
from labkit.collect.kubernetes import node_targets, nodes, pod_targets, pods
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature
from labkit.parse import curl, dissect, pcap, ping, tcpdump
from labkit.parse.packet_tunnels import VXLAN_PORTS
from labkit.schema import REPLY, Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = [
    "ASKED", "CAPTURED", "DISSECTED", "TAPS", "answer", "asked", "dissected", "packets", "reader", "sorted_by", "taps",
    "vxlan_ports",
]  # fmt: skip

STEP = "capture"
FILTER = "icmp or port 80 or port 8472 or port 4789 or port 53"
FETCHES = 4
POD_INTERFACE = "eth0"

WHERE = (
    Column("tap", "str", "where it was captured: `node`, on all its interfaces, or `pod`"),
    Column("node", "str", "the node, or the node of the pod"),
    Column("pod", "str", "the pod; NA on a node"),
)

CAPTURED = Schema(
    "captured_packets", "Packets as each tap saw them. One that crosses five interfaces has five rows.",
    key=("tap", "node", "pod", "n"), columns=(
        *WHERE,
        Column("interface", "str", "the interface it crossed, by its name on that machine; NA where it is gone"),
        Column("device", "str", "what that is: `nic` (it has the node's address), `bridge`, `vxlan`, `veth`, … or `pod`"),
        *pcap.PLAIN,
        REPLY,
    ),
)  # fmt: skip

TAPS = Schema("taps", "The captures, one row a tap.", key=("tap", "node", "pod"), columns=(
    *WHERE,
    *tcpdump.REPORT.columns,
    Column("packets", "Int64", "packets in the file"),
    Column("problems", "Int64", "packets that could not be read to the end of their headers"),
    Column("cut", "boolean", "the file ends inside a packet"),
    REPLY,
))  # fmt: skip

ASKED = Schema("asked", "What the frontends asked for meanwhile, and got.", key=("pod", "kind", "asked", "sample"), columns=(
    Column("pod", "str", "the pod that asked"),
    Column("kind", "str", "`ping` or `http`"),
    Column("asked", "str", "the address that was pinged, or the URL"),
    Column("sample", "Int64", "number of the repetition"),
    Column("sent", "Int64", "echo requests sent, or connections made"),
    Column("answered", "Int64", "echo replies, or 1 where a 2xx status came"),
    Column("local_ip", "str", "curl's own address; NA of ping"),
    Column("local_port", "Int64", "curl's own port; NA of ping"),
    Column("remote_ip", "str", "the address that the client believes it talked to"),
    Column("remote_port", "Int64", "the port that curl believes it talked to; NA of ping"),
    REPLY,
))  # fmt: skip

DISSECTED = Schema("dissected", "One captured packet, field by field.", key=dissect.FIELDS.key, columns=(
    *dissect.FIELDS.columns,
    REPLY,
))  # fmt: skip


def _packets(cluster: Cluster) -> pd.DataFrame:
    """Every packet at every tap: frame CAPTURED."""
    devices, read = _devices(cluster.at("baseline")), reader(cluster)
    return sorted_by(CAPTURED, (_tapped(reply, where, devices, read) for reply, where in _captures(cluster)))


def _taps(cluster: Cluster) -> pd.DataFrame:
    """How each capture went: frame TAPS."""
    read = reader(cluster)
    return sorted_by(TAPS, (_tap(reply, where, read) for reply, where in _captures(cluster)))


def _asked(cluster: Cluster) -> pd.DataFrame:
    """What the frontends asked for and got while the taps listened: frame ASKED."""
    return sorted_by(ASKED, (answer(reply, pod) for reply, pod in _run(cluster)[1]))


def _dissected(cluster: Cluster, of: tuple[tuple[str, str, int], ...]) -> pd.DataFrame:
    """One packet as scapy sees it: frame DISSECTED.

    `of` names a packet for each arm by arm, reply and number in the capture, as `analysis.packets.on_a_card`
    gives them. Raises MissingFeature where there is none for this arm.
    """
    mine = [(wanted, n) for arm, wanted, n in of if arm == cluster.arm]
    if not mine:
        raise MissingFeature(cluster.arm, "no such packet was captured on a network card in this arm")
    wanted, n = mine[0]
    found = [reply for reply, _ in _captures(cluster) if reply.id == wanted]
    if not found:
        raise MissingFeature(cluster.arm, f"reply {wanted} is none of its captures")
    return read_reply(found[0], lambda one: dissect.fields(one.data, n))


packets = Collector(_packets, CAPTURED)
taps = Collector(_taps, TAPS)
asked = Collector(_asked, ASKED)
dissected = Collector(_dissected, DISSECTED)

Where = dict[str, str | None]


@once
def _run(cluster: Cluster) -> tuple[list[tuple[Reply, Where]], list[tuple[Reply, str]]]:
    """The replies of the taps, and those of the traffic meanwhile."""
    here, plan = cluster.at(STEP), Plan.from_about(cluster.about)
    on_nodes, in_pods = node_targets(cluster), pod_targets(cluster, "frontend", "toolbox")
    with ThreadPoolExecutor(2) as pool:
        running = (
            pool.submit(here.run_each, on_nodes, _tcpdump("any", plan), check=False),
            pool.submit(here.run_each, in_pods, _tcpdump(POD_INTERFACE, plan), check=False),
        )
        wait(running, HEAD_START_S)  # less where they are answered already, as in a recording
        traffic = [(reply, pod) for target, pod in in_pods.items() for reply in _traffic(here, target)]
    node_of = dict(zip(*(pods(cluster.at("baseline"))[name] for name in ("pod", "node")), strict=True))
    places: dict[str, Where] = {
        **{target: {"tap": "node", "node": name, "pod": None} for target, name in on_nodes.items()},
        **{target: {"tap": "pod", "node": node_of[pod], "pod": pod} for target, pod in in_pods.items()},
    }
    captured = [reply for done in running for reply in done.result()]
    return [(reply, places[reply.request.subject]) for reply in captured], traffic


def _tcpdump(interface: str, plan: Plan) -> tuple[str, ...]:
    most = f" -c {plan.most_packets}" if plan.most_packets else ""
    head = f"timeout -s INT {plan.listen_s} tcpdump -i {interface} -n -U -s 192{most} -w -"
    return (*head.split(), *FILTER.split())


def _traffic(here: Cluster, target: str) -> Iterator[Reply]:
    found = pods(here.at("baseline"))
    backends = found[(found["namespace"] == here.namespace) & (found["app"] == "backend")]
    for ip in sorted(backends["pod_ip"]):
        yield here.run(target, ("ping", "-c", "2", "-i", "0.2", "-W", "1", ip), check=False)
    url = f"http://backend-service.{here.namespace}.svc.cluster.local/"
    argv = ("curl", "-sS", "-o", "/dev/null", "-w", "%{json}", "--connect-timeout", "3", url)
    for sample in range(FETCHES):
        yield here.run(target, argv, sample=sample, check=False)


def _captures(cluster: Cluster) -> list[tuple[Reply, Where]]:
    """The captures that went well. Raises what a failed one raises."""
    return [(require_whole(reply), where) for reply, where in _run(cluster)[0]]


def vxlan_ports(cluster: Cluster) -> tuple[int, ...]:
    """UDP ports that may carry VXLAN in this arm: the usual ones, and those of its nodes' devices."""
    own = node.links(cluster.at("baseline"))["vxlan_port"].dropna()
    return tuple(sorted({*VXLAN_PORTS, *map(int, own)}))


def reader(cluster: Cluster) -> Callable[[Reply], pd.DataFrame]:
    """What reads captures of this arm, on the disk where they are long: frame PACKETS."""
    ports = vxlan_ports(cluster)
    return lambda reply: pcap.packets(reply.data, vxlan_ports=ports)


def _tapped(
    reply: Reply, where: Where, devices: pd.DataFrame, read: Callable[[Reply], pd.DataFrame]
) -> pd.DataFrame:
    frame = read_reply(reply, read)
    if where["tap"] == "pod":
        frame["interface"], frame["device"] = POD_INTERFACE, "pod"
    else:
        own = devices.loc[devices["node"] == where["node"], ["ifindex", "interface", "device"]]
        frame = frame.merge(own, on="ifindex", how="left")
    return frame.assign(**where)


def _devices(cluster: Cluster) -> pd.DataFrame:
    """The links of each node: node, ifindex, interface and device. An index means nothing on another node."""
    links, addresses = node.links(cluster), node.addresses(cluster)
    own = addresses.merge(
        nodes(cluster)[["node", "node_ip"]], left_on=["node", "ip"], right_on=["node", "node_ip"]
    )
    nics = own[["node", "interface"]].assign(nic=True)
    for end in ("interface", "master"):
        found = links.merge(nics.rename(columns={"interface": end}), on=["node", end], how="left")
        links[f"{end}_nic"] = found["nic"].notna()
    kind = links["kind"].fillna(links["link_type"])
    return links.assign(device=kind.mask(links["interface_nic"] | links["master_nic"], "nic"))


def _tap(reply: Reply, where: Where, read: Callable[[Reply], pd.DataFrame]) -> pd.DataFrame:
    frame = read_reply(reply, lambda one: tcpdump.report(one.stderr))
    found = read_reply(reply, read)
    return frame.assign(
        **where,
        packets=len(found),
        problems=int(found["problem"].notna().sum()),
        cut=pcap.is_cut(reply.data),
    )


def answer(reply: Reply, pod: str) -> pd.DataFrame:
    """What a ping or a curl of this pod asked for and got: a row with the columns of frame ASKED."""
    http = reply.request.words.startswith("curl")
    parse: Callable[[bytes], pd.DataFrame] = curl.transfers if http else ping.summary
    frame = read_one(reply, parse).assign(
        pod=pod, kind="http" if http else "ping", sample=reply.request.sample
    )
    if http:
        good = frame["http_code"].between(200, 299).fillna(value=False)
        return frame.assign(asked=frame["url"], sent=frame["num_connects"], answered=good.astype("Int64"))
    return frame.assign(
        asked=frame["dst_ip"], remote_ip=frame["dst_ip"], answered=frame["received"],
        local_ip=None, local_port=None, remote_port=None,
    )  # fmt: skip


def sorted_by(schema: Schema, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The frames under each other with exactly the declared columns and dtypes, in the order of the key."""
    dtypes = {column.name: column.dtype for column in schema.columns}
    found = concat([schema.empty(), *(frame[schema.names].astype(dtypes) for frame in frames)])
    return found.sort_values(list(schema.key), kind="stable", ignore_index=True)
