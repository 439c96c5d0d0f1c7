"""Every recorded answer of nstat, and one of another iproute2."""

from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import nstat
from tests.conftest import RECORDINGS, recorded

OTHER = Path(__file__).parents[1] / "cases" / "nstat" / "iproute2-6.1.0.txt"


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_counter_is_read(name):
    for reply in recorded(name, "nstat"):
        frame = nstat.counters(reply.stdout)
        assert len(frame) == len(reply.stdout.splitlines()) - 1
        assert frame["counter"].is_unique


def test_forwarding_counters_tell_the_dataplanes_apart():
    (overlay,) = recorded("overlay-vxlan", "nstat", subject="vxlan-node-0")
    (cilium,) = recorded("cilium", "nstat", subject="cilium-node-0")
    forwarded = [
        nstat.counters(r.stdout).set_index("counter").loc["IpForwDatagrams", "value"]
        for r in (overlay, cilium)
    ]
    assert forwarded == [116, 0]


def test_another_version():
    frame = nstat.counters(OTHER.read_bytes()).set_index("counter")
    assert frame.loc["IpInReceives", "value"] > 0


@pytest.mark.parametrize(
    "data",
    [b"", b"#kernel\n", b"IpInReceives 1 0.0\n", b"#kernel\nIpInReceives 1\n", b"#kernel\nIpInReceives many 0.0\n",
     b"#kernel\nIpInReceives 12951", b"Usage: nstat [OPTION]\n"],
)  # fmt: skip
def test_what_is_no_counter_is_refused(data):
    with pytest.raises(ParseError, match="nstat"):
        nstat.counters(data)
