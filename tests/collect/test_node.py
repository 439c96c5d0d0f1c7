import pytest

from labkit.collect import kubernetes, node, pod, services

COLLECTORS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
    for module in (node, pod, services)
    for name in module.__all__
    if hasattr(getattr(module, name), "schema")
}


@pytest.mark.parametrize("name", COLLECTORS)
def test_every_collector_gives_what_it_declares(cluster, name):
    collect = COLLECTORS[name]
    frame = collect(cluster)
    assert list(frame.columns) == collect.schema.names
    assert not (frame.dtypes == object).any()
    assert frame["reply"].str.fullmatch(r"r\d{5}").all()
    whose = frame.columns[0]
    known = kubernetes.nodes(cluster)["node"] if whose == "node" else kubernetes.pods(cluster)["pod"]
    assert frame[whose].isin(known).all()


def test_there_are_collectors():
    assert len(COLLECTORS) > 25


def test_both_nodes_are_asked(cluster):
    for collect in (node.links, node.routes, node.connections, services.rules):
        assert collect(cluster)["node"].nunique() == 2


def test_connections_of_another_step(vxlan):
    assert len(node.connections(vxlan.at("load-balancing"))) > 10 * len(node.connections(vxlan))


def test_brctl_that_lists_nothing_still_has_replies(routed):
    assert node.brctl(routed).empty
    assert node.brctl_replies(routed) == ["r00032", "r00086"]


def test_both_ways_name_the_same_host_device(cluster):
    inside = pod.links(cluster)
    eth0 = inside[inside["interface"] == "eth0"].set_index("pod")["peer_ifindex"]
    assert eth0.to_dict() == pod.iflinks(cluster).set_index("pod")["peer_ifindex"].to_dict()


def test_probes_of_three_sizes_from_two_pods_to_two(cluster):
    probes = pod.mtu_probes(cluster)
    assert len(probes) == 12
    assert set(probes["payload_bytes"]) == set(pod.PROBES)


def test_probes_that_are_too_large_are_errors(vxlan):
    probes = pod.mtu_probes(vxlan)
    large = probes[probes["payload_bytes"] == 1472]
    assert (large["received"] == 0).all()
    assert (large["errors"] == 1).all()


def test_the_service_is_fetched_by_name_and_by_address(cluster):
    found = pod.transfers(cluster)
    assert (found["http_code"] == 200).all()
    assert found["url"].nunique() == 2
    assert found["remote_ip"].nunique() == 1
