from functools import cache

import pytest

from labkit.analysis.service_tree import of_service, tree, with_pods
from labkit.collect import kubernetes, services
from labkit.figures.service_tree import service_tree
from labkit.schema import concat


@cache
def of(cluster, collect):
    """What a collector gives; asked once, since a replay holds no state."""
    return collect(cluster).assign(arm=cluster.arm)


def words(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.axes[0].texts]


def trees(*clusters):
    rules = concat(of(c.at("load-balancing"), services.rules) for c in clusters)
    return with_pods(tree(rules), concat(of(c, kubernetes.pods) for c in clusters))


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
