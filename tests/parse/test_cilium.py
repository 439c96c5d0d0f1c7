"""Every reader of the agent's output: on every recorded reply, on what is cut or garbled, on nothing."""

import json

import pytest

from labkit.errors import ParseError
from labkit.parse import (
    bpftool,
    cilium_config,
    cilium_ct,
    cilium_endpoint,
    cilium_identity,
    cilium_ipcache,
    cilium_lb,
    cilium_maglev,
    cilium_map,
    cilium_metrics,
    cilium_nat,
    cilium_node,
    cilium_policy,
    cilium_service,
    cilium_status,
    cilium_tunnel,
)
from labkit.parse.cilium import host_order, protocol
from tests.conftest import arm, recorded

READERS = {
    "cilium-dbg version": [cilium_status.version],
    "cilium-dbg status --verbose -o json": [
        cilium_status.status,
        cilium_status.map_sizes,
        cilium_status.addresses,
    ],
    "cilium-dbg config": [cilium_config.mutable_options],
    "cilium-dbg config --all -o json": [cilium_config.config],
    "cilium-dbg endpoint list -o json": [cilium_endpoint.endpoints],
    "cilium-dbg bpf endpoint list -o json": [cilium_endpoint.endpoint_map],
    "cilium-dbg identity list -o json": [cilium_identity.identities],
    "cilium-dbg service list -o json": [cilium_service.services],
    "cilium-dbg node list -o json": [cilium_node.peers],
    "cilium-dbg map list -o json": [cilium_map.maps],
    "cilium-dbg bpf lb list -o json": [cilium_lb.lb_map],
    "cilium-dbg bpf lb list --frontends": [cilium_lb.frontends],
    "cilium-dbg bpf lb list --backends": [cilium_lb.backends],
    "cilium-dbg bpf lb list --revnat": [cilium_lb.revnat],
    "cilium-dbg bpf lb maglev list -o json": [cilium_maglev.maglev, cilium_maglev.maglev_tables],
    "cilium-dbg bpf ct list global -o json": [cilium_ct.connections],
    "cilium-dbg bpf ct list global": [cilium_ct.connections_text],
    "cilium-dbg bpf ct list global -d": [cilium_ct.connections_text],
    "cilium-dbg bpf nat list -o json": [cilium_nat.nat],
    "cilium-dbg bpf policy get --all -o json": [cilium_policy.policy_map],
    "cilium-dbg bpf ipcache list -o json": [cilium_ipcache.ipcache],
    "cilium-dbg bpf metrics list -o json": [cilium_metrics.metrics],
    "bpftool -j prog show": [bpftool.programs],
    "bpftool -j map show": [bpftool.bpf_maps],
    "bpftool -j net show": [bpftool.attachments],
}
EACH = [(words, read) for words, readers in READERS.items() for read in readers]
NAMES = [f"{words} {read.__name__}" for words, read in EACH]
JSON = [(words, read) for words, read in EACH if words.endswith("json") or words.startswith("bpftool")]


def replies(words):
    recording = arm("cilium").executor.recording
    asked = [r for r in recording.requests() if r.words == words and "kube-system" in r.subject]
    return [recording.find(request) for request in asked]


@pytest.mark.parametrize(("words", "read"), EACH, ids=NAMES)
def test_every_recorded_reply_is_read(words, read):
    found = replies(words)
    assert len(found) >= 2
    for reply in found:
        frame = read(reply.stdout)
        assert len(frame) > 0 or read is bpftool.attachments
        assert "object" not in set(map(str, frame.dtypes))


@pytest.mark.parametrize(("words", "read"), EACH, ids=NAMES)
def test_what_is_cut_in_two_is_refused(words, read):
    data = replies(words)[0].stdout
    with pytest.raises(ParseError):
        read(data[: data.find(b"\n", len(data) // 2) - 3])


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"Error: Cannot connect to daemon\n", b"[1]", b'["a"]', b'{"a": 1}']
)
@pytest.mark.parametrize("read", [read for _, read in JSON if read is not cilium_config.config])
def test_what_is_none_of_its_json_is_refused(read, data):
    with pytest.raises(ParseError):
        read(data)


@pytest.mark.parametrize(
    "read", [read for words, read in EACH if (words, read) not in JSON and "ct list" not in words]
)
@pytest.mark.parametrize("data", [b"", b"\xff", b"Error: Cannot connect to daemon\n", b"ID\nBACKEND"])
def test_what_is_none_of_its_text_is_refused(read, data):
    with pytest.raises(ParseError):
        read(data)


@pytest.mark.parametrize("data", [b"", b"[1]", b"{"])
def test_what_is_no_configuration_is_refused(data):
    with pytest.raises(ParseError):
        cilium_config.config(data)


def test_no_output_of_the_connection_table_is_a_table_without_entries():
    assert cilium_ct.connections_text(b"").columns.tolist() == cilium_ct.CONNECTIONS.names
    with pytest.raises(ParseError, match="line 1"):
        cilium_ct.connections_text(b"Unable to open /sys/fs/bpf/tc/globals/cilium_ct4_global: no such file\n")


def test_go_prints_a_list_without_members_as_null():
    assert cilium_metrics.metrics(b"null\n").empty
    assert cilium_identity.identities(b"null").columns.tolist() == cilium_identity.IDENTITIES.names


def test_ports_in_network_byte_order():
    assert (host_order(13568), host_order(20480), host_order(0)) == (53, 80, 0)
    with pytest.raises(OverflowError):
        host_order(70000)


def test_a_protocol_without_a_name_is_its_number():
    assert (protocol(6), protocol(47)) == ("TCP", "47")


def test_a_missing_sub_command_prints_its_parents_usage_and_exits_0():
    reply = recorded("cilium", "cilium-dbg bpf tunnel list")[0]
    assert reply.exit_code == 0
    with pytest.raises(ParseError, match="no such command"):
        cilium_tunnel.tunnels(reply.stdout)
    with pytest.raises(ParseError):
        cilium_tunnel.tunnels(b"")
    with pytest.raises(ParseError, match="line 2"):
        cilium_tunnel.tunnels(b"TUNNEL   VALUE\nno pair\n")


def test_the_tunnel_map_of_older_versions():
    frame = cilium_tunnel.tunnels(b"TUNNEL         VALUE\n10.245.1.0:0   10.241.0.5:0\n")
    assert frame.iloc[0].tolist() == ["10.245.1.0", "10.241.0.5"]


@pytest.mark.parametrize("name", ["overlay-vxlan", "overlay-routed", "cilium"])
def test_a_node_without_bpftool_answers_nothing_that_could_be_read(name):
    for reply in recorded(name, "bpftool -j", subject="node/"):
        assert reply.exit_code == 1
        with pytest.raises(ParseError):
            bpftool.programs(reply.stdout)


def test_bpftool_says_what_went_wrong():
    with pytest.raises(ParseError, match="Operation not permitted"):
        bpftool.programs(b'{"error":"can\'t get next program: Operation not permitted"}')


def test_programs_of_the_kernel():
    (reply,) = [
        r for r in replies("bpftool -j prog show") if r.request.target.endswith("m99dv/cilium-agent")
    ][:1]
    frame = bpftool.programs(reply.stdout).set_index("program_id")
    assert len(frame) == 198
    connect = frame.loc[3633]
    assert (connect["type"], connect["name"], connect["xlated_bytes"]) == (
        "cgroup_sock_addr",
        "cil_sock4_connect",
        6320,
    )
    assert frame["run_us"].isna().all()  # the kernel did not count


def test_attachments_of_a_bpftool_that_knows_them():
    parts = [{"xdp": [{"devname": "eth0", "ifindex": 2, "mode": "driver", "id": 7}],
              "tc": [{"devname": "lxc1", "ifindex": 9, "kind": "tcx/ingress", "prog_id": 8, "name": "cil_from_container"}],
              "flow_dissector": [], "netfilter": []}]  # fmt: skip
    frame = bpftool.attachments(json.dumps(parts).encode())
    assert frame[["hook", "kind", "program_id"]].to_numpy().tolist() == [
        ["tc", "tcx/ingress", 8],
        ["xdp", "driver", 7],
    ]
