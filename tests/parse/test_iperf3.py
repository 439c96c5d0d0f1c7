import json
from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import iperf3
from tests.conftest import RECORDINGS, recorded

CASES = Path(__file__).parent.parent / "cases" / "iperf3"


def case(name):
    return (CASES / f"iperf-3.12-{name}.txt").read_bytes()


def only(data):
    (row,) = iperf3.run(data).to_dict("records")
    return row


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_run_is_read(name):
    replies = recorded(name, "iperf3 ", step="performance")
    assert len(replies) == 72
    for reply in replies:
        frame, parts = iperf3.run(reply.stdout), iperf3.intervals(reply.stdout)
        row = frame.iloc[0]
        assert row["host"] == reply.request.argv[3]
        if frame["error"].isna().item():
            kept = parts[~parts["omitted"]]
            assert len(kept) == 3
            assert row["streams"] == (4 if "-P" in reply.request.argv else 1)
            assert row["moved_bytes"] == parts["moved_bytes"].sum()
            assert row["received_bps"] == pytest.approx(kept["moved_bytes"].sum() * 8 / 3, rel=0.1)
        else:
            assert parts.empty
            assert (
                frame[["sent_bps", "received_bps", "moved_bytes", "retransmits", "loss_pct"]]
                .isna()
                .all(axis=None)
            )


def test_a_tcp_run():
    row = only(recorded("cilium", "iperf3 -J -c 10.245.1.54 -t 3 -O 1", step="performance")[0].stdout)
    assert row["sent_bps"] == pytest.approx(10_009_549_982.27437)
    assert row["received_bps"] == pytest.approx(10_040_774_468.90238)
    assert row["retransmits"] == 2053  # 1468 more are in the second that is omitted
    assert row["moved_bytes"] == 1246363648 + 1074790400 + 1347420160 + 1333002240
    assert (row["protocol"], row["congestion"], row["mss_bytes"], row["version"]) == (
        "TCP",
        "bbr",
        1448,
        "3.12",
    )
    assert row["client_cpu_pct"] == pytest.approx(69.2308057)


def test_retransmits_are_the_senders_also_in_reverse():
    (reply,) = [
        r
        for r in recorded("cilium", "iperf3 -J -c 10.245.1.54 -t 3 -O 1 -R", step="performance")
        if not r.request.sample
    ]
    assert only(reply.stdout)["retransmits"] == 3179
    assert (
        iperf3.intervals(reply.stdout)["retransmits"].isna().all()
    )  # the client receives and cannot count them


def test_udp_loss_and_jitter_are_the_receivers():
    row = only(recorded("cilium", "iperf3 -J -c 10.245.1.54 -u", step="performance")[0].stdout)
    assert (row["lost"], row["datagrams"]) == (3160, 156238)
    assert row["loss_pct"] == pytest.approx(2.02255533)
    assert row["jitter_us"] == pytest.approx(6.59014904)
    assert row["sent_bps"] == pytest.approx(499944768.5)
    assert row["received_bps"] == pytest.approx(489814333.4)


def test_a_run_that_failed_is_a_row_without_numbers():
    reply = recorded("overlay-vxlan", "iperf3 -J -c 10.0.63.200 -u", step="performance")[0]
    assert reply.exit_code == 0
    frame = iperf3.run(reply.stdout)
    assert frame["error"].item() == "unable to read from stream socket: Connection refused"
    assert frame["host"].item() == "10.0.63.200"
    assert frame.drop(columns=["error", "host", "port", "version"]).isna().all(axis=None)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("refused", "unable to connect to server: Connection refused"),
        ("busy", "the server is busy running a test. try again later"),
    ],
)
def test_errors_before_the_test_began(name, error):
    frame = iperf3.run(case(name))
    assert frame["error"].item() == error
    assert frame["host"].isna().item()
    assert iperf3.intervals(case(name)).empty


def test_udp_in_reverse():
    row = only(case("udp-reverse"))
    assert (row["protocol"], row["reverse"], row["lost"], row["datagrams"]) == ("UDP", True, 0, 39)


def test_two_directions_in_one_run_are_refused():
    with pytest.raises(ParseError, match="bidirectional"):
        iperf3.run(case("bidirectional"))


@pytest.mark.parametrize("read", [iperf3.run, iperf3.intervals])
@pytest.mark.parametrize(
    "data", [b"", b"iperf3: error", b"[]", b"{}", b'{"start": {}, "intervals": [{}], "end": {}}']
)
def test_what_is_no_result_is_refused(read, data):
    with pytest.raises(ParseError, match="iperf3"):
        read(data)


def test_a_result_without_its_receiver_is_refused():
    value = json.loads(recorded("cilium", "iperf3 ", step="performance")[0].stdout)
    del value["end"]["sum_received"]
    with pytest.raises(ParseError, match="sum_received"):
        iperf3.run(json.dumps(value).encode())


def test_an_output_that_was_cut_off_is_refused():
    data = recorded("cilium", "iperf3 ", step="performance")[0].stdout
    with pytest.raises(ParseError):
        iperf3.run(data[:-30])
