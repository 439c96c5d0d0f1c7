import json
from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import curl
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parent.parent / "cases" / "curl"
REFUSED = (CASES / "curl-7.88.1-refused-and-unresolved.txt").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_transfer_is_read(name):
    recording = arm(name).executor.recording
    requests = [r for r in recording.requests() if r.words.startswith("curl ") and "%{json}" in r.words]
    assert len(requests) in (122, 138)
    for request in requests:
        reply = recording.find(request)
        frame = curl.transfers(reply.stdout)
        urls = [word for word in request.argv if word.startswith("http://")]
        assert frame["url"].tolist() == urls
        assert frame["n"].tolist() == list(range(len(urls)))
        assert frame["exit_code"].iloc[-1] == reply.exit_code
        good = frame["exit_code"] == 0
        assert frame.loc[good, ["connect_us", "starttransfer_us"]].notna().all(axis=None)
        assert (
            frame.loc[~good, ["connect_us", "starttransfer_us", "remote_ip", "http_code"]]
            .isna()
            .all(axis=None)
        )
        assert frame["total_us"].gt(0).all()


def test_seconds_become_microseconds():
    reply = recorded("cilium", "curl -sS -o /dev/null --connect-timeout 5", subject="xqrjn/toolbox")[0]
    (row,) = curl.transfers(reply.stdout).to_dict("records")
    assert row["namelookup_us"] == 4202
    assert row["connect_us"] == 4401
    assert row["starttransfer_us"] == 5922
    assert row["total_us"] == 5972
    assert (row["http_code"], row["size_bytes"], row["remote_port"], row["num_connects"]) == (200, 43, 80, 1)


def test_a_kept_connection_connects_in_no_time():
    reply = recorded("cilium", r"curl -sS --connect-timeout 3 -w %{json}\n", step="performance")[0]
    frame = curl.transfers(reply.stdout)
    assert len(frame) == 100
    assert frame["num_connects"].tolist() == [1] + [0] * 99
    assert frame["connect_us"].iloc[0] > 0
    assert (frame["connect_us"].iloc[1:] == 0).all()
    assert frame["local_port"].nunique() == 1


def test_a_refused_connection_has_no_times():
    frame = curl.transfers(REFUSED)  # two objects with nothing between them
    assert frame["exit_code"].tolist() == [7, 6]
    assert frame["error"].str.startswith(("Failed to connect", "Could not resolve")).all()
    assert (
        frame[["http_code", "connect_us", "starttransfer_us", "local_ip", "local_port"]].isna().all(axis=None)
    )
    assert frame["namelookup_us"].notna().tolist() == [True, False]
    assert frame["size_bytes"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty output"),
        (b"<html>", "Expecting value"),
        (b"[]", "a JSON object was expected"),
        (REFUSED[:-40], "Unterminated|Expecting|delimiter"),
        (b'{"url": "http://a/"}', "without 'exitcode'"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_what_is_no_transfer_is_refused(data, problem):
    with pytest.raises(ParseError, match=problem):
        curl.transfers(data)


def test_a_body_between_the_lines_is_refused():
    line = json.dumps(json.loads(REFUSED[: REFUSED.index(b"}") + 1])).encode()
    with pytest.raises(ParseError, match="line 2"):
        curl.transfers(line + b"\n<html>\n" + line)
