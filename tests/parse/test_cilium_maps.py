"""Maps and tables of the kernel: their forms are held against each other."""

import json

import pandas as pd
import pytest

from labkit.errors import ParseError
from labkit.parse import (
    cilium_ct,
    cilium_ipcache,
    cilium_lb,
    cilium_maglev,
    cilium_map,
    cilium_metrics,
    cilium_nat,
)
from tests.conftest import recorded

AGENTS = ("m99dv", "szxb5")
CT = "cilium-dbg bpf ct list global"


def exactly(words, agent="m99dv", step="baseline"):
    return next(
        r for r in recorded("cilium", words, step=step, subject=agent) if r.request.words == words
    ).stdout


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("step", ["baseline", "load-balancing"])
def test_connections_are_the_same_in_both_forms(step, agent):
    """The proof that addresses are swapped in the JSON, that ports are not, and which bytes come first."""
    frames = [
        cilium_ct.connections(exactly(CT + " -o json", agent, step)),
        cilium_ct.connections_text(exactly(CT, agent, step)),
    ]
    stable = [
        "protocol",
        "direction",
        "src_ip",
        "src_port",
        "dst_ip",
        "dst_port",
        "service",
        "related",
        "identity",
    ]
    rows = [set(frame[stable].itertuples(index=False, name=None)) for frame in frames]
    assert len(rows[0]) == len(frames[0])
    assert len(rows[0] & rows[1]) >= 0.97 * len(rows[0])  # what came and went between the two commands
    joined = frames[0].merge(frames[1], on=stable)
    same = ["flags", "expires_s", "packets", "counted_bytes", "service_id", "backend_id"]
    still = joined[joined["expires_s_x"] == joined["expires_s_y"]]
    assert len(still) >= 0.8 * len(joined)
    for name in same:
        pd.testing.assert_series_equal(still[f"{name}_x"], still[f"{name}_y"], check_names=False)


def test_a_line_and_its_entry():
    frame = cilium_ct.connections(exactly(CT + " -o json"))
    line = "TCP OUT 10.245.0.183:39204 -> 10.245.1.206:80 expires=6605 Packets=0 "
    assert line in exactly(CT).decode()
    mine = frame[frame["src_port"] == 39204].iloc[0]
    assert (mine["src_ip"], mine["dst_ip"], mine["dst_port"], mine["expires_s"]) == (
        "10.245.0.183",
        "10.245.1.206",
        80,
        6605,
    )
    assert (mine["direction"], mine["identity"], mine["flags"]) == (
        "OUT",
        46548,
        "RxClosing,TxClosing,SeenNonSyn",
    )
    assert mine[["packets", "counted_bytes", "service_id", "backend_id"]].isna().all()


def test_packets_that_are_counted_and_a_service_entry():
    entry = json.loads(exactly(CT + " -o json"))[0]
    entry["Key"]["Flags"] = 4
    entry["Value"] |= {"Packets": 3, "Bytes": 200, "RevNAT": 1536, "Union0": [0, 9], "Flags": 1024 + 32}
    found = cilium_ct.connections(json.dumps([entry]).encode()).iloc[0]
    assert (found["packets"], found["counted_bytes"], found["service_id"], found["backend_id"]) == (
        3,
        200,
        6,
        9,
    )
    assert (bool(found["service"]), found["direction"], found["flags"]) == (
        True,
        "OUT",
        "NodePort,FromTunnel",
    )
    line = (
        exactly(CT)
        .splitlines()[0]
        .replace(b" expires", b" service expires")
        .replace(b"Packets=0 Bytes=0", b"Packets=3 Bytes=200")
    )
    told = cilium_ct.connections_text(
        line.replace(b"RevNAT=0", b"RevNAT=6").replace(b"BackendID=0", b"BackendID=9")
    ).iloc[0]
    assert (told["packets"], told["service_id"], told["backend_id"], bool(told["service"])) == (3, 6, 9, True)


def test_no_connection_table_line_is_skipped():
    lines = exactly(CT).splitlines()
    assert len(cilium_ct.connections_text(b"\n".join(lines))) == sum(1 for line in lines if line.strip())
    with pytest.raises(ParseError, match="line 2"):
        cilium_ct.connections_text(lines[0] + b"\nTCP OUT 10.0.0.1 -> nowhere\n")


@pytest.mark.parametrize("agent", AGENTS)
def test_the_nat_table_agrees_with_its_text_form(agent):
    frame = cilium_nat.nat(exactly("cilium-dbg bpf nat list -o json", agent))
    lines = {
        f"{r['protocol']} {r['direction']} {r['src_ip']}:{r['src_port']} -> {r['dst_ip']}:{r['dst_port']} "
        f"XLATE_{'SRC' if r['direction'] == 'OUT' else 'DST'} {r['to_ip']}:{r['to_port']}"
        for r in frame.to_dict("records")
    }
    text = exactly("cilium-dbg bpf nat list", agent).decode()
    told = {line.partition(" Created=")[0] for line in text.splitlines() if line.strip()}
    assert len(lines & told) >= 0.95 * len(told)


def test_the_service_map_agrees_with_the_raw_one_and_the_services():
    slots = cilium_lb.lb_map(exactly("cilium-dbg bpf lb list -o json"))
    raw = cilium_lb.frontends(exactly("cilium-dbg bpf lb list --frontends"))
    key = ["frontend_ip", "port", "protocol", "scope", "slot", "service_id"]
    assert slots[key].equals(raw[key])
    heads = raw[raw["slot"] == 0].set_index(["frontend_ip", "port", "protocol"])
    assert heads.loc[("10.0.234.81", 80, "TCP"), "backends"] == 2
    assert heads["affinity_s"].dropna().unique().tolist() == [10800]
    mine = slots[(slots["frontend_ip"] == "10.0.234.81") & (slots["slot"] > 0)]
    assert mine["backend_ip"].tolist() == ["10.245.0.165", "10.245.1.206"]
    assert mine["backend_port"].tolist() == [80, 80]
    assert slots["flags"].dropna().unique().tolist() == [
        "ClusterIP,non-routable", "ClusterIP", "ClusterIP,InternalLocal", "ClusterIP,sessionAffinity",
    ]  # fmt: skip


def test_backends_are_printed_without_their_port():
    frame = cilium_lb.backends(exactly("cilium-dbg bpf lb list --backends")).set_index("backend_id")
    assert len(frame) == 13
    assert frame.loc[8].tolist() == ["TCP", "10.245.1.206"]


def test_the_reverse_map_gives_back_the_frontends():
    back = cilium_lb.revnat(exactly("cilium-dbg bpf lb list --revnat"))
    raw = cilium_lb.frontends(exactly("cilium-dbg bpf lb list --frontends"))
    heads = raw[(raw["slot"] == 0) & (raw["service_id"] > 0)].sort_values("service_id")
    assert back.to_numpy().tolist() == heads[["service_id", "frontend_ip", "port"]].to_numpy().tolist()


def test_frontends_of_other_kinds():
    data = {
        "[fd00::1]:80/TCP (1)": ["[fd00::2]:8080/TCP (7) (1)"],
        "10.0.0.9:80/TCP/i (0)": ["0.0.0.0:0 (3) (0) [NodePort, Local] "],
    }
    frame = cilium_lb.lb_map(json.dumps(data).encode()).set_index("scope")
    assert frame.loc["external", ["frontend_ip", "backend_ip", "backend_port"]].tolist() == [
        "fd00::1",
        "fd00::2",
        8080,
    ]
    assert frame.loc["internal", "flags"] == "NodePort,Local"


@pytest.mark.parametrize("entry", [
    {"10.0.0.1:443 (1)": ["10.241.0.10:6443 (1) (1)"]},  # no protocol: a version that was never seen
    {"10.0.0.1:443/TCP (1)": ["10.241.0.10:6443/TCP"]},
    {"10.0.0.1:443/TCP (1)": "10.241.0.10:6443/TCP (1) (1)"},
])  # fmt: skip
def test_a_slot_that_cannot_be_read_is_refused(entry):
    with pytest.raises(ParseError, match="lb list"):
        cilium_lb.lb_map(json.dumps(entry).encode())


def test_maglev_tables():
    data = exactly("cilium-dbg bpf lb maglev list -o json")
    counts = cilium_maglev.maglev(data).set_index(["service_id", "backend_id"])["slots"]
    assert (counts[6, 8], counts[6, 9], counts[1, 1]) == (8190, 8191, 16381)
    tables = cilium_maglev.maglev_tables(data).set_index("service_id")
    assert tables.loc[6, "slots"].startswith("9,8,8,9,8,8,9,9,9,8,9")
    text = exactly("cilium-dbg bpf lb maglev list").decode()
    line = next(line for line in text.splitlines() if line.startswith("[6]/v4"))
    assert line.split(None, 1)[1].strip("[] ").replace(" ", ",") == tables.loc[6, "slots"]


def test_no_maglev_table_is_an_empty_frame():
    assert cilium_maglev.maglev(b"{}\n").columns.tolist() == cilium_maglev.MAGLEV.names


@pytest.mark.parametrize(
    "data", [b'{"[6]/v4": ["[9 8 x]"]}', b'{"[6]/v4": []}', b'{"[6]": ["[9 8]"]}', b'{"[6]/v4": ["[]"]}']
)
def test_what_is_no_maglev_table_is_refused(data):
    with pytest.raises(ParseError, match="maglev list"):
        cilium_maglev.maglev(data)


def test_the_ipcache_names_nodes_of_remote_addresses():
    frame = cilium_ipcache.ipcache(exactly("cilium-dbg bpf ipcache list -o json")).set_index("prefix")
    remote, own = frame.loc["10.245.1.31/32"], frame.loc["10.245.0.165/32"]
    assert (remote["identity"], remote["tunnel_endpoint"], remote["flags"]) == (
        13566,
        "10.241.0.5",
        "hastunnel",
    )
    assert (own["identity"], own["flags"]) == (18648, "")
    assert pd.isna(own["tunnel_endpoint"])
    with pytest.raises(ParseError, match="ipcache"):
        cilium_ipcache.ipcache(b'{"10.0.0.1/32": ["identity=x"]}')


def test_metrics_keep_zero_bytes_of_events_that_are_no_packets():
    frame = cilium_metrics.metrics(exactly("cilium-dbg bpf metrics list -o json"))
    mine = frame[frame["file"] == "bpf_sock.c"].iloc[0]
    assert (mine["packets"], mine["counted_bytes"], mine["line"]) == (18, 0, 1231)


def test_what_an_agent_does_not_cache_is_not_counted():
    frame = cilium_map.maps(exactly("cilium-dbg map list -o json")).set_index("map")["cached"]
    text = exactly("cilium-dbg map list").decode().splitlines()[1:]
    told = {line.split()[0]: line.split()[1:] for line in text if line.strip()}
    assert {name for name, (_, _, cached) in told.items() if cached == "false"} == set(
        frame[frame.isna()].index
    )
    kept = {name: int(count) for name, (count, _, cached) in told.items() if cached == "true"}
    assert frame.dropna().astype(int).to_dict() == kept
    # packets write this map, so that the agent's cache stays empty while the map is not
    assert frame["cilium_snat_v4_external"] == 0
    assert len(cilium_nat.nat(exactly("cilium-dbg bpf nat list -o json"))) == 44
