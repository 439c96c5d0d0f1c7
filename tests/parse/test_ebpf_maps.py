"""Maps of the ebpf topology, as bpftool printed them on a node with one policy and a few connections."""

from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import ebpf_maps

CASES = Path(__file__).parents[1] / "cases" / "bpftool"
PARSERS = {
    "services": ebpf_maps.frontends,
    "backends": ebpf_maps.backends,
    "isolated": ebpf_maps.isolated,
    "policy-peers": ebpf_maps.peers,
    "policy-ports": ebpf_maps.ports,
    "counters": ebpf_maps.counters,
    "connections": ebpf_maps.connections,
}


def read(name):
    return PARSERS[name]((CASES / f"7.1-ebpf-{name}.json").read_bytes())


def test_services_and_their_backends():
    assert read("services").fillna(0).to_numpy().tolist() == [
        ["10.0.1.1", "TCP", 80, 1, 2, 10800],
        ["10.0.1.1", "UDP", 80, 2, 2, 10800],
        ["10.0.1.2", "TCP", 80, 3, 0, 0],
    ]
    found = read("backends")
    assert found[["service", "slot", "backend_ip", "backend_port"]].to_numpy().tolist() == [
        [number, slot, ip, 8080]
        for number in (1, 2)
        for slot, ip in enumerate(("10.244.0.11", "10.244.1.10"))
    ]
    assert found.groupby("service")["chosen"].sum().tolist() == [3, 1]


def test_policy():
    assert read("isolated").to_numpy().tolist() == [["10.244.0.11", "ingress"]]
    peers, ports = read("policy-peers"), read("policy-ports")
    everything = ports.loc[ports["protocol"].isna(), "ports"].item()
    assert peers.loc[peers["ports"] == everything, "prefix"].tolist() == ["10.224.0.4/32", "192.0.2.0/24"]
    client = peers.loc[peers["prefix"] == "10.244.0.10/32", "ports"].item()
    opened = ports[ports["ports"] == client].set_index("protocol")
    assert opened.loc["TCP", ["first_port", "last_port"]].tolist() == [8080, 8083]
    assert opened.loc["UDP", ["first_port", "last_port"]].isna().all()
    excepted = peers.loc[peers["prefix"] == "192.0.2.128/25", "ports"].item()
    assert not (ports["ports"] == excepted).any()


def test_counters_are_summed_over_processors():
    found = read("counters").set_index(["ip", "direction", "outcome"])
    assert found.loc[("10.244.0.11", "ingress", "denied"), "packets"] == 1
    assert found.loc[("10.244.0.10", "egress", "no-backend"), ["packets", "total_bytes"]].tolist() == [1, 74]
    assert found.loc[("10.244.0.10", "egress", "forwarded"), "packets"] > 10


def test_a_connection_to_a_service_stands_before_and_after_translation():
    found = read("connections")
    mine = found[(found["protocol"] == "UDP")].set_index("scope")
    assert mine.loc["service", ["server_ip", "server_port", "other_ip", "other_port"]].tolist() == [
        "10.0.1.1",
        80,
        "10.244.1.10",
        8080,
    ]
    assert mine.loc["outbound", ["server_ip", "server_port", "other_ip", "other_port"]].tolist() == [
        "10.244.1.10",
        8080,
        "10.0.1.1",
        80,
    ]
    assert found.loc[found["protocol"] == "TCP", "closing"].all()
    assert found.loc[found["protocol"] == "ICMP", "other_ip"].isna().all()


@pytest.mark.parametrize("name", PARSERS)
def test_an_empty_map_has_every_column(name):
    assert PARSERS[name](b"[]").columns.tolist() == read(name).columns.tolist()


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{\n",
        b'{"error":"bpf obj get (/sys/fs/bpf/x): No such file or directory"}',
        b'[{"key":["0x01"],"value":["0x02"]}]',
        b'[{"formatted":{"key":{},"value":{},"values":[]}}]',
    ],
)
def test_what_is_no_such_map_is_refused(name, data):
    with pytest.raises(ParseError, match="bpftool"):
        PARSERS[name](data)
