"""Events on every recorded answer of the monitor in JSON, and the same cut in two or broken."""

import pandas as pd
import pytest

from labkit.errors import ParseError
from labkit.parse import cilium_monitor
from tests.conftest import recorded

COMMAND = "timeout -s INT 8 cilium-dbg monitor -j --type"
VERDICT = "Policy verdict log: flow 0x1 local EP ID 7, remote ID {}, proto {}, {}, action {}, {}match {}, {}"


def events(kind, step, node):
    (reply,) = recorded("cilium", f"{COMMAND} {kind}", step=step, subject=node)
    assert reply.exit_code == 124  # ended by its time limit, which is no failure
    return reply.stdout, cilium_monitor.events(reply.stdout)


@pytest.mark.parametrize("step", ["monitor", "policy-deny-all"])
def test_every_recorded_answer_is_read_line_by_line(step):
    for reply in recorded("cilium", COMMAND, step=step):
        lines = [line for line in reply.text.splitlines() if line and not line.startswith("time=")]
        assert len(cilium_monitor.events(reply.stdout)) == len(lines)
        assert cilium_monitor.cut(reply.stdout) == ""


def test_a_trace_event():
    row = events("trace", "monitor", "m99dv")[1].iloc[1]
    assert (row["number"], row["type"], row["cpu"]) == (3, "trace", 1)
    assert (row["observation_point"], row["state"], row["interface"]) == (
        "to-endpoint",
        "new",
        "lxceac8f50d2519",
    )
    assert (row["endpoint"], row["dst_endpoint"]) == (958, 958)
    assert (row["src_identity"], row["dst_identity"]) == (46548, 18648)
    assert (row["src_ip"], row["dst_ip"]) == ("10.245.0.183", "10.245.0.165")
    assert (row["protocol"], row["icmp_type"], row["frame_bytes"]) == ("ICMPv4", "EchoRequest", 98)
    assert pd.isna(row["dst_port"])
    assert pd.isna(row["reason"])


def test_flags_and_ports_of_tcp():
    row = events("trace", "monitor", "m99dv")[1].iloc[0]
    assert (row["src_port"], row["dst_port"], row["protocol"], row["tcp_flags"]) == (
        54668,
        6443,
        "TCP",
        "PSH,ACK",
    )


def test_an_event_at_no_interface_names_none():
    frame = events("trace", "monitor", "szxb5")[1]
    to_stack = frame[frame["observation_point"] == "to-stack"]
    assert not to_stack.empty
    assert to_stack["interface"].isna().all()


def test_drops_say_why():
    frame = events("drop", "policy-deny-all", "m99dv")[1]
    assert (frame["reason"] == "Policy denied").all()
    assert frame.groupby("protocol").size().to_dict() == {"ICMPv4": 4, "UDP": 4}
    assert frame[["ifindex", "line", "endpoint"]].drop_duplicates().to_numpy().tolist() == [[10, 1533, 3998]]


def test_policy_verdicts_are_text_even_in_json():
    data, frame = events("policy-verdict", "policy-deny-all", "m99dv")
    assert b"Policy verdict log:" in data
    assert (frame["action"] == "deny").all()
    assert frame["dst_identity"].tolist() == [18648] * 4 + [13566] * 4
    assert frame["src_identity"].isna().all()  # the line names the remote end only
    assert frame.loc[4, ["dst_ip", "dst_port", "protocol"]].tolist() == ["10.245.1.31", 53, "UDP"]


def test_a_node_with_nothing_to_say_has_no_events():
    data, frame = events("policy-verdict", "monitor", "m99dv")
    assert data == b""
    assert frame.empty
    assert list(frame.columns) == cilium_monitor.EVENTS.names


@pytest.mark.parametrize("kind", ["drop", "policy-verdict"])
def test_a_last_line_cut_in_two_is_left_out_and_told(kind):
    data, whole = events(kind, "policy-deny-all", "m99dv")
    cut = data.rstrip(b"\n")[:-9]
    frame = cilium_monitor.events(cut)
    assert len(frame) == len(whole) - 1
    half = cut.decode().split("\n")[-1]
    assert cilium_monitor.cut(cut) == half
    assert half


def test_a_last_line_that_is_whole_json_counts_without_its_line_break():
    data, whole = events("drop", "policy-deny-all", "m99dv")
    assert len(cilium_monitor.events(data.rstrip(b"\n"))) == len(whole)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        # before 1.13: no `auth`; identities in words
        (
            ("world", 6, "ingress", "deny", "", "none", "172.26.50.201:60556 -> 10.0.1.185:8082 tcp SYN"),
            {"src_identity": 2, "dst_port": 8082, "protocol": "TCP", "tcp_flags": "SYN"},
        ),
        (
            ("remote-node", 6, "ingress", "allow", "auth: disabled, ", "L3-L4", "[fd00::22]:58416 -> [fd00::9]:90 tcp SYN, ACK"),
            {"src_identity": 6, "src_ip": "fd00::22", "src_port": 58416, "dst_port": 90, "tcp_flags": "SYN,ACK"},
        ),
        (
            ("2", 58, "egress", "audit", "auth: disabled, ", "none", "fe80::1 -> ff02::2 icmp RouterSolicitation"),
            {"dst_identity": 2, "dst_ip": "ff02::2", "protocol": "ICMPv6", "icmp_type": "RouterSolicitation"},
        ),
    ],
)  # fmt: skip
def test_other_forms_of_a_verdict(words, wanted):
    row = cilium_monitor.events(VERDICT.format(*words).encode() + b"\n").iloc[0]
    assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"trace","cpu":"CPU 00:"\n{"type":"drop"}\n',  # broken, and not the last line
        b'{"type":"trace"\n',  # broken, and the line ended
        b"-> endpoint 958 flow 0x0 , identity 46548->18648 state new ifindex lxc1\n",  # without -j
        b"[1]\n",
        b'{"cpu":"CPU 00:"}\n',
        b'{"type":"trace","cpu":"CPU zero:"}\n',
        VERDICT.format("unheard-of", 6, "ingress", "deny", "", "none", "10.0.0.1:1 -> 10.0.0.2:2").encode()
        + b"\n",
        VERDICT.format("2", 6, "ingress", "deny", "", "none", "10.0.0.1:1 -> nowhere").encode() + b"\n",
        b"Usage:\n  cilium-dbg monitor [flags]\n",
        b"\xff\n",
    ],
)
def test_what_is_no_event_is_refused(data):
    with pytest.raises(ParseError, match="cilium-dbg monitor"):
        cilium_monitor.events(data)
