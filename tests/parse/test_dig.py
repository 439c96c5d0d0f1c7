from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import dig
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parents[1] / "cases"
FULL = b"dig +time=2 +tries=1 +noall +comments +answer +stats backend-service.cni-lab.svc.cluster.local"
ANSWERED = (CASES / "dig" / "9.18-cname-two-addresses.txt").read_bytes()


def lookup(tool, case):
    """The row of a case, printed by Debian 12's dig or nslookup against a name server on loopback."""
    parse = dig.answer if tool == "dig" else dig.nslookup
    return parse((CASES / tool / f"9.18-{case}.txt").read_bytes()).iloc[0]


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize(("tool", "parse"), [("dig", dig.answer), ("nslookup", dig.nslookup)])
def test_every_recorded_lookup_is_read(name, tool, parse):
    recording = arm(name).executor.recording
    replies = [recording.find(r) for r in recording.requests() if r.words.startswith(tool)]
    assert replies
    for reply in replies:
        row = parse(reply.stdout).iloc[0]
        assert row["server"] == "10.0.0.10"
        assert (row["status"] == "timeout") == (reply.exit_code == 9)


def test_an_answer_without_its_header_has_no_status():
    row = dig.answer(recorded("cilium", "dig")[0].stdout).iloc[0]
    assert (row["name"], row["addresses"]) == ("backend-service.cni-lab.svc.cluster.local", "10.0.234.81")
    assert (row["ttl_s"], row["query_time_us"], row["size_bytes"], row["protocol"]) == (5, 0, 139, "UDP")
    assert row.isna()["status"]


def test_an_answer_with_remarks():
    reply = recorded("cilium", FULL.decode(), step="policy-allow-frontend")[0]
    row = dig.answer(reply.stdout).iloc[0]
    assert (row["status"], row["records"], row["query_time_us"]) == ("NOERROR", 1, 4000)


def test_no_reply_is_a_row_and_not_a_number():
    reply = recorded("cilium", FULL.decode(), step="policy-deny-all")[0]
    row = dig.answer(reply.stdout).iloc[0]
    assert (row["status"], row["server"], row["failed_tries"]) == ("timeout", "10.0.0.10", 1)
    assert row.drop(["status", "server", "failed_tries"]).isna().all()


def test_an_alias_and_two_addresses():
    row = lookup("dig", "cname-two-addresses")
    assert (row["name"], row["addresses"]) == ("cname.lab.example", "10.0.0.1,10.0.0.2")
    assert (row["records"], row["ttl_s"]) == (3, 20)
    assert lookup("dig", "all-sections")["addresses"] == row["addresses"]


@pytest.mark.parametrize(
    ("case", "status", "failed"),
    [
        ("nxdomain", "NXDOMAIN", 0),
        ("servfail", "SERVFAIL", 0),
        ("no-data", "NOERROR", 0),
        ("second-try", "NOERROR", 1),
        ("refused", "connection-refused", 2),
        ("timeout-two-tries", "timeout", 2),
        ("unreachable", "unreachable", 2),
    ],
)
def test_how_a_lookup_ends(case, status, failed):
    row = lookup("dig", case)
    assert (row["status"], row["failed_tries"]) == (status, failed)


def test_no_data_is_zero_records_and_no_reply_is_unknown():
    assert lookup("dig", "no-data-no-comments")["records"] == 0
    assert lookup("dig", "timeout-two-tries").isna()["records"]


def test_microseconds_are_not_multiplied():
    assert lookup("dig", "microseconds")["query_time_us"] == 248


@pytest.mark.parametrize(
    ("case", "status", "addresses"),
    [
        ("cname-two-addresses", "NOERROR", "10.0.0.1,10.0.0.2"),
        ("nxdomain", "NXDOMAIN", None),
        ("no-data", "NOERROR", None),
        ("refused", "connection-refused", None),
        ("timeout", "timeout", None),
    ],
)
def test_nslookup(case, status, addresses):
    row = lookup("nslookup", case)
    assert row["status"] == status
    assert row.isna()["addresses"] if addresses is None else row["addresses"] == addresses
    assert row["server"] == "127.0.0.1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        ANSWERED[:200],
        ANSWERED.partition(b";; Query time")[0],
        ANSWERED.partition(b";; MSG SIZE")[0],
        ANSWERED + ANSWERED,
        ANSWERED.replace(b";; flags", b";! flags"),
        b"\xff\xfe",
        b"bash: dig: command not found\n",
        (CASES / "dig" / "9.18-usage.txt").read_bytes(),
        b";; communications error to 10.0.0.10#53: end of file\n;; no servers could be reached\n",
    ],
)
def test_what_is_no_answer_of_dig_is_refused(data):
    with pytest.raises(ParseError, match="dig"):
        dig.answer(data)


@pytest.mark.parametrize("data", [b"", b"Server:\t\t10.0.0.10\n", b"Usage: nslookup\n", b"\xff", ANSWERED])
def test_what_is_no_answer_of_nslookup_is_refused(data):
    with pytest.raises(ParseError, match="nslookup"):
        dig.nslookup(data)
