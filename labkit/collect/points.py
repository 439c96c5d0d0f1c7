"""One marked burst of traffic, captured at every point of its way at once.

A frontend pings each backend and fetches the Service, with an ICMP identifier and from ports that nothing
else uses: what must be found at the points is known before it is looked for. An arm that was recorded before
there were points has captures on `any` only, which name the interface of each packet themselves; its packets
are those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit import capture
from labkit.cluster import once
from labkit.collect import captures
from labkit.collect.gather import Collector, read_one
from labkit.collect.kubernetes import pod_targets, pods
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature, ReplayMiss
from labkit.parse import curl, pcap, ping, tcpdump
from labkit.schema import REPLY, Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from labkit.capture import Point
    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["MARKS", "POINTS", "POINT_PACKETS", "marks", "packets", "points"]

#: Below the ports that Linux gives to clients (32768 and up), and no server's.
MARK, PORTS_A_FETCH, FETCHES, ECHOES = 27_750, 10, 4, 3
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

MARKS = Schema("marks", "The marked traffic.", key=("pod", "kind", "asked", "mark"), columns=(
    Column("pod", "str", "the pod that sent it"),
    Column("kind", "str", "`ping` or `http`"),
    Column("asked", "str", "the address that was pinged, or the URL"),
    Column("mark", "Int64", "the ICMP identifier, or the source port"),
    Column("sent", "Int64", "echo requests sent, or connections made"),
    Column("answered", "Int64", "echo replies, or 1 where a 2xx status came"),
    REPLY,
))  # fmt: skip


@once
def _taken(cluster: Cluster) -> tuple[list[tuple[Point, Reply]], list[Reply], str]:
    """The captures at all points, the replies of the burst, and the pod that made it."""
    here, every = cluster.at(captures.STEP), pods(cluster.at("baseline"))
    target, client = min(pod_targets(cluster, "frontend", "toolbox").items())
    servers = every[(every["namespace"] == cluster.namespace) & (every["app"] == "backend")]
    names = [f"{cluster.namespace}/{pod}" for pod in (client, *servers["pod"])]
    bounds = capture.Bounds(seconds=Plan.from_about(cluster.about).listen_s + BURST_S)
    try:
        where = capture.points(cluster, names, inside=[target])
        addresses = sorted(servers["pod_ip"].dropna())
        taken, burst = capture.capture(here, where, lambda: _burst(here, target, addresses), bounds=bounds)
    except ReplayMiss as error:
        reason = "recorded without a capture at each point; its captures are on `any`"
        raise MissingFeature(cluster.arm, reason) from error
    return [(point, capture.require_whole(reply)) for point, reply in taken], burst, client


def _burst(here: Cluster, target: str, addresses: list[str]) -> list[Reply]:
    echo = ("ping", "-c", str(ECHOES), "-i", "0.2", "-W", "1", "-e")
    asked = [here.run(target, (*echo, str(MARK + n), ip), check=False) for n, ip in enumerate(addresses)]
    url = f"http://backend-service.{here.namespace}.svc.cluster.local/"
    fetch = ("curl", "-sS", "-o", "/dev/null", "-w", "%{json}", "--connect-timeout", "1", "--local-port")
    for n in range(FETCHES):
        first = MARK + n * PORTS_A_FETCH
        asked.append(here.run(target, (*fetch, f"{first}-{first + PORTS_A_FETCH - 1}", url), check=False))
    return asked


def _packets(cluster: Cluster) -> pd.DataFrame:
    """Every packet at every point: frame POINT_PACKETS; of an arm without points, those captured on `any`."""
    try:
        taken, _, _ = _taken(cluster)
    except MissingFeature:
        return captures.packets(cluster)
    frames = [read_one(reply, pcap.packets).assign(**_place(point)) for point, reply in taken]
    return _sorted(POINT_PACKETS, frames)


def _place(point: Point) -> dict[str, Any]:
    """As frame CAPTURED names it: the pod is where tcpdump ran in it."""
    tap = "pod" if point.in_pod else "node"
    pod = point.pod if point.in_pod else None
    return {"tap": tap, "node": point.node, "pod": pod, "interface": point.device, "device": point.kind}


def _points(cluster: Cluster) -> pd.DataFrame:
    """How each capture went: frame POINTS. Raises MissingFeature for an arm without points."""
    taken, burst, _ = _taken(cluster)
    return _sorted(POINTS, [_point(point, reply, burst) for point, reply in taken])


def _point(point: Point, reply: Reply, burst: list[Reply]) -> pd.DataFrame:
    frame, found = read_one(reply, lambda _: tcpdump.report(reply.stderr)), read_one(reply, pcap.packets)
    return frame.assign(
        **_place(point) | {"pod": point.pod}, packets=len(found), problems=int(found["problem"].notna().sum()),
        cut=pcap.is_cut(reply.stdout), covers=capture.covers(reply, burst),
    )  # fmt: skip


def _marks(cluster: Cluster) -> pd.DataFrame:
    """What was sent with which mark: frame MARKS. Raises MissingFeature for an arm without points."""
    _, burst, client = _taken(cluster)
    return _sorted(MARKS, [_mark(reply, client) for reply in burst])


def _mark(reply: Reply, client: str) -> pd.DataFrame:
    argv = list(reply.request.words.split())
    http = argv[0] == "curl"
    parse: Callable[[bytes], pd.DataFrame] = curl.transfers if http else ping.summary
    frame = read_one(reply, parse).assign(pod=client, kind="http" if http else "ping")
    if http:
        good = frame["http_code"].between(200, 299).fillna(value=False)
        return frame.assign(
            asked=frame["url"],
            mark=frame["local_port"],
            sent=frame["num_connects"],
            answered=good.astype("Int64"),
        )
    return frame.assign(
        asked=frame["dst_ip"], mark=int(argv[argv.index("-e") + 1]), answered=frame["received"]
    )


def _sorted(schema: Schema, frames: list[pd.DataFrame]) -> pd.DataFrame:
    dtypes = {column.name: column.dtype for column in schema.columns}
    found = concat([schema.empty(), *(frame[schema.names].astype(dtypes) for frame in frames)])
    return found.sort_values(list(schema.key), kind="stable", ignore_index=True)


packets = Collector(_packets, POINT_PACKETS)
points = Collector(_points, POINTS)
marks = Collector(_marks, MARKS)
