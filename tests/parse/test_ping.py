from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import ping
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parent.parent / "cases" / "ping"


def case(name):
    return (CASES / f"iputils-20221126-{name}.txt").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_ping_is_read(name):
    recording = arm(name).executor.recording
    replies = [recording.find(r) for r in recording.requests() if r.words.startswith("ping ")]
    assert len(replies) in (64, 72)
    for reply in replies:
        (row,) = ping.summary(reply.stdout).to_dict("records")
        echoes = ping.echoes(reply.stdout)
        assert row["dst_ip"] == reply.request.argv[-1]
        assert row["sent"] == int(reply.request.argv[2])
        assert row["received"] == len(echoes)
        assert (row["received"] == 0) == (reply.exit_code == 1)
        assert echoes.empty or echoes["rtt_us"].max() == pytest.approx(row["max_us"], rel=0.005)


def test_milliseconds_become_microseconds():
    (reply,) = recorded("cilium", "ping -c 3 -i 0.2 -W 2 10.245.0.165", subject="xqrjn/toolbox")
    (row,) = ping.summary(reply.stdout).to_dict("records")
    assert (row["min_us"], row["avg_us"], row["max_us"], row["mdev_us"]) == (62, 195, 446, 177)
    assert (row["payload_bytes"], row["loss_pct"], row["errors"]) == (56, 0, 0)
    assert ping.echoes(reply.stdout)["ttl"].tolist() == [63, 63, 63]


def test_single_replies_have_three_digits_from_a_millisecond_on():
    (reply,) = (
        r for r in recorded("cilium", "ping", step="policy-removed", subject="tmbh6") if r.id == "r01027"
    )
    assert ping.summary(reply.stdout)["max_us"].item() == 1483
    assert ping.echoes(reply.stdout)["rtt_us"].tolist() == [1480, 75]


def test_a_packet_that_does_not_fit_has_no_times():
    reply = recorded("overlay-vxlan", "ping -c 1 -M do -s 1472")[0]
    assert b"message too long, mtu=1450" in reply.stderr
    (row,) = ping.summary(reply.stdout).to_dict("records")
    assert (row["sent"], row["received"], row["errors"], row["loss_pct"]) == (1, 0, 1, 100)
    assert ping.summary(reply.stdout)[["min_us", "avg_us", "max_us", "mdev_us"]].isna().all(axis=None)
    echoes = ping.echoes(reply.stdout)
    assert echoes.empty
    assert list(echoes.columns) == ping.ECHOES.names


def test_icmp_errors_are_counted_and_are_no_replies():
    data = case("host-unreachable")
    (row,) = ping.summary(data).to_dict("records")
    assert (row["sent"], row["received"], row["errors"]) == (3, 0, 3)
    assert ping.echoes(data).empty


@pytest.mark.parametrize(
    ("name", "address", "replies"),
    [
        ("by-name", "127.0.0.1", 3),
        ("ipv6", "::1", 2),
        ("source-address", "127.0.0.1", 3),
        ("no-reply", "10.9.9.2", 0),
    ],
)
def test_other_heads_of_iputils(name, address, replies):
    (row,) = ping.summary(case(name)).to_dict("records")
    assert (row["dst_ip"], row["received"]) == (address, replies)
    assert len(ping.echoes(case(name))) == replies


def test_too_long_without_ping_counting_it_is_loss():
    (row,) = ping.summary(case("too-long")).to_dict("records")
    assert (row["sent"], row["received"], row["errors"]) == (2, 0, 2)


def test_a_quiet_ping_has_a_summary_but_no_replies_to_list():
    assert ping.summary(case("quiet"))["received"].item() == 3
    with pytest.raises(ParseError, match="0 replies are listed, the summary counts 3"):
        ping.echoes(case("quiet"))


@pytest.mark.parametrize("read", [ping.summary, ping.echoes])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        b"ping: unknown host backend\n",
        b"Usage: ping [OPTIONS] HOST\n",
        b"PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.1 ms\n",
        b"PING 10.0.0.1 (10.0.0.1): 56 data bytes\n64 bytes from 10.0.0.1: seq=0 ttl=64 time=0.08 ms\n",
    ],
)
def test_what_is_no_whole_ping_is_refused(read, data):
    with pytest.raises(ParseError, match="ping"):
        read(data)


def test_an_output_that_was_cut_off_is_refused():
    (reply,) = recorded("cilium", "ping -c 3 -i 0.2 -W 2 10.245.0.165", subject="xqrjn/toolbox")
    for end in (60, 100, 300, len(reply.stdout) - 20):
        with pytest.raises(ParseError):
            ping.summary(reply.stdout[:end])
