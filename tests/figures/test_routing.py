from functools import cache

import pytest

from labkit.analysis.node_path import COLUMNS, Tables, paths
from labkit.analysis.service_tree import of_service, tree, with_pods
from labkit.collect import kubernetes, node, pod, services
from labkit.figures.node_path import node_path
from labkit.figures.service_tree import service_tree
from labkit.schema import concat


@cache
def of(cluster, collect):
    """What a collector gives; asked once, since a replay holds no state."""
    return collect(cluster).assign(arm=cluster.arm)


def words(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.axes[0].texts]


def ways(*clusters):
    collectors = (
        kubernetes.pods,
        pod.links,
        pod.routes,
        node.links,
        node.routes,
        node.neighbours,
        node.forwarding,
    )
    return paths(Tables(*(concat(of(c, collect) for c in clusters) for collect in collectors)))


def trees(*clusters):
    rules = concat(of(c.at("load-balancing"), services.rules) for c in clusters)
    return with_pods(tree(rules), concat(of(c, kubernetes.pods) for c in clusters))


def test_every_device_of_every_arm_is_drawn(vxlan, routed, cilium):
    path = ways(vxlan, routed, cilium)
    shown = words(node_path(path))
    for device in path["device"].dropna().unique():
        assert shown.count(device) == (path["device"] == device).sum()
    assert {f"arm {c.arm}" for c in (vxlan, routed, cilium)} <= set(shown)
    assert "VXLAN 1 in\nUDP 8472" in shown


def test_places_that_no_arm_uses_have_no_column(routed, vxlan):
    assert not {"bridge", "tunnel"} & set(words(node_path(ways(routed))))
    assert words(node_path(ways(vxlan))).count("tunnel") == 2


def test_no_path_is_said():
    import pandas as pd  # noqa: PLC0415

    (text,) = words(node_path(pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)))
    assert text.startswith("No arm has two pods")


@pytest.mark.parametrize("service", ["backend-service", "perf-server"])
def test_the_tree_shows_chains_chances_and_counters(vxlan, routed, service):
    found = of_service(trees(vxlan, routed), service)
    shown = words(service_tree(found))
    for chain in {*found["service_chain"], *found["endpoint_chain"]}:
        assert (
            shown.count(chain) == found[found.isin([chain]).any(axis=1)].groupby(["arm", "service"]).ngroups
        )
    ends = found.drop_duplicates(["arm", "service", "endpoint_ip"])
    assert shown.count("50%") == len(ends)
    for pod_name in ends["pod"]:
        assert pod_name in shown
    bars = [text for text in shown if text.endswith(("node-0", "node-1")) and text[0].isdecimal()]
    assert [int(bar.split(",")[0].split()[0]) for bar in bars] == found.sort_values(
        ["arm", "service", "endpoint", "node"],
        key=lambda c: c if c.name != "arm" else c.map({"overlay-vxlan": 0, "overlay-routed": 1}),
    )["packets"].tolist()


def test_a_tree_of_one_arm(vxlan):
    assert "arm overlay-vxlan" in words(service_tree(of_service(trees(vxlan), "backend-service")))


def test_no_tree_is_said(cilium):
    (text,) = words(service_tree(of_service(trees(cilium), "backend-service")))
    assert text == "No arm has rules of kube-proxy for this Service."
