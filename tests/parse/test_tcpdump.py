from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import tcpdump
from tests.conftest import RECORDINGS, recorded

CASES = Path(__file__).parent.parent / "cases" / "pcap"


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_report(name):
    for reply in recorded(name, "timeout -s INT 8 tcpdump", step="capture"):
        (row,) = tcpdump.report(reply.stderr).to_dict("records")
        assert row["listened_on"] == reply.request.argv[6]
        assert row["snap_bytes"] == 192
        assert row["received"] >= row["captured"] > 100
        assert row["dropped"] == 0


def test_loopback_is_counted_twice():
    (row,) = tcpdump.report((CASES / "any-sll2.stderr").read_bytes()).to_dict("records")
    assert (row["captured"], row["received"]) == (34, 48)  # 14 packets on lo, and 20 elsewhere


def test_one_packet_is_no_packets():
    (row,) = tcpdump.report((CASES / "one.stderr").read_bytes()).to_dict("records")
    assert (row["listened_on"], row["captured"], row["snap_bytes"]) == ("lo", 1, 262144)


@pytest.mark.parametrize("stderr", [
    b"", b"tcpdump: eth9: No such device exists", b"\xff\xfe", b"460 packets captured\n",
    (CASES / "one.stderr").read_bytes().replace(b"dropped by kernel", b"dropped"),
])  # fmt: skip
def test_a_report_that_is_not_whole_is_refused(stderr):
    with pytest.raises(ParseError, match="tcpdump"):
        tcpdump.report(stderr)
