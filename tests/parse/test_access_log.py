"""Every recorded log of a backend, and lines that httpd writes elsewhere."""

import pandas as pd
import pytest

from labkit.errors import ParseError
from labkit.parse import access_log
from tests.conftest import RECORDINGS, recorded

LINE = b'10.245.0.183 - - [23/Nov/2026:01:30:42 +0000] "GET / HTTP/1.1" 200 43\n'


@pytest.mark.parametrize("step", ["baseline", "load-balancing"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_line_is_a_request_or_a_notice(name, step):
    for reply in recorded(name, "logs --tail", step=step):
        frame = access_log.lines(reply.stdout)
        assert len(frame) == len(reply.stdout.splitlines())
        assert frame.groupby("kind").size()["notice"] == 2
        requests = frame[frame["kind"] == "request"]
        assert (requests["status"] == 200).all()
        assert requests["client_ip"].nunique() <= 2
        assert frame.loc[frame["kind"] == "notice", ["time", "client_ip", "status"]].isna().all(axis=None)


def test_a_request():
    (row,) = access_log.lines(LINE).to_dict("records")
    assert row["time"] == pd.Timestamp("2026-11-23T01:30:42Z")
    assert (row["client_ip"], row["method"], row["path"], row["body_bytes"]) == (
        "10.245.0.183",
        "GET",
        "/",
        43,
    )


def test_other_lines_of_httpd():
    frame = access_log.lines(
        b"AH00558: httpd: Could not reliably determine the server's fully qualified domain name\n"
        b'fd00::7 - - [01/Feb/2026:00:00:00 +0200] "HEAD /a%20b HTTP/1.0" 304 -\n'
        b'10.0.0.1 - - [01/Feb/2026:00:00:00 +0000] "\\x16\\x03\\x01 \\"x" 400 226\n'
        b'10.0.0.1 - - [01/Feb/2026:00:00:00 +0000] "-" 408 -\n'
    )
    assert frame["kind"].tolist() == ["notice", "request", "request", "request"]
    assert frame.loc[1, "time"] == pd.Timestamp("2026-01-31T22:00:00Z")
    assert frame.loc[1, "body_bytes"] == 0
    assert frame["method"].isna().tolist() == [
        True,
        False,
        True,
        True,
    ]  # TLS to a plain port, no request at all
    assert frame.loc[2, "message"] == '\\x16\\x03\\x01 \\"x'


def test_a_silent_server_has_no_line():
    assert access_log.lines(b"").empty


@pytest.mark.parametrize(
    "data",
    [
        LINE[:-12],
        b"hello\n",
        LINE.replace(b"23/Nov", b"32/Nov"),
        LINE.replace(b"10.245.0.183", b"host.example"),
        b"\xff\n",
    ],
)
def test_what_httpd_does_not_write_is_refused(data):
    with pytest.raises(ParseError, match="Apache httpd"):
        access_log.lines(data)
