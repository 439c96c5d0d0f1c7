from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import proc_info as parse
from tests.conftest import RECORDINGS, recorded


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_node_says_what_it_is_made_of(name):
    for reply in recorded(name, "cat /proc/cpuinfo"):
        frame = parse.cpuinfo(reply.stdout)
        assert frame["cpus"].tolist() == [2]
        assert frame.loc[0, "model"]
    for reply in recorded(name, "cat /proc/meminfo"):
        frame = parse.meminfo(reply.stdout)
        assert 2**30 < frame.loc[0, "available_bytes"] <= frame.loc[0, "total_bytes"]
    for reply in recorded(name, "cat /host/etc/os-release"):
        assert parse.os_release(reply.stdout) == "Debian GNU/Linux 12 (bookworm)"


@pytest.mark.parametrize("name", RECORDINGS)
def test_pods_ask_the_cluster_resolver(name):
    for reply in recorded(name, "cat /etc/resolv.conf"):
        frame = parse.resolv_conf(reply.stdout)
        assert frame.loc[0, "nameservers"] == "10.0.0.10"
        assert frame.loc[0, "search"].split(",")[0] == "cni-lab.svc.cluster.local"
        assert frame.loc[0, "ndots"] == 5


def test_this_machine_is_read_too():
    assert parse.cpuinfo(Path("/proc/cpuinfo").read_bytes()).loc[0, "cpus"] >= 1
    assert parse.meminfo(Path("/proc/meminfo").read_bytes()).loc[0, "total_bytes"] > 0


@pytest.mark.parametrize("read", [parse.cpuinfo, parse.meminfo, parse.os_release, parse.resolv_conf])
@pytest.mark.parametrize("data", [b"", b"nothing of the kind", b"\xff\xfe"])
def test_garbage_is_refused(read, data):
    with pytest.raises(ParseError):
        read(data)
