from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import traceroute as parse
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parents[1] / "cases"


def case(tool, name):
    """Printed by traceroute 2.1.2 and tracepath of iputils 20221126 between three namespaces in a row."""
    version = {"traceroute": "2.1.2", "tracepath": "20221126"}[tool]
    return (CASES / tool / f"{version}-{name}.txt").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize(("tool", "read"), [("traceroute", parse.traceroute), ("tracepath", parse.tracepath)])
def test_every_recorded_reply_is_read(name, tool, read):
    recording = arm(name).executor.recording
    replies = [recording.find(r) for r in recording.requests() if r.words.startswith(tool)]
    assert len(replies) == 4
    for reply in replies:
        hops = read(reply.stdout)
        assert hops["hop_ip"].iloc[-1] == reply.request.words.split()[-1]
        if tool == "tracepath":
            assert parse.path_mtu(reply.stdout)["hops"].item() == hops["hop"].max()


def test_a_path_by_the_fabric():
    (reply,) = recorded("overlay-routed", "traceroute -n -w 1 -q 1 -m 6 10.246.1.3", subject="6lhlr")
    frame = parse.traceroute(reply.stdout)
    assert frame["hop_ip"].tolist() == ["10.246.0.1", "10.242.0.1", "10.242.0.5", "10.246.1.3"]
    assert frame["rtt_us"].tolist() == [72.0, 825.0, 91.0, 71.0]


def test_a_hop_that_does_not_answer_is_there_without_a_name():
    (reply,) = recorded("cilium", "traceroute -n -w 1 -q 1 -m 6 10.245.1.206", subject="xqrjn")
    frame = parse.traceroute(reply.stdout)
    assert frame["hop"].tolist() == [1, 2, 3]
    assert frame["hop_ip"].isna().tolist() == [True, True, False]
    assert frame["rtt_us"].isna().tolist() == [True, True, False]
    (reply,) = recorded("cilium", "tracepath -n -m 6 10.245.1.206", subject="xqrjn")
    assert parse.tracepath(reply.stdout)["hop_ip"].isna().tolist() == [True, True, False]


def test_several_probes_of_a_hop():
    frame = parse.traceroute(case("traceroute", "three-probes"))
    assert frame["hop"].tolist() == [1, 1, 1, 2, 2, 2]
    assert frame["probe"].tolist() == [1, 2, 3] * 2
    assert frame["hop_ip"].tolist() == ["192.0.2.2"] * 3 + ["198.51.100.3"] * 3
    assert frame["rtt_us"].tolist()[:3] == [1124.0, 5.0, 4.0]


def test_names_beside_addresses():
    assert set(parse.traceroute(case("traceroute", "names"))["hop_ip"]) == {"192.0.2.2", "198.51.100.3"}


def test_nothing_answers():
    frame = parse.traceroute(case("traceroute", "nothing-answers"))
    assert len(frame) == 9
    assert frame["hop_ip"].isna().all()


def test_a_refusal_is_noted():
    frame = parse.traceroute(case("traceroute", "prohibited"))
    assert frame["note"].tolist()[:2] == ["!X", "!X"]
    assert frame["note"].isna().tolist() == [False, False, True]
    assert frame["rtt_us"].isna().tolist() == [False, False, True]


def test_a_smaller_mtu_on_the_way():
    data = case("tracepath", "smaller-mtu")
    assert parse.path_mtu(data).values.tolist() == [[1400, True, 2, 2]]
    frame = parse.tracepath(data)
    assert frame["hop"].tolist() == [1, 1, 2, 2]
    assert frame["note"].dropna().tolist() == ["pmtu 1400"]


def test_a_destination_that_is_not_reached_has_no_hops():
    for name in ("no-reply", "unreachable"):
        row = parse.path_mtu(case("tracepath", name)).iloc[0]
        assert (row["mtu"], bool(row["reached"])) == (1500, False)
        assert row.isna()[["hops", "hops_back"]].all()
    assert parse.tracepath(case("tracepath", "unreachable"))["note"].tolist() == ["!H", "!H"]


def test_a_name_is_no_address():
    frame = parse.tracepath(case("tracepath", "names"))
    assert frame["hop_ip"].isna().all()  # resolved to ???
    assert frame["rtt_us"].notna().all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"traceroute: command not found\n",
        b"traceroute to 10.0.0.1 (10.0.0.1), 6 hops max, 60 byte packets\n",
        b"traceroute to 10.0.0.1 (10.0.0.1), 6 hops max, 60 byte packets\nconnect: Network is unreachable\n",
        b"traceroute to 10.0.0.1 (10.0.0.1), 6 hops max, 60 byte packets\n 1  10.0.0.1  0.3\n",
        b"\xff",
    ],
)
def test_what_is_no_trace_is_refused(data):
    with pytest.raises(ParseError, match="traceroute"):
        parse.traceroute(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"tracepath: command not found\n",
        case("tracepath", "smaller-mtu")[:150],
        b" 1?: [LOCALHOST]   pmtu 1500\nwhat\n     Resume: pmtu 1500 \n",
        b"     Resume: pmtu 1500 \n",
    ],
)
@pytest.mark.parametrize("read", [parse.tracepath, parse.path_mtu])
def test_what_is_no_path_is_refused(data, read):
    with pytest.raises(ParseError, match="tracepath"):
        read(data)
