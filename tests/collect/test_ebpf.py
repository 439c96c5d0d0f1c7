"""Collectors of the ebpf topology's maps."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labkit.cluster import Cluster
from labkit.collect import ebpf
from labkit.collect.gather import Collector
from labkit.errors import CommandError, MissingFeature
from labkit.exec.request import Exec, Reply

CASES = Path(__file__).parents[1] / "cases" / "bpftool"
COLLECTORS = [value for name in ebpf.__all__ if isinstance(value := getattr(ebpf, name), Collector)]


class Maps:
    """Two nodes, each with the maps that bpftool printed once; or with something else to say."""

    def __init__(self, nodes, told=None):
        self._nodes, self._told, self.about = nodes, told, {"namespace": "cni-lab", "origin": "netns"}

    def run(self, request):
        if isinstance(request, Exec):
            code, out = self._told or self._dump(request)
        else:
            code, out = 0, self._nodes if request.path.endswith("/nodes") else b'{"items": []}'
        return Reply(
            f"r-{request.subject}-{request.words[-9:]}", request, datetime.now(UTC), 0.1, code, out, b""
        )

    def _dump(self, request):
        path = Path(request.argv[-1])
        assert path.parent == Path("/sys/fs/bpf/labkit", request.target.removeprefix("node/"), "maps")
        return 0, (CASES / f"7.1-ebpf-{path.name.replace('_', '-')}.json").read_bytes()


@pytest.fixture
def nodes(vxlan):
    """The nodes of a recording, by other names."""
    read = json.loads(vxlan.read("/api/v1/nodes").stdout)
    for number, node in enumerate(read["items"], 1):
        node["metadata"]["name"] = f"node-{number}"
    return json.dumps(read).encode()


@pytest.mark.parametrize("collect", COLLECTORS, ids=lambda c: c.__name__)
def test_columns_are_the_declared_ones(collect, nodes):
    frame, empty = collect(Cluster("ebpf", "netns:ebpf", Maps(nodes))), collect.schema.empty()
    assert frame.dtypes.astype(str).to_dict() == empty.dtypes.astype(str).to_dict()
    assert list(frame.columns) == list(empty.columns)
    assert set(frame["node"]) == {"node-1", "node-2"}
    assert frame["reply"].nunique() == 2


def test_what_nodes_hold_for_services(nodes):
    found = ebpf.holders(Cluster("ebpf", "netns:ebpf", Maps(nodes)))
    assert found[["node", "holds", "entries"]].to_numpy().tolist() == [
        [node, f"eBPF {name} map", entries]
        for name, entries in (("services", 3), ("backends", 4))
        for node in ("node-1", "node-2")
    ]
    assert found["reply"].nunique() == 4


def test_an_arm_that_has_no_such_maps_says_so(nodes, vxlan):
    absent = b'{"error":"bpf obj get (/sys/fs/bpf/labkit/node-1/maps/services): No such file or directory"}\n'
    with pytest.raises(MissingFeature, match="Services are no eBPF maps of a lab here"):
        ebpf.holders(Cluster("routed", "netns:routed", Maps(nodes, (255, absent))))
    with pytest.raises(MissingFeature, match="there is no bpftool"):
        ebpf.counters(Cluster("mine", "live:mine", Maps(nodes, (127, b""))))
    with pytest.raises(MissingFeature, match="nobody asked"):
        ebpf.frontends(vxlan)


def test_another_failure_is_one(nodes):
    with pytest.raises(CommandError):
        ebpf.frontends(
            Cluster("ebpf", "netns:ebpf", Maps(nodes, (255, b'{"error":"Operation not permitted"}\n')))
        )
