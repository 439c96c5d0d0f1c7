"""Flows on every recorded answer of Hubble; lost events and what is no flow on lines of the same form."""

import json

import pandas as pd
import pytest

from labkit.errors import ParseError
from labkit.parse import hubble
from tests.conftest import recorded

STEPS = ("baseline", "load-balancing", "policy-deny-all", "policy-allow-frontend")
LOST = b'{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"17","cpu":1},"time":"2026-01-01T00:00:00Z"}\n'


def answers(step):
    return [r for r in recorded("cilium", "hubble observe", step=step) if "jsonpb" in r.request.words]


@pytest.fixture
def denied():
    """The drops of one node under the deny of everything."""
    (reply,) = recorded("cilium", "hubble observe --verdict DROPPED", step="policy-deny-all", subject="m99dv")
    return hubble.flows(reply.stdout)


@pytest.mark.parametrize("step", STEPS)
def test_every_recorded_answer_is_read_line_by_line(step):
    for reply in answers(step):
        frame = hubble.flows(reply.stdout)
        assert len(frame) == len(reply.stdout.splitlines())
        assert frame["uuid"].is_unique
        assert frame["time"].is_monotonic_increasing
        assert set(frame["event"]) <= {"trace", "drop", "policy-verdict", "trace-sock"}
        assert hubble.lost(reply.stdout).empty


def test_a_trace_keeps_both_ends():
    reply = answers("load-balancing")[0]
    row = hubble.flows(reply.stdout).iloc[1]
    assert (row["src_ip"], row["src_port"], row["src_pod"]) == (
        "10.245.1.51",
        52060,
        "app-frontend-7674669fd8-tmbh6",
    )
    assert (row["dst_ip"], row["dst_port"], row["dst_app"], row["dst_endpoint"]) == (
        "10.245.0.165",
        80,
        "backend",
        958,
    )
    assert (row["src_identity"], row["dst_identity"]) == (17870, 18648)
    assert pd.isna(row["src_endpoint"])  # it is on the other node
    assert (row["tcp_flags"], row["trace_reason"], row["observation_point"]) == ("SYN", "NEW", "TO_ENDPOINT")
    assert (row["interface"], row["node_name"]) == ("lxceac8f50d2519", "cilium-rig/cilium-node-0")
    assert row["time"] == pd.Timestamp("2026-11-23T01:32:06.544859Z")
    assert not row["is_reply"]


def test_a_denied_packet_is_two_flows(denied):
    policy = denied[denied["drop_reason"] == "POLICY_DENIED"]
    assert policy.groupby("event").size().to_dict() == {"drop": 25, "policy-verdict": 25}
    assert (policy["verdict"] == "DROPPED").all()
    assert policy["is_reply"].isna().all()


def test_an_identity_that_hubble_does_not_know_is_missing_not_zero(denied):
    unknown = denied[denied["dst_reserved"] == "unknown"]
    assert not unknown.empty
    assert unknown["dst_identity"].isna().all()


def test_what_allowed_a_packet_is_named():
    frame = pd.concat(hubble.flows(reply.stdout) for reply in answers("policy-allow-frontend"))
    allowed = frame[(frame["event"] == "policy-verdict") & (frame["verdict"] == "FORWARDED")]
    assert set(allowed["allowed_by"]) == {
        "NetworkPolicy/cni-lab/allow-dns-egress",
        "NetworkPolicy/cni-lab/allow-frontend-egress",
        "NetworkPolicy/cni-lab/allow-frontend-to-backend",
    }


def test_an_echo_reply_has_type_zero_though_protobuf_leaves_it_out():
    frame = hubble.flows(answers("baseline")[0].stdout)
    replies = frame[frame["summary"] == "ICMPv4 EchoReply"]
    assert not replies.empty
    assert (replies["icmp_type"] == 0).all()


def test_only_a_socket_event_names_the_service():
    frame = pd.concat(hubble.flows(reply.stdout) for reply in answers("load-balancing"))
    named = frame[frame["dst_service"].notna()]
    assert named["type"].tolist() == ["SOCK"]
    assert named[["dst_service", "dst_ip", "verdict"]].iloc[0].tolist() == [
        "cni-lab/backend-service", "10.0.234.81", "TRACED",
    ]  # fmt: skip
    assert named["src_port"].isna().all()


def test_lost_events_are_counted_and_are_no_flows():
    line = answers("baseline")[0].stdout.splitlines(keepends=True)[0]
    data = line + LOST + b'{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"3"}}\n'
    assert len(hubble.flows(data)) == 1
    lost = hubble.lost(data)
    assert lost["events"].tolist() == [3, 17]
    assert lost["cpu"].isna().tolist() == [True, False]


def test_no_output_is_no_flow():
    frame = hubble.flows(b"")
    assert frame.empty
    assert list(frame.columns) == hubble.FLOWS.names


@pytest.mark.parametrize(
    "data",
    [
        b'{"flow": {"time": "2026-01-01T00:00:00Z"',  # cut
        b'{"flow": {}}\n',
        b'{"flow": []}\n',
        b'{"agent_event": {}}\n',
        b"[]\n",
        b"Nov 23 01:30:51.098: fe80::1 <> ff02::2 Unsupported L3 protocol DROPPED\n",  # the text form
        b"Usage:\n  hubble observe [flags]\n",
        b"\xff\xfe",
    ],
)
def test_what_is_no_flow_is_refused(data):
    with pytest.raises(ParseError, match="hubble observe"):
        hubble.flows(data)


def test_lost_events_without_a_number_are_refused():
    with pytest.raises(ParseError, match="num_events_lost"):
        hubble.lost(b'{"lost_events":{"source":"HUBBLE_RING_BUFFER"}}\n')


@pytest.mark.parametrize("step", ["baseline", "load-balancing"])
def test_status_of_every_agent(step):
    for reply in recorded("cilium", "hubble status -o json", step=step):
        (row,) = hubble.status(reply.stdout).to_dict("records")
        assert row["max_flows"] == 4095
        assert row["flows"] == int(json.loads(reply.stdout)["num_flows"])
        assert 100 < row["uptime_s"] < 300


@pytest.mark.parametrize("data", [b"", b"{}", b'{"num_flows":"1","max_flows":"x"}', b"Healthcheck: Ok"])
def test_what_is_no_status_is_refused(data):
    with pytest.raises(ParseError, match="hubble status"):
        hubble.status(data)
