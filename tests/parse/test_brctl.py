from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import bridge
from tests.conftest import RECORDINGS, recorded

CASES = Path(__file__).parents[1] / "cases" / "brctl"


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_reply_is_read(name):
    for reply in recorded(name, "brctl show"):
        assert bridge.brctl(reply.stdout).empty == (name != "overlay-vxlan")


def test_ports_below_their_bridge():
    (reply,) = recorded("overlay-vxlan", "brctl show", subject="vxlan-node-0")
    frame = bridge.brctl(reply.stdout)
    assert len(frame) == 5
    assert set(frame["bridge"]) == {"cni0"}
    assert not frame["stp"].any()


def test_a_bridge_without_ports_is_a_row():
    frame = bridge.brctl((CASES / "1.7.1-two-bridges.txt").read_bytes())
    assert frame["bridge"].tolist() == ["br0", "br0", "br1"]
    assert frame["interface"].tolist()[:2] == ["v0", "v2"]
    assert frame["interface"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    "data",
    [
        b"brctl: command not found\n",
        b"bridge name\tbridge id\t\tSTP enabled\tinterfaces\n\t\t\t\t\t\t\tveth0\n",
        b"bridge name\tbridge id\t\tSTP enabled\tinterfaces\ncni0\t\t8000.96\n",
        b"\xff",
    ],
)
def test_what_is_no_list_of_bridges_is_refused(data):
    with pytest.raises(ParseError, match="brctl"):
        bridge.brctl(data)
