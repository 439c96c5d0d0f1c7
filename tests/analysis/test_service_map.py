"""Connections and edges, of the recorded flows and of a few made by hand."""

import pytest

from labkit.analysis.service_map import connections, edges
from labkit.collect import hubble
from labkit.parse.hubble import FLOWS
from tests.conftest import arm


@pytest.fixture(scope="module")
def flows():
    return hubble.flows(arm("cilium").at("load-balancing")).assign(arm="cilium")


def made(**columns):
    row = dict.fromkeys(FLOWS.names) | {"event": "trace", "uuid": "u", "src_labels": "", "dst_labels": ""}
    return FLOWS.frame([row | columns]).assign(node="n", arm="a")


def test_a_request_is_one_connection_however_many_flows_it_has(flows):
    found = connections(flows)
    mine = found[(found["client"] == "cni-lab/frontend") & (found["server"] == "cni-lab/backend")]
    assert len(mine) == 167
    assert mine["client_port"].is_unique
    assert (mine["server_port"] == 80).all()
    assert mine["opened"].sum() == 166  # one was open when the answer begins
    assert mine["events"].sum() == 1714
    assert set(mine["nodes"]) == {"cilium-node-0", "cilium-node-1", "cilium-node-0,cilium-node-1"}


def test_replies_point_back_to_the_client(flows):
    found = connections(flows)
    assert not ((found["client"] == "cni-lab/backend") & (found["server"] == "cni-lab/frontend")).any()


def test_verdicts_beside_a_drop_do_not_count():
    denied = hubble.dropped(arm("cilium").at("policy-deny-all")).assign(arm="cilium")
    found = connections(denied)
    policy = found[found["drop_reason"] == "POLICY_DENIED"]
    assert policy["events"].sum() == 63
    assert (policy["verdict"] == "DROPPED").all()


def test_a_connect_is_no_packet(flows):
    assert not connections(flows)["server_ip"].eq("10.0.234.81").any()


def test_an_icmp_error_belongs_to_the_client_that_caused_it():
    error = made(
        trace_reason="RELATED", is_reply=False, protocol="ICMPv4", src_ip="10.0.0.2", dst_ip="10.0.0.1"
    )
    (row,) = connections(error).to_dict("records")
    assert (row["client_ip"], row["server_ip"]) == ("10.0.0.1", "10.0.0.2")


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"src_namespace": "n", "src_app": "a", "src_pod": "a-1"}, "n/a"),
        ({"src_namespace": "n", "src_pod": "bare"}, "n/bare"),
        ({"src_reserved": "kube-apiserver,world"}, "kube-apiserver"),
        ({"src_ip": "10.9.9.9"}, "10.9.9.9"),
        ({"src_ip": "fe80::1", "src_reserved": "world"}, "IPv6 link-local"),
    ],
)
def test_names_of_ends(columns, name):
    assert connections(made(**columns))["client"].tolist() == [name]


def test_edges_count_connections_and_name_ports(flows):
    top = edges(connections(flows)).iloc[0]
    assert top[["client", "server", "protocol", "verdict", "connections", "ports"]].tolist() == [
        "cni-lab/frontend", "cni-lab/backend", "TCP", "FORWARDED", 167, "80",
    ]  # fmt: skip


def test_many_ports_are_summed_up():
    flows = hubble.flows(arm("cilium")).assign(arm="cilium")
    found = edges(connections(flows))
    traceroute = found[(found["protocol"] == "UDP") & (found["verdict"] == "DROPPED")].iloc[0]
    assert traceroute["ports"] == "33434, 33435, 44444, … (9)"
    assert traceroute["drop_reasons"] == "TTL_EXCEEDED"


def test_no_flows_no_edges(flows):
    found = edges(connections(flows.iloc[:0]))
    assert found.empty
    assert {"arm", "client", "server", "verdict", "connections"} <= set(found.columns)
