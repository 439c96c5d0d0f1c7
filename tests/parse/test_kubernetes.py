import json

import pytest

from labkit.errors import ParseError
from labkit.parse import kubernetes as parse
from tests.conftest import recorded


def test_nodes_have_their_pod_ranges(cluster):
    frame = parse.nodes(cluster.read("/api/v1/nodes").stdout)
    assert len(frame) == 2
    assert frame["pod_cidr"].str.endswith("/24").all()
    assert frame["ready"].all()


def test_pods_keep_host_network_and_placement():
    (reply,) = recorded("cilium", "GET /api/v1/pods")
    frame = parse.pods(reply.stdout).set_index("pod")
    agent = frame.loc["cilium-m99dv"]
    assert (agent["node"], agent["pod_ip"], bool(agent["host_network"])) == (
        "cilium-node-0",
        "10.241.0.4",
        True,
    )


def test_headless_service_has_no_address():
    (reply,) = recorded("cilium", "GET /api/v1/services")
    frame = parse.services(reply.stdout).set_index("service")
    assert frame.loc["hubble-metrics", "cluster_ip"] != frame.loc["hubble-metrics", "cluster_ip"]  # NA


def test_an_empty_list_keeps_every_column():
    frame = parse.services(b'{"items": []}')
    assert list(frame.columns) == parse.SERVICES.names
    assert frame.empty
    assert str(frame["port"].dtype) == "Int64"


@pytest.mark.parametrize("data", [b"", b"<html>", b'{"kind": "Status"}', b'{"items": [{"metadata": {}}]}'])
def test_what_is_no_list_of_nodes_is_refused(data):
    with pytest.raises(ParseError, match="the API server"):
        parse.nodes(data)


def test_config_map_that_is_missing_is_none():
    data = json.dumps({"items": [{"metadata": {"name": "coredns"}, "data": {"Corefile": "."}}]}).encode()
    assert parse.config_map(data, "cilium-config") is None
    assert parse.config_map(data, "coredns") == {"Corefile": "."}


def test_the_first_address_of_a_node_is_its_own(vxlan):
    listed = json.loads(vxlan.read("/api/v1/nodes").stdout)
    first, second = listed["items"]
    first["status"]["addresses"].append({"type": "InternalIP", "address": "fd00::4"})
    second["status"]["addresses"] = [{"type": "Hostname", "address": "b"}]
    found = parse.nodes(json.dumps(listed).encode())["node_ip"]
    assert found[0] == parse.nodes(vxlan.read("/api/v1/nodes").stdout)["node_ip"][0]
    assert found.isna().tolist() == [False, True]
