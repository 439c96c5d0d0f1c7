from functools import cache
from pathlib import Path

import pytest

from labkit.analysis.chains import by_owner
from labkit.analysis.connections import KINDS, by_kind
from labkit.analysis.devices import overview, tunnels, wiring, with_far_ends
from labkit.analysis.mtu import node_mtus, path_mtu
from labkit.analysis.reach import reach
from labkit.analysis.routing import remote_pods, route_to
from labkit.analysis.veth import host_ends
from labkit.collect import kubernetes, node, pod, services
from labkit.parse import iproute_routes

CASES = Path(__file__).parents[1] / "cases" / "iproute"


@cache
def of(cluster, collect):
    """What a collector gives; asked once, since a replay holds no state."""
    return collect(cluster).assign(arm=cluster.arm)


@pytest.fixture(scope="module")
def odd():
    return iproute_routes.routes((CASES / "6.1.0-routes.json").read_bytes())


@pytest.mark.parametrize(
    ("ip", "prefix", "next_hop"),
    [
        ("10.8.3.4", "10.8.0.0/16", "192.0.2.2"),
        ("10.9.0.7", "10.9.0.0/24", None),
        ("8.8.8.8", "default", "192.0.2.1"),
        ("10.99.1.1", "10.99.0.0/16", None),
        ("10.55.0.1", "default", "192.0.2.1"),  # its host route is in another table
        ("2001:db8:7::1", "2001:db8:7::/48", "2001:db8::2"),
        ("2001:db9::1", "default", "2001:db8::1"),
    ],
)
def test_the_longest_prefix_is_taken(odd, ip, prefix, next_hop):
    route = route_to(odd, ip)
    assert (route["prefix"], route["next_hop"]) == (prefix, next_hop)


def test_without_a_route_there_is_none(odd):
    assert route_to(odd[odd["prefix"] != "default"], "8.8.8.8") is None
    assert route_to(odd[:0], "8.8.8.8") is None


@pytest.mark.parametrize(
    ("name", "how", "interface"),
    [
        ("vxlan", "tunnel", "flannel.1"),
        ("routed", "default route", "eth0"),
        ("cilium", "route per node", "eth0"),
    ],
)
def test_how_other_nodes_pods_are_reached(name, how, interface, request):
    cluster = request.getfixturevalue(name)
    found = remote_pods(of(cluster, kubernetes.pods), of(cluster, node.routes), of(cluster, node.links))
    assert found["how"].tolist() == [how, how]
    assert found["interface"].tolist() == [interface, interface]
    assert found["pods"].sum() == (~kubernetes.pods(cluster)["host_network"]).sum()


@pytest.mark.parametrize(
    ("name", "hosts", "master"),
    [
        ("vxlan", ["veth7ea013b9", "vethec241eeb"], ["cni0", "cni0"]),
        ("routed", ["vethb3a97e2c", "veth47b41716"], None),
        ("cilium", ["lxc8c81737501b1", "lxc31aeeadc0e6a"], None),
    ],
)
def test_the_hosts_end_of_a_pod(name, hosts, master, request):
    cluster = request.getfixturevalue(name)
    found = host_ends(pod.links(cluster), kubernetes.pods(cluster), node.links(cluster))
    assert found["host_interface"].tolist() == hosts
    assert (found["pod_mtu"] == found["host_mtu"]).all()
    assert found["master"].isna().all() if master is None else found["master"].tolist() == master


@pytest.mark.parametrize(
    ("name", "largest", "full"), [("vxlan", 1450, False), ("routed", 1500, True), ("cilium", 1500, True)]
)
def test_mtu_between_pods(name, largest, full, request):
    cluster = request.getfixturevalue(name)
    pods, inside, links = of(cluster, kubernetes.pods), of(cluster, pod.links), of(cluster, node.links)
    nodes = node_mtus(links, of(cluster, node.routes))
    assert nodes["node_mtu"].tolist() == [1500, 1500]
    found = path_mtu(
        of(cluster, pod.mtu_probes), of(cluster, pod.path_mtus), pods, host_ends(inside, pods, links), nodes
    )
    assert found["largest_passed"].tolist() == [largest] * 4
    assert (found["largest_passed"] == found["tracepath_mtu"]).all()
    assert (found["largest_passed"] == found["pod_mtu"]).all()
    assert (found["full"] == full).all()
    assert found["path"].value_counts().to_dict() == {"same node": 2, "other node": 2}
    assert found["smallest_failed"].isna().all() == full


def test_probes_smaller_than_the_mtu_prove_nothing(routed):
    pods, inside, links = of(routed, kubernetes.pods), of(routed, pod.links), of(routed, node.links)
    small = of(routed, pod.mtu_probes).query("payload_bytes < 1472")
    found = path_mtu(
        small,
        of(routed, pod.path_mtus),
        pods,
        host_ends(inside, pods, links),
        node_mtus(links, of(routed, node.routes)),
    )
    assert found["full"].isna().all()


def test_chains_by_owner(cluster):
    found = by_owner(of(cluster, services.chains)).set_index(["table", "owner"])
    assert found["rules"].sum() == len(services.rules(cluster))
    ours = found.index.get_level_values("owner")
    assert ("endpoints of kube-proxy (KUBE-SEP-*)" in ours) == (cluster.arm != "cilium")
    assert ("Cilium (CILIUM_*)" in ours) == (cluster.arm == "cilium")
    assert ("masquerade agent (IP-MASQ-*)" in ours) == (cluster.arm == "overlay-routed")
    assert "others" not in ours


def kinds(cluster):
    return by_kind(of(cluster.at("load-balancing"), node.connections), of(cluster, node.links)).set_index(
        "kind"
    )


def test_connections_by_what_they_are(vxlan, routed, cilium):
    service, _, tunnel, *_ = KINDS
    assert kinds(vxlan).loc[service, "connections"] == 1464  # 1416 of HTTP, the others of DNS and the API
    assert kinds(routed).loc[service, "connections"] == 1472
    assert kinds(vxlan).loc[tunnel, "connections"] == kinds(vxlan).loc[tunnel, "unanswered"] == 2958
    assert not {service, tunnel} & set(kinds(cilium).index)
    assert kinds(vxlan)["share_pct"].sum() == pytest.approx(100, abs=0.3)


def test_no_connections_have_no_kinds(vxlan):
    assert by_kind(of(vxlan, node.connections)[:0], of(vxlan, node.links)).empty


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("vxlan", {"loopback": 1, "network card": 1, "tunnel": 1, "bridge": 1, "other end in a pod": 5}),
        ("routed", {"loopback": 1, "network card": 1, "other end in a pod": 5}),
        ("cilium", {"loopback": 1, "network card": 1, "pair within the node": 2, "other end in a pod": 4}),
    ],
)
def test_what_devices_are_for(name, uses, request):
    cluster = request.getfixturevalue(name)
    found = overview(of(cluster, node.links), of(cluster, node.routes))
    first = found[found["node"] == found["node"].iloc[0]]
    assert first.set_index("use")["devices"].to_dict() == uses
    assert found["devices"].sum() == len(node.links(cluster))


def test_names_of_many_devices_are_cut(routed):
    found = overview(of(routed, node.links), of(routed, node.routes)).set_index("use")
    assert found.loc["other end in a pod", "names"].iloc[0].endswith(", and 2 more")
    assert overview(of(routed, node.links)[:0], of(routed, node.routes)[:0]).empty


def test_where_tunnels_lead(vxlan, cilium):
    found = tunnels(of(vxlan, node.links), of(vxlan, node.forwarding), of(vxlan, node.neighbours))
    assert found["far_end"].tolist() == ["10.240.0.5", "10.240.0.4"]
    assert found["next_hop"].tolist() == ["10.244.1.0", "10.244.0.0"]
    remote = remote_pods(of(vxlan, kubernetes.pods), of(vxlan, node.routes), of(vxlan, node.links))
    assert with_far_ends(remote, found)["far_end"].tolist() == ["10.240.0.5", "10.240.0.4"]
    none = tunnels(of(cilium, node.links), of(cilium, node.forwarding), of(cilium, node.neighbours))
    assert none.empty
    remote = remote_pods(of(cilium, kubernetes.pods), of(cilium, node.routes), of(cilium, node.links))
    assert with_far_ends(remote, none)["far_end"].isna().all()


def test_a_tunnel_without_forwarding_entries_is_still_there(vxlan):
    found = tunnels(of(vxlan, node.links), of(vxlan, node.forwarding)[:0], of(vxlan, node.neighbours))
    assert found["interface"].tolist() == ["flannel.1", "flannel.1"]
    assert found["far_end"].isna().all()


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("vxlan", ["10.244.0.4/24", "10.244.0.1", "eth0", 1450, "veth7ea013b9", "veth", 1450, "cni0"]),
        ("cilium", ["10.245.1.51/32", "10.245.1.43", "eth0", 1500, "lxc8c81737501b1", "veth", 1500, None]),
    ],
)
def test_how_a_pod_is_wired(name, row, request):
    cluster = request.getfixturevalue(name)
    ends = host_ends(of(cluster, pod.links), of(cluster, kubernetes.pods), of(cluster, node.links))
    found = wiring(ends, of(cluster, pod.addresses), of(cluster, pod.routes))
    first = found.drop(columns=["arm", "pod", "node"]).iloc[0]
    assert first.astype(object).where(first.notna(), None).tolist() == row
    assert len(found) == 2


def sizes(cluster):
    pods, inside, links = of(cluster, kubernetes.pods), of(cluster, pod.links), of(cluster, node.links)
    nodes = node_mtus(links, of(cluster, node.routes))
    ends = host_ends(inside, pods, links)
    return path_mtu(of(cluster, pod.mtu_probes), of(cluster, pod.path_mtus), pods, ends, nodes)


@pytest.mark.parametrize(
    ("name", "trace"),
    [
        ("vxlan", "10.244.0.1 > 10.244.1.0 > 10.244.1.3"),
        ("routed", "10.246.0.1 > 10.242.0.1 > 10.242.0.5 > 10.246.1.3"),
        ("cilium", "* > * > 10.245.0.165"),
    ],
)
def test_reach_of_the_first_pod(name, trace, request):
    cluster = request.getfixturevalue(name)
    found = reach(of(cluster, pod.hops), of(cluster, pod.pings), sizes(cluster))
    away = found[found["path"] == "other node"].iloc[0]
    assert (away["trace"], away["hops"]) == (trace, len(trace.split(" > ")))
    assert (away["sent"], away["received"]) == (3, 3)
    assert len(found) == 4


def test_nothing_asked_is_nothing_reached(routed):
    found = reach(of(routed, pod.hops)[:0], of(routed, pod.pings)[:0], sizes(routed)[:0])
    assert found.empty
    assert "trace" in found.columns
