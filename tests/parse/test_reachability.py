from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import reachability
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parents[1] / "cases"
READERS = {"curl -sS -o /dev/null --connect": "http", "ping -c 2 -i 0.2 -W 1": "echo", "dig +time": "lookup"}


def ended(data, read):
    attempt = getattr(reachability, read)(data)
    return attempt.outcome, attempt.cause


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("argv", READERS)
def test_every_recorded_probe_is_read_and_agrees_with_the_exit_code(name, argv):
    recording = arm(name).executor.recording
    found = [recording.find(r) for r in recording.requests() if r.words.startswith(argv)]
    assert len(found) >= 12
    for reply in found:
        outcome, cause = ended(reply.stdout, READERS[argv])
        assert (outcome, cause == "ok") == (("allowed", True) if reply.exit_code == 0 else ("blocked", False))


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("403", ("allowed", "http-status")),
        ("empty-reply", ("blocked", "no-reply")),
        ("silent", ("blocked", "no-reply")),
        ("reset", ("blocked", "reset")),
        ("refused", ("blocked", "no-connection")),
        ("unreachable", ("blocked", "no-connection")),
        ("no-such-name", ("blocked", "dns-failure")),
        ("unknown-scheme", ("blocked", "curl-1")),
    ],
)
def test_how_a_transfer_ends(case, wanted):
    assert ended((CASES / "reachability" / f"curl-7.88.1-{case}.txt").read_bytes(), "http") == wanted


def test_words_of_the_c_library_are_taken_where_curl_prints_them():
    data = (CASES / "reachability" / "curl-7.88.1-refused.txt").read_bytes()
    assert ended(data.replace(b"Couldn't connect to server", b"Connection refused"), "http")[1] == "refused"
    assert ended(data.replace(b"Couldn't connect to server", b"No route to host"), "http")[1] == "unreachable"


def test_a_time_out_of_the_name_is_told_from_one_of_the_connection():
    replies = recorded("cilium", "curl -sS -o /dev/null --connect", step="policy-deny-all", subject="client")
    causes = {reply.request.words.split("/")[-2]: ended(reply.stdout, "http")[1] for reply in replies}
    assert causes == {
        "10.245.0.165": "connect-timeout",
        "10.245.1.206": "connect-timeout",
        "10.0.234.81": "connect-timeout",
        "backend-service.cni-lab.svc.cluster.local": "dns-timeout",
    }


@pytest.mark.parametrize(
    ("case", "wanted"),
    [("no-reply", ("blocked", "no-reply")), ("host-unreachable", ("blocked", "unreachable"))],
)
def test_how_a_ping_ends(case, wanted):
    assert ended((CASES / "ping" / f"iputils-20221126-{case}.txt").read_bytes(), "echo") == wanted


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("nxdomain", ("allowed", "dns-failure")),
        ("no-data", ("allowed", "dns-failure")),
        ("second-try", ("allowed", "ok")),
        ("refused", ("blocked", "refused")),
        ("unreachable", ("blocked", "unreachable")),
        ("timeout-two-tries", ("blocked", "dns-timeout")),
    ],
)
def test_how_a_lookup_ends(case, wanted):
    assert ended((CASES / "dig" / f"9.18-{case}.txt").read_bytes(), "lookup") == wanted


@pytest.mark.parametrize(
    ("read", "data"),
    [
        ("http", b""),
        ("http", b"curl: (6) Could not resolve host"),
        ("http", recorded("cilium", "curl -sS -o /dev/null --connect", step="policy-none")[0].stdout * 2),
        ("echo", b"ping: unknown host\n"),
        ("lookup", b"dig: command not found\n"),
        ("lookup", (CASES / "dig" / "9.18-no-data-no-comments.txt").read_bytes()),
    ],
)
def test_what_is_no_single_answer_is_refused(read, data):
    with pytest.raises(ParseError):
        ended(data, read)
