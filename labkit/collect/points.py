"""One marked burst of traffic, captured at every point of its way at once.

A frontend pings each backend and the other frontends, and fetches the Service, with an ICMP identifier and from
ports that nothing else uses: what must be found at the points is known before it is looked for. The frontends'
own interfaces are points too, so that echoes are seen to arrive; a backend's image has no tcpdump. An arm that
was recorded before there were points has captures on `any` only, which name the interface of each packet
themselves; its packets are those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit import capture
from labkit.cluster import once
from labkit.collect import captures
from labkit.collect.captures import sorted_by
from labkit.collect.gather import Collector, read_reply
from labkit.collect.kubernetes import pod_targets, pods
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature, ReplayMiss
from labkit.parse import pcap, tcpdump
from labkit.parse.packet_tunnels import VXLAN_PORTS
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from labkit.capture import Point
    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["MARKS", "POINTS", "POINT_PACKETS", "marks", "packets", "points"]

#: Echo identifiers from there on, and source ports: below those that Linux gives to clients (32768 and up).
MARK, FIRST_PORT, PORTS = 27_750, 26_750, 100
#: So many fetches that it is next to certain that a backend on another node answers one.
FETCHES, ECHOES = 16, 3
#: What the burst may take beyond what other captures listen for.
BURST_S = 4

POINT_PACKETS = Schema(
    "point_packets", "Packets of the marked burst, and others, as each point saw them.",
    key=captures.CAPTURED.key, columns=captures.CAPTURED.columns,
)  # fmt: skip

POINTS = Schema("points", "The captures, one row a point.", key=("node", "tap", "pod", "interface"), columns=(
    Column("tap", "str", "`node` or `pod`: where tcpdump ran"),
    Column("node", "str", "the node, or the node of the pod"),
    Column("pod", "str", "the pod it is in, or at whose veth it is; NA for others"),
    Column("interface", "str", "the device"),
    Column("device", "str", "what that is: pod, veth, bridge, vxlan, nic, cilium_host, …"),
    *tcpdump.REPORT.columns,
    Column("packets", "Int64", "packets in the file"),
    Column("problems", "Int64", "packets that could not be read to the end of their headers"),
    Column("cut", "boolean", "the file ends inside a packet"),
    Column("covers", "boolean", "began before the burst and ended after it"),
    REPLY,
))  # fmt: skip

MARKS = Schema("marks", "The marked traffic.", key=(*captures.ASKED.key, "mark"), columns=(
    *captures.ASKED.columns[:-1],
    Column("mark", "Int64", "the ICMP identifier, or the source port; NA of an arm without points"),
    REPLY,
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was captured, read: the replies with their bytes are let go."""

    packets: pd.DataFrame
    points: pd.DataFrame
    marks: pd.DataFrame


@once
def _taken(cluster: Cluster) -> _Taken:
    here, every = cluster.at(captures.STEP), pods(cluster.at("baseline"))
    inside = sorted(pod_targets(cluster, "frontend", "toolbox").items())
    (target, client), *others = inside
    mine = every[every["namespace"] == cluster.namespace]
    servers = mine[(mine["app"] == "backend") | mine["pod"].isin([pod for _, pod in others])]
    names = [f"{cluster.namespace}/{pod}" for pod in (client, *servers["pod"])]
    addresses = sorted(servers["pod_ip"].dropna())
    bounds = capture.Bounds(seconds=Plan.from_about(cluster.about).listen_s + BURST_S)
    try:
        where = capture.points(cluster, names, inside=[pod for pod, _ in inside])
        taken, burst = capture.capture(
            here, where, lambda: _burst(here, target, addresses), bounds=bounds, wanted=_wanted(cluster)
        )
    except ReplayMiss as error:
        reason = "recorded without a capture at each point; its captures are on `any`"
        raise MissingFeature(cluster.arm, reason) from error
    parse = captures.reader(cluster)
    read = [_read(point, capture.require_whole(reply), burst, parse) for point, reply in taken]
    return _Taken(
        sorted_by(POINT_PACKETS, [found for found, _ in read]),
        sorted_by(POINTS, [point for _, point in read]),
        sorted_by(MARKS, [_mark(reply, client) for reply in burst]),
    )


def _burst(here: Cluster, target: str, addresses: list[str]) -> list[Reply]:
    echo = ("ping", "-c", str(ECHOES), "-i", "0.2", "-W", "1", "-e")
    asked = [here.run(target, (*echo, str(MARK + n), ip), check=False) for n, ip in enumerate(addresses)]
    url = f"http://backend-service.{here.namespace}.svc.cluster.local/"
    fetch = ("curl", "-sS", "--connect-timeout", "1", "-H", "Connection: close", "-w", r"%{json}\n")
    ports = ("--local-port", f"{FIRST_PORT}-{FIRST_PORT + PORTS - 1}")
    return [*asked, here.run(target, (*fetch, *ports, *("-o", "/dev/null", url) * FETCHES), check=False)]


def _wanted(cluster: Cluster) -> str:
    """What is captured: also what the arm's own VXLAN devices send, whichever port they send it to."""
    others = set(captures.vxlan_ports(cluster)) - set(VXLAN_PORTS)
    return capture.WANTED + "".join(f" or udp port {port}" for port in sorted(others))


def _read(
    point: Point, reply: Reply, burst: list[Reply], parse: Callable[[Reply], pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The packets of one capture, and how it went."""
    found = read_reply(reply, parse).assign(**_place(point))
    report = read_reply(reply, lambda one: tcpdump.report(one.stderr)).assign(
        **_place(point) | {"pod": point.pod}, packets=len(found), problems=int(found["problem"].notna().sum()),
        cut=pcap.is_cut(reply.data), covers=capture.covers(reply, burst),
    )  # fmt: skip
    return found, report


def _place(point: Point) -> dict[str, Any]:
    """As frame CAPTURED names it: the pod is where tcpdump ran in it."""
    tap = "pod" if point.in_pod else "node"
    pod = point.pod if point.in_pod else None
    return {"tap": tap, "node": point.node, "pod": pod, "interface": point.device, "device": point.kind}


def _mark(reply: Reply, client: str) -> pd.DataFrame:
    frame, argv = captures.answer(reply, client), reply.request.words.split()
    return frame.assign(mark=int(argv[argv.index("-e") + 1]) if "-e" in argv else frame["local_port"])


def _packets(cluster: Cluster) -> pd.DataFrame:
    """Every packet at every point: frame POINT_PACKETS; of an arm without points, those captured on `any`."""
    try:
        return _taken(cluster).packets
    except MissingFeature:
        return captures.packets(cluster)


def _points(cluster: Cluster) -> pd.DataFrame:
    """How each capture went: frame POINTS. Raises MissingFeature for an arm without points."""
    return _taken(cluster).points


def _marks(cluster: Cluster) -> pd.DataFrame:
    """What was sent with which mark: frame MARKS; of an arm without points, what was sent, without marks."""
    try:
        return _taken(cluster).marks
    except MissingFeature:
        return sorted_by(MARKS, [captures.asked(cluster).assign(mark=None)])


packets = Collector(_packets, POINT_PACKETS)
points = Collector(_points, POINTS)
marks = Collector(_marks, MARKS)
