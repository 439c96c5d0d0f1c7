from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import conntrack
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parents[1] / "cases" / "conntrack"
TRANSLATED = (CASES / "1.4.7-dnat-snat-accounting.txt").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_reply_is_read(name):
    recording = arm(name).executor.recording
    replies = [recording.find(r) for r in recording.requests() if r.words.startswith("conntrack -L")]
    assert len(replies) == 4
    for reply in replies:
        assert len(conntrack.entries(reply.stdout)) == len(reply.stdout.splitlines())


def test_a_connection_to_a_service_is_rewritten():
    reply = recorded("overlay-vxlan", "conntrack -L", step="load-balancing")[0]
    frame = conntrack.entries(reply.stdout)
    asked = frame[frame["dst_ip"] == "10.0.68.134"]
    assert len(asked) == 708
    assert asked["dnat"].all()
    assert not asked["snat"].any()
    assert set(asked["reply_src_ip"]) == {"10.244.0.3", "10.244.1.3"}


def test_translation_in_both_directions_and_accounting():
    row = conntrack.entries(TRANSLATED).iloc[0]
    assert (row["protocol"], row["state"], row["timeout_s"]) == ("tcp", "TIME_WAIT", 117)
    assert (row["src_ip"], row["dst_ip"], row["dst_port"]) == ("192.0.2.1", "203.0.113.9", 80)
    assert (row["reply_src_ip"], row["reply_src_port"], row["reply_dst_ip"]) == (
        "198.51.100.3",
        8080,
        "198.51.100.2",
    )
    assert (bool(row["dnat"]), bool(row["snat"]), bool(row["replied"]), bool(row["assured"])) == (True,) * 4
    assert (row["packets"], row["seen_bytes"], row["reply_packets"], row["reply_bytes"]) == (7, 447, 5, 1973)


def test_entries_without_ports_and_without_answer():
    frame = conntrack.entries(recorded("overlay-vxlan", "conntrack -L", subject="vxlan-node-0")[0].stdout)
    echo = frame[frame["protocol"] == "icmp"]
    assert echo["icmp_id"].notna().all()
    assert echo[["src_port", "state", "packets"]].isna().all(axis=None)
    frame = conntrack.entries(recorded("overlay-vxlan", "conntrack -L", step="load-balancing")[0].stdout)
    outer = frame[frame["dst_port"] == 8472]
    assert not outer["replied"].any()  # the other node answers from another port: another entry
    assert "unknown 2" in set(frame["protocol"])


def test_no_connections_are_an_empty_table():
    assert list(conntrack.entries(b"").columns) == conntrack.ENTRIES.names


@pytest.mark.parametrize(
    "data",
    [
        b"conntrack: command not found\n",
        TRANSLATED[:60],
        TRANSLATED[: TRANSLATED.index(b" use=")],
        TRANSLATED.replace(b"mark=0", b"mood=0"),
        TRANSLATED.replace(b"ipv4 ", b"ipv5 "),
        b"tcp      6 117 TIME_WAIT src=192.0.2.1 dst=203.0.113.9 sport=1 dport=2\n",
        b"\xff",
    ],
)
def test_what_is_no_connection_is_refused(data):
    with pytest.raises(ParseError, match="conntrack"):
        conntrack.entries(data)


@pytest.mark.parametrize("name", RECORDINGS)
def test_counters_of_each_processor(name):
    for reply in recorded(name, "conntrack -S"):
        frame = conntrack.counters(reply.stdout)
        assert len(frame) == 20
        assert set(frame["cpu"]) == {0, 1}
        assert (frame.loc[frame["counter"] == "insert_failed", "value"] == 0).all()


@pytest.mark.parametrize("data", [b"", b"cpu=0 \n", b"cpu=0 found=x\n", b"no such file\n"])
def test_what_is_no_counter_is_refused(data):
    with pytest.raises(ParseError, match="conntrack"):
        conntrack.counters(data)
