"""What stands in for an image, and what a pod's object asks for."""

import pytest

from labkit.errors import ProvisionError
from labkit.netns import pods
from labkit.netns.containers import ENVIRONMENT
from labkit.netns.images import IMAGES, image
from labkit.netns.topology import TOPOLOGIES
from tests.netns.conftest import pod, variable


@pytest.mark.parametrize("name", [
    "nginx", "nginx:1.27", "docker.io/library/nginx", "localhost:5000/mirror/nginx:1", "nginx@sha256:00", "a.io/nginx:1@sha256:00",
])  # fmt: skip
def test_an_image_is_known_by_its_name_alone(name):
    assert image(name) is IMAGES["nginx"]


def test_an_image_that_nothing_stands_in_for():
    with pytest.raises(ProvisionError, match="the image redis:7; it has nginx, httpd"):
        image("redis:7")


def test_command_and_args_replace_what_kubernetes_says():
    iperf = IMAGES["iperf3"]
    assert iperf.argv() == ["iperf3", "--help"]
    assert iperf.argv(args=["-s"]) == ["iperf3", "-s"]
    assert iperf.argv(command=["sleep"], args=["1"]) == ["sleep", "1"]
    assert iperf.argv(command=["true"]) == ["true"]


def wanted(**container):
    (found,) = pods.containers(pod("a", "node-1", **container), "10.244.0.9", "10.224.0.4", None)
    return found


def test_environment_and_commands_are_filled_in_from_the_pod():
    found = wanted(
        env=[variable("IP", "status.podIP"), variable("WHERE", "spec.nodeName"), {"name": "BOTH", "value": "$(IP) on $(WHERE)"}],
        command=["sh", "-c", "echo $(BOTH) $(hostname)"],
    )  # fmt: skip
    assert found.argv == ("sh", "-c", "echo 10.244.0.9 on node-1 $(hostname)")
    assert found.environment == {
        **ENVIRONMENT, "HOSTNAME": "a", "IP": "10.244.0.9", "WHERE": "node-1", "BOTH": "10.244.0.9 on node-1",
    }  # fmt: skip


def test_what_a_lab_cannot_give_is_refused_by_name():
    with pytest.raises(ProvisionError, match=r"variable CPU of pod a: .* not other sources"):
        wanted(env=[{"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}])
    mounted = pod("a", "node-1")
    mounted["spec"]["volumes"] = [{"name": "settings", "configMap": {"name": "x"}}]
    with pytest.raises(ProvisionError, match="volume settings of pod a"):
        pods.containers(mounted, "10.244.0.9", "10.224.0.4", None)


@pytest.mark.parametrize(("spec", "asks"), [
    ({}, True), ({"dnsPolicy": "Default"}, False), ({"hostNetwork": True}, False),
    ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, True),
])  # fmt: skip
def test_who_asks_the_clusters_resolver(spec, asks):
    item = pod("a", "node-1")
    item["spec"] |= spec
    written = pods.texts(TOPOLOGIES["vxlan"], item, "10.244.0.9")["/etc/resolv.conf"]
    assert ("nameserver 10.0.0.10" in written) is asks
