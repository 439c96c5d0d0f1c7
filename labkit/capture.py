"""Bounded packet captures at several points at once: where they are, and how they are made.

A point is a device on a node or in a pod. The points of a way are found in the arm's own state: the pod's
interface and the end of its veth on the node (`iflink`), the bridge that this is a port of, the devices that
the node's routes send other pods' packets to (a tunnel and the device that carries it), the device with the
node's own address, and Cilium's `cilium_host`. Every capture ends by itself: tcpdump is bounded in seconds,
packets and bytes of each packet, and so in bytes. It goes to the disk while it comes and stays there, from
the tool to the frame: memory holds at most 1 MiB of it (`exec.output`), however long it is.
"""

from __future__ import annotations

import ipaddress
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from labkit.errors import CommandError, ParameterError, TimeLimit
from labkit.parse import iproute, iproute_routes, kubernetes, sysfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = [
    "BY_TIMEOUT",
    "HEAD_START_S",
    "WANTED",
    "Bounds",
    "Point",
    "capture",
    "covers",
    "points",
    "require_whole",
]

T = TypeVar("T")

#: What the traffic between pods is made of, and what may carry it: VXLAN, Geneve, WireGuard, IP in IP, GRE, ESP.
#: The last two are fragments: only the first of a packet has a port.
WANTED = (
    "icmp or icmp6 or port 80 or port 53 or port 8472 or port 4789 or port 6081 or port 51820 or port 51871 "
    "or ip proto 4 or ip proto 41 or ip proto 47 or ip proto 50 or ip[6:2]&0x3fff!=0 or ip6 proto 44"
)
#: Seconds that every tcpdump has to begin before there is traffic.
HEAD_START_S = 2.0
#: The exit code of timeout(1) where it told tcpdump to end, which then wrote its file to the end.
BY_TIMEOUT = 124
CILIUM_HOST = "cilium_host"
#: Devices that packets to other nodes may be handed to past the routes, as Cilium's programs do.
TUNNELS = ("vxlan", "geneve", "wireguard")
RECORD_BYTES, HEADER_BYTES = 16, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one capture may take. `most_bytes` is of its file; it allows fewer packets where they are long."""

    seconds: int = 8
    packets: int = 20_000
    most_bytes: int = 4 << 20
    snap_bytes: int = 192

    def __post_init__(self) -> None:
        """Raises ParameterError for what bounds nothing, or leaves no room for a packet."""
        if self.seconds <= HEAD_START_S or self.packets < 1 or self.snap_bytes < 1 or self.most_packets < 1:
            raise ParameterError(f"a capture must last over {HEAD_START_S:.0f} s and hold a packet: {self}")

    @property
    def most_packets(self) -> int:
        """The packets that fit in its bytes, if no more than `packets`."""
        room = (self.most_bytes - HEADER_BYTES) // (RECORD_BYTES + self.snap_bytes)
        return min(self.packets, room)

    def argv(self, device: str, wanted: str = WANTED) -> tuple[str, ...]:
        """The command of a capture on a device; `wanted` is a filter in words of pcap-filter(7)."""
        return (
            "timeout", "-s", "INT", str(self.seconds), "tcpdump", "-i", device, "-n", "-U",
            "-s", str(self.snap_bytes), "-c", str(self.most_packets), "-w", "-", *wanted.split(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A device that packets cross. `kind` is pod, veth, bridge, vxlan, …, nic or cilium_host; `pod` is that at
    the other end of a veth, or the one it is in."""

    node: str
    pod: str | None
    device: str
    kind: str
    target: str

    @property
    def in_pod(self) -> bool:
        """Whether it is in a pod's network namespace."""
        return self.kind == "pod"


def points(cluster: Cluster, pods: Iterable[str], inside: Iterable[str] = ()) -> list[Point]:
    """Where packets between these pods (`namespace/name`) can be seen, each device once.

    `inside` are targets in pods whose own interface is to be captured on: their container needs tcpdump. A
    pod whose container cannot say what its interface is tied to has no host end among the points. Raises
    ParameterError for a pod that is not there.
    """
    here = cluster.at("baseline")
    listed = here.read("/api/v1/pods").stdout
    every, containers = kubernetes.pods(listed), kubernetes.containers(listed)
    name = every["namespace"] + "/" + every["pod"]
    wanted = every[name.isin(set(pods))]
    if missing := set(pods) - set(name):
        raise ParameterError(f"no pod {', '.join(sorted(missing))} in arm {cluster.arm}")
    tools = list(inside)
    found = set(_in_pods(wanted, tools))
    ends = _host_ends(here, wanted, containers, tools)
    for node in sorted(set(wanted["node"])):
        mine = {pod: index for pod, index in ends.items() if pod[0] == node}
        away = wanted.loc[wanted["node"] != node, "pod_ip"].dropna().tolist()
        found |= set(_on_node(here, node, {pod: index for (_, pod), index in mine.items()}, away))
    return sorted(found, key=lambda point: (point.node, point.in_pod, point.device, point.pod or ""))


def _in_pods(pods: pd.DataFrame, inside: Iterable[str]) -> Iterator[Point]:
    nodes = dict(zip(pods["namespace"] + "/" + pods["pod"], pods["node"], strict=True))
    for target in inside:
        namespace, pod = target.split("/")[1:3]
        if node := nodes.get(f"{namespace}/{pod}"):
            yield Point(node, pod, "eth0", "pod", target)


def _host_ends(
    here: Cluster, pods: pd.DataFrame, containers: pd.DataFrame, tools: Sequence[str]
) -> dict[tuple[str, str], int]:
    """The number, on its node, of the device that each pod's eth0 is tied to, by node and pod.

    It is asked of the container that has tools, else of the first one.
    """
    own = pods[~pods["host_network"].astype(bool)]
    names = containers["namespace"] + "/" + containers["pod"] + "/" + containers["container"]
    has_tools = names.isin([target.removeprefix("pod/") for target in tools])
    first = containers.assign(other=~has_tools).sort_values("other", kind="stable")
    first = first.drop_duplicates(["namespace", "pod"])
    rows = own.merge(first, on=["namespace", "pod"])[["namespace", "pod", "node", "container"]]
    targets = {
        f"pod/{ns}/{pod}/{c}": (node, pod) for ns, pod, node, c in rows.itertuples(index=False, name=None)
    }
    replies = here.run_each(targets, ("cat", "/sys/class/net/eth0/iflink"), check=False)
    return {
        targets[reply.request.subject]: int(sysfs.iflink(reply.stdout)["peer_ifindex"].iloc[0])
        for reply in replies
        if reply.exit_code == 0
    }


def _on_node(here: Cluster, node: str, ends: dict[str, int], away: Sequence[str]) -> Iterator[Point]:
    """The points of a node: the ends of its pods' devices, and what their packets to other nodes cross."""
    target = f"node/{node}"
    links = iproute.links(here.run(target, ("ip", "-j", "-d", "-s", "link", "show")).stdout)
    addresses = iproute.addresses(here.run(target, ("ip", "-j", "addr", "show")).stdout)
    by_number = links.set_index("ifindex")
    names = set()
    for pod, number in ends.items():
        if number in by_number.index:
            row = by_number.loc[number].to_dict()
            yield Point(node, pod, str(row["interface"]), _kind(row), target)
            names |= {row["master"]}
    listed = kubernetes.nodes(here.read("/api/v1/nodes").stdout).set_index("node")
    cards = set(addresses.loc[addresses["ip"] == listed.loc[node, "node_ip"], "interface"])
    routes = iproute_routes.routes(here.run(target, ("ip", "-j", "route", "show", "table", "all")).stdout)
    names |= {_route(routes, ip) for ip in away} | cards | {CILIUM_HOST}
    names |= set(links.loc[links["kind"].isin(TUNNELS), "interface"])
    below = links.loc[links["interface"].isin(names), "vxlan_interface"]
    for device in links[links["interface"].isin(names | set(below.dropna()))].to_dict("records"):
        kind = "nic" if device["interface"] in cards else _kind(device)
        yield Point(node, None, str(device["interface"]), kind, target)


def _kind(row: Mapping[Any, Any]) -> str:
    if row["interface"] == CILIUM_HOST:
        return CILIUM_HOST
    return str(row["kind"] if isinstance(row["kind"], str) else row["link_type"])


def _route(routes: pd.DataFrame, ip: str) -> str | None:
    """The device that the most specific route of the main table sends to."""
    address = ipaddress.ip_address(ip)
    best: tuple[int, str | None] = (-1, None)
    main = routes[(routes["table"] == "main") & routes["interface"].notna()]
    anywhere = "::/0" if address.version == 6 else "0.0.0.0/0"
    for family, prefix, device in main[["family", "prefix", "interface"]].itertuples(index=False, name=None):
        if (family == "inet6") != (address.version == 6):
            continue
        network = ipaddress.ip_network(anywhere if prefix == "default" else prefix)
        if address in network and network.prefixlen > best[0]:
            best = (network.prefixlen, device)
    return best[1]


def capture(
    cluster: Cluster,
    where: Sequence[Point],
    burst: Callable[[], T],
    *,
    bounds: Bounds | None = None,
    wanted: str = WANTED,
) -> tuple[list[tuple[Point, Reply]], T]:
    """Capture at all points at once while `burst` makes its traffic: each point's reply, and what it gave.

    The captures begin before the burst and go on until their own bounds end them; `covers` tells of each
    whether it lasted until the burst had ended.
    """
    limits = bounds or Bounds()
    cluster.read("/version")  # brings the arm into the step, which may take longer than the head start
    with ThreadPoolExecutor(max(1, len(where))) as pool:
        running = [
            pool.submit(cluster.run, point.target, limits.argv(point.device, wanted), check=False)
            for point in where
        ]
        wait(running, HEAD_START_S)  # less where they are answered already, as in a recording
        made = burst()
    return list(zip(where, (one.result() for one in running), strict=True)), made


def covers(reply: Reply, burst: Iterable[Reply]) -> bool:
    """Whether a capture was asked for before the first of these replies, and ended after the last.

    One that ended with its last packet (exit code 0) may have missed some, whenever it was answered. When
    tcpdump began to listen it does not tell: that the first marks are in the packets does.
    """
    made = list(burst)
    return (
        bool(made)
        and reply.exit_code == BY_TIMEOUT
        and reply.started_at <= min(one.started_at for one in made)
        and max(map(_ended, made)) <= _ended(reply)
    )


def _ended(reply: Reply) -> datetime:
    return reply.started_at + timedelta(seconds=reply.duration_s)


def require_whole(reply: Reply) -> Reply:
    """The reply of a capture that ended as it was told to. Raises TimeLimit and CommandError for others."""
    if reply.exit_code is None:
        raise TimeLimit(reply)
    if reply.exit_code not in (0, BY_TIMEOUT):
        raise CommandError(reply)
    return reply
