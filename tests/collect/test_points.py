"""The marked burst, captured at every point: on labs of network namespaces, and on recordings that have none."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from labkit import capture
from labkit.analysis.clocks import clocks
from labkit.analysis.flows import completeness, translations
from labkit.analysis.journeys import answered, hops
from labkit.analysis.packets import example, journeys
from labkit.capture import BY_TIMEOUT, Bounds
from labkit.cluster import Cluster
from labkit.collect import captures, kubernetes, node, pod, points
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature
from labkit.exec.netns import Netns
from labkit.exec.recording import Recorder, Recording
from labkit.exec.replay import Replay
from labkit.experiments.staged import Staged
from labkit.netns.wire import OUTSIDE_IP
from labkit.parse import pcap, tcpdump
from tests.netns.conftest import require

PLAN = Plan(listen_s=4, most_packets=20_000, waits=True)
#: The devices that must be points of a lab, and how often: each pod's veth, and on both nodes what is between.
DEVICES = {
    "vxlan": {"pod": 2, "veth": 4, "bridge": 2, "vxlan": 2, "nic": 2},
    "routed": {"pod": 2, "veth": 4, "nic": 2},
    "ebpf": {"pod": 2, "veth": 4, "nic": 2},
}


@dataclass(frozen=True)
class Live:
    """A lab that was captured at its points, still running."""

    arm: Cluster
    path: Path
    points: pd.DataFrame
    packets: pd.DataFrame
    marks: pd.DataFrame

    def ways(self) -> pd.DataFrame:
        base = self.arm.at("baseline")
        return journeys(self.packets, kubernetes.pods(base), kubernetes.services(base))


def opened(name: str, path: Path, held: ExitStack) -> Live:
    inner = Netns(name)
    about = {"plan": PLAN.to_json(), "recorded_at": "2026-11-24T00:00:00Z"}
    staged = held.enter_context(closing(Staged(Recorder(inner, path, about=about), inner)))
    arm = Cluster(name, f"netns:{name}", staged)
    return Live(arm, path, points.points(arm), points.packets(arm), points.marks(arm))


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    """All labs at once: they mostly wait."""
    for name in DEVICES:
        require(name)
    folder = tmp_path_factory.mktemp("points")
    with ExitStack() as held, ThreadPoolExecutor(len(DEVICES)) as pool:
        yield dict(
            zip(DEVICES, pool.map(lambda name: opened(name, folder / name, held), DEVICES), strict=True)
        )


@pytest.fixture(params=DEVICES)
def live(request, labs) -> Live:
    return labs[request.param]


def test_every_point_of_the_way_was_captured_on(live):
    assert live.points["device"].value_counts().to_dict() == DEVICES[live.arm.arm]
    assert live.points["node"].nunique() == 2
    assert set(live.points.loc[live.points["device"] == "veth", "pod"].str.rsplit("-", n=2).str[0]) == {
        "app-backend",
        "app-frontend",
    }
    assert (live.points["interface"] == live.points["listened_on"]).all()


def test_captures_cover_the_burst_and_say_what_they_lost(live):
    assert live.points["covers"].all()
    assert not live.points["cut"].any()
    assert live.points["dropped"].eq(0).all()
    assert live.points["problems"].eq(0).all()
    assert (live.points["packets"] == live.points["captured"]).all()
    assert live.points["snap_bytes"].eq(Bounds().snap_bytes).all()


def test_the_marks_are_found_in_the_packets(live):
    assert (live.marks["sent"] == live.marks["answered"]).all()
    assert live.marks["kind"].value_counts().to_dict() == {"http": points.FETCHES, "ping": 3}
    (client,) = live.marks["pod"].unique()
    own = live.packets[(live.packets["tap"] == "pod") & (live.packets["pod"] == client)]
    asks = own[own["icmp_type"] == 8].groupby("icmp_id").size()
    assert asks.to_dict() == dict.fromkeys(
        live.marks.loc[live.marks["kind"] == "ping", "mark"], points.ECHOES
    )
    syns = own.loc[own["tcp_flags"].eq("SYN"), "src_port"]
    assert sorted(syns) == sorted(live.marks.loc[live.marks["kind"] == "http", "mark"])
    complete = completeness(live.ways(), live.marks)
    assert (complete["captured"] == complete["sent"]).all()


def test_every_marked_packet_is_seen_at_every_point_of_its_way(live):
    """In a tunnel, translated or routed, none is lost from sight and none appears twice."""
    ways = live.ways()
    ends = {pod: set() for pod in (*ways["client_pod"].dropna(), *ways["server_pod"].dropna())}
    for row in live.points.to_dict("records"):
        if row["pod"] in ends:
            ends[row["pod"]].add((row["node"], row["interface"], row["tap"]))
    marked = ways[ways["icmp_type"].isin([0, 8]) | ways["client_port"].isin(live.marks["mark"])]
    marked = marked[marked["flow"].notna()]
    between = live.points[live.points["device"].isin(["bridge", "vxlan", "nic"])]
    for _, way in marked.groupby("packet"):
        client, server, cross = way[["client_pod", "server_pod", "cross_node"]].iloc[0]
        expected = ends[client] | ends[server]
        if cross:
            expected = expected | set(
                between[["node", "interface", "tap"]].itertuples(index=False, name=None)
            )
        seen = list(way[["node", "interface", "tap"]].itertuples(index=False, name=None))
        if not cross:  # a bridge may switch it without the bridge's own device having it
            seen = [place for place in seen if place[1] != "cni0"]
        assert sorted(seen) == sorted(expected), way[["interface", "src_ip", "dst_ip", "tcp_flags"]]


#: What happens to an echo on its way from pod to pod, and to a connection's first packet to a Service.
ECHO = {
    "vxlan": ["", "", "", "TTL 64 → 63", "into vxlan, +50 bytes; MTU 1450 → 1500", "",
              "out of vxlan, -50 bytes; MTU 1500 → 1450", "TTL 63 → 62", "", ""],
    "routed": ["", "", "TTL 64 → 63", "TTL 63 → 62", "TTL 62 → 61", ""],
    "ebpf": ["", "", "TTL 64 → 63", "TTL 63 → 62", "TTL 62 → 61", ""],
}  # fmt: skip
TRANSLATED_AT = {"vxlan": "cni0", "routed": "eth0", "ebpf": "eth0"}


def test_an_echo_is_followed_from_pod_to_pod_and_back(live):
    ways, base = live.ways(), live.arm.at("baseline")
    apart = clocks(ways, kubernetes.nodes(base))
    frame = hops(ways, apart, node.links(base), pod.links(base))
    one = answered(frame, ways, of="ping")
    there, back = one[one["request"]], one[~one["request"]]
    assert there["changed"].fillna("").tolist() == ECHO[live.arm.arm]
    assert there["point"].tolist() == back["point"].tolist()[::-1]
    assert there["pod"].iloc[[0, -1]].nunique() == 2
    assert one["since_us"].diff().dropna().ge(-5).all()
    assert apart["basis"].tolist() == ["same kernel"]
    assert apart["low_us"].iloc[0] <= 0 <= apart["high_us"].iloc[0]


def test_a_service_is_translated_where_its_dataplane_does_it(live):
    ways = live.ways()
    fetches = translations(ways, live.marks)
    assert len(fetches) == points.FETCHES
    one = example(ways)
    changed = one["dst_ip"].ne(one["dst_ip"].shift()) & (one["step"] > 0)
    assert one.loc[changed, "interface"].tolist() == [TRANSLATED_AT[live.arm.arm]]
    assert one["service"].unique().tolist() == [f"{live.arm.namespace}/backend-service"]


def test_what_leaves_the_cluster_is_followed_through_its_new_source(labs):
    """kube-proxy's masquerading picks another port, so UDP is only known by what it carries."""
    live = labs["vxlan"]
    (client,) = live.marks["pod"].unique()
    target, node_of = f"pod/{live.arm.namespace}/{client}/toolbox", live.points.set_index("pod")["node"]
    where = [
        capture.Point(row["node"], row["pod"], row["interface"], row["device"], target if row["tap"] == "pod" else f"node/{row['node']}")
        for row in live.points.astype(object).where(live.points.notna(), None).to_dict("records")
        if row["node"] == node_of[client].iloc[0] and row["pod"] in (client, None)
    ]  # fmt: skip
    here, bounds = live.arm.at("capture"), Bounds(seconds=5)
    asks = [
        ("ping", "-c", "1", OUTSIDE_IP),
        ("dig", "+tries=1", "+time=1", f"@{OUTSIDE_IP}", "example.org"),
        ("curl", "-m", "2", f"http://{OUTSIDE_IP}/"),
    ]
    taken, _ = capture.capture(
        here,
        where,
        lambda: [here.run(target, ask, check=False) for ask in asks],
        bounds=bounds,
        wanted=f"host {OUTSIDE_IP}",
    )
    parts = [pcap.plain(pcap.packets(reply.stdout)).assign(
        tap="pod" if point.in_pod else "node", node=point.node, pod=point.pod if point.in_pod else None,
        interface=point.device, device=point.kind, reply=reply.id,
    ) for point, reply in taken]  # fmt: skip
    base = live.arm.at("baseline")
    ways = journeys(pd.concat(parts, ignore_index=True), kubernetes.pods(base), kubernetes.services(base))
    assert ways["packet"].notna().all()
    out = ways[ways["dst_ip"] == OUTSIDE_IP]
    assert set(out["protocol"]) == {"icmp", "udp", "tcp"}
    for _, way in out.groupby("packet"):
        assert way["device"].tolist() == ["pod", "veth", "bridge", "nic"]
        assert way["src_ip"].nunique() == 2
    frame = hops(ways, clocks(ways, kubernetes.nodes(base)))
    assert (
        frame.loc[frame["device"].eq("nic") & frame["dst"].str.startswith(OUTSIDE_IP), "changed"]
        .str.startswith("SNAT")
        .all()
    )
    assert frame["changed"].dropna().str.startswith("SNAT undone").any()


def test_a_capture_is_on_the_disk_and_replays_to_the_same(live):
    again = Cluster(live.arm.arm, f"replay:{live.path}", Replay(Recording.open(live.path)))
    assert_frame_equal(points.packets(again), live.packets)
    assert_frame_equal(points.points(again), live.points)
    assert_frame_equal(points.marks(again), live.marks)
    blobs = [again.executor.recording.by_id(reply) for reply in live.points["reply"]]
    assert all(blob.stdout[:4] == b"\xd4\xc3\xb2\xa1" for blob in blobs)


@pytest.mark.parametrize(("bounds", "packets"), [
    (Bounds(seconds=4, packets=20, snap_bytes=60), 20),
    (Bounds(seconds=4, most_bytes=5_000, snap_bytes=96), (5_000 - 24) // (16 + 96)),
])  # fmt: skip
def test_a_flood_does_not_go_beyond_the_bounds(labs, bounds, packets):
    live = labs["routed"]
    ping = live.marks[live.marks["kind"] == "ping"].iloc[0]
    inside = live.points[(live.points["tap"] == "pod") & (live.points["pod"] == ping["pod"])].iloc[0]
    target = f"pod/{live.arm.namespace}/{ping['pod']}/toolbox"
    where = [capture.Point(inside["node"], ping["pod"], "eth0", "pod", target)]
    argv = ("ping", "-f", "-c", "500", "-s", "1000", ping["asked"])
    here = live.arm.at("capture")
    ((_, reply),), burst = capture.capture(
        here, where, lambda: here.run(target, argv, sample=packets), bounds=bounds
    )
    assert reply.exit_code == 0  # by the number of its packets, before its time was over
    assert len(reply.stdout) <= bounds.most_bytes
    found = pcap.packets(reply.stdout)
    assert len(found) == packets
    assert found["captured_bytes"].max() == bounds.snap_bytes
    assert found["wire_bytes"].max() == 14 + 20 + 8 + 1000
    assert tcpdump.report(reply.stderr)["received"].iloc[0] > packets
    assert not capture.covers(reply, [burst])


def test_a_quiet_device_is_a_capture_of_nothing(labs):
    live = labs["vxlan"]
    node = live.points["node"].iloc[0]
    where = [capture.Point(node, None, "lo", "loopback", f"node/{node}")]
    quiet = capture.capture(
        live.arm.at("capture"), where, lambda: None, bounds=Bounds(seconds=3), wanted="udp port 9"
    )
    ((_, reply),), _ = quiet
    assert reply.exit_code == BY_TIMEOUT
    assert pcap.packets(reply.stdout).empty


def test_a_recording_without_points_has_its_captures_on_any(cluster):
    with pytest.raises(MissingFeature, match="recorded without a capture at each point"):
        points.points(cluster)
    assert_frame_equal(points.packets(cluster), captures.packets(cluster))
    marks = points.marks(cluster)
    assert marks["mark"].isna().all()
    assert_frame_equal(marks.drop(columns="mark"), captures.asked(cluster))
    assert {name: str(dtype) for name, dtype in marks.dtypes.items()} == {
        c.name: c.dtype for c in points.MARKS.columns
    }
