"""Where packets can be captured, how a capture is bounded, and what is made of one that went wrong."""

import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from labkit import capture
from labkit.capture import BY_TIMEOUT, WANTED, Bounds, Point, covers, require_whole
from labkit.cluster import Cluster
from labkit.collect.kubernetes import pod_targets
from labkit.errors import CommandError, ParameterError, TimeLimit
from labkit.exec.request import Exec, Reply

BEGUN = datetime(2026, 11, 24, tzinfo=UTC)


def reply(second: float = 0.0, lasted: float = 8.0, code: int | None = BY_TIMEOUT) -> Reply:
    request = Exec(step="capture", target="node/n0", argv=Bounds().argv("eth0"))
    return Reply("r1", request, BEGUN + timedelta(seconds=second), lasted, code, b"")


def test_a_capture_is_bounded_in_every_way():
    words = " ".join(Bounds(seconds=5, packets=300, snap_bytes=96).argv("cni0", "icmp or port 80"))
    assert words == "timeout -s INT 5 tcpdump -i cni0 -n -U -s 96 -c 300 -w - icmp or port 80"


@pytest.mark.parametrize("bounds", [
    Bounds(), Bounds(most_bytes=10_000), Bounds(packets=7), Bounds(snap_bytes=262_144), Bounds(most_bytes=500),
])  # fmt: skip
def test_the_packets_of_a_capture_fit_in_its_bytes(bounds):
    assert 1 <= bounds.most_packets <= bounds.packets
    assert 24 + bounds.most_packets * (16 + bounds.snap_bytes) <= bounds.most_bytes


@pytest.mark.parametrize("wrong", [
    {"seconds": 2}, {"packets": 0}, {"snap_bytes": 0}, {"most_bytes": 100}, {"snap_bytes": 1 << 24},
])  # fmt: skip
def test_bounds_leave_room_for_a_packet(wrong):
    with pytest.raises(ParameterError, match="hold a packet"):
        Bounds(**wrong)


def test_the_filter_is_one_that_tcpdump_takes():
    if shutil.which("tcpdump") is None:
        pytest.skip("no tcpdump here")
    done = subprocess.run(
        ["tcpdump", "-d", "-y", "EN10MB", *WANTED.split()], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


#: What is on the way between a recording's frontends, by kind, on each of its two nodes.
WAYS = {
    "overlay-vxlan": ["bridge cni0", "nic eth0", "vxlan flannel.1", "veth"],
    "overlay-routed": ["nic eth0", "veth"],
    "cilium": ["cilium_host cilium_host", "nic eth0", "veth"],
}


def test_points_are_what_packets_between_pods_cross(cluster):
    targets = pod_targets(cluster, "frontend", "toolbox")
    names = [f"{cluster.namespace}/{pod}" for pod in targets.values()]
    found = capture.points(cluster, names, inside=targets)
    for node in {point.node for point in found}:
        mine = [point for point in found if point.node == node and not point.in_pod]
        assert sorted(f"{p.kind} {'' if p.pod else p.device}".strip() for p in mine) == sorted(
            WAYS[cluster.arm]
        )
        assert {point.target for point in mine} == {f"node/{node}"}
    inside = [point for point in found if point.in_pod]
    assert {(point.target, point.pod, point.device) for point in inside} == {
        (t, p, "eth0") for t, p in targets.items()
    }
    veths = [point for point in found if point.kind == "veth"]
    assert {point.pod for point in veths} == set(targets.values())
    assert len(found) == len(set(found)) == 2 * len(WAYS[cluster.arm]) + 2


def test_pods_of_one_node_need_no_other(vxlan):
    (target, pod), *_ = pod_targets(vxlan, "frontend", "toolbox").items()
    found = capture.points(vxlan, [f"{vxlan.namespace}/{pod}"], inside=[target])
    assert len({point.node for point in found}) == 1
    assert "flannel.1" in {point.device for point in found}  # a tunnel may be used past the routes


def test_a_pod_that_is_not_there_is_an_error(routed):
    with pytest.raises(ParameterError, match="no pod cni-lab/nobody in arm"):
        capture.points(routed, ["cni-lab/nobody"])


def test_captures_are_running_when_the_burst_begins():
    arm, where = (
        Cluster("a", "test", Slow()),
        [Point("n0", None, name, "nic", "node/n0") for name in ("eth0", "eth1")],
    )
    bounds = Bounds(seconds=3, packets=9)
    taken, burst = capture.capture(
        arm, where, lambda: arm.run("pod/x/y/z", ("ping",)), bounds=bounds, wanted="icmp"
    )
    assert [point for point, _ in taken] == where
    assert [got.request.argv for _, got in taken] == [bounds.argv(name, "icmp") for name in ("eth0", "eth1")]
    assert all(covers(got, [burst]) for _, got in taken)
    assert min(burst.started_at - got.started_at for _, got in taken) > timedelta(seconds=1.9)


class Slow:
    """Does what it is asked as long as timeout(1) would let it."""

    about: ClassVar = {"origin": "synthetic"}

    def run(self, request):
        begun = datetime.now(UTC)
        lasts = int(request.argv[3]) if request.words.startswith("timeout") else 0
        time.sleep(lasts)
        return Reply(
            "r1", request, begun, (datetime.now(UTC) - begun).total_seconds(), BY_TIMEOUT if lasts else 0, b""
        )


def test_whether_a_capture_covers_the_burst():
    burst = [reply(2.0, 0.5), reply(3.0, 1.0)]
    assert covers(reply(0.0, 8.0), burst)
    assert not covers(reply(2.1, 8.0), burst)  # began late
    assert not covers(reply(0.0, 3.5), burst)  # ended by its number of packets
    assert not covers(reply(0.0, 8.0, code=0), burst)  # the same, and answered late
    assert not covers(reply(), [])


def test_a_capture_that_did_not_end_by_its_bounds_is_an_error():
    assert require_whole(reply(code=0)).exit_code == 0
    assert require_whole(reply()).exit_code == BY_TIMEOUT
    with pytest.raises(TimeLimit):
        require_whole(reply(code=None))
    with pytest.raises(CommandError):
        require_whole(reply(code=1))
