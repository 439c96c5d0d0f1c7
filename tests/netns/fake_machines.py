"""Machines without a kernel: they give addresses, remember what they were asked, and listen where a pod says."""

import threading
from collections import deque
from ipaddress import ip_network

from labkit.errors import ProvisionError
from labkit.netns.machines import Done
from labkit.netns.topology import TOPOLOGIES


class FakeMachines:
    """`deaf` images never listen, `broken` ones cannot be started. `exits` gives exit codes by container."""

    def __init__(self, topology="routed"):
        self.topology = TOPOLOGIES[topology]
        self.pods, self.ran, self.written = {}, [], {}
        self.started, self.stopped = [], []
        self.exits = {}
        self._lock = threading.Lock()
        self._free = {
            node.name: deque(str(ip) for ip in list(ip_network(node.pod_cidr).hosts())[1:])
            for node in self.topology.nodes
        }

    def start(self, pod):
        place = pod["metadata"]["namespace"], pod["metadata"]["name"]
        images = [container["image"] for container in pod["spec"]["containers"]]
        with self._lock:
            assert place not in self.pods, "started twice"
            self.started.append(place)
            if "broken" in images:
                raise ProvisionError("there is nothing that stands in for the image broken")
            node = next(n for n in self.topology.nodes if n.name == pod["spec"]["nodeName"])
            self.pods[place] = pod
            return node.ip if pod["spec"].get("hostNetwork") else self._free[node.name].popleft()

    def stop(self, namespace, name):
        with self._lock:
            self.stopped.append((namespace, name))
            self.pods.pop((namespace, name), None)

    def listening(self, namespace, name):
        pod = self.pods[namespace, name]
        return {
            (port["protocol"], port["containerPort"])
            for container in pod["spec"]["containers"]
            if container["image"] != "deaf"
            for port in container.get("ports", ())
        }

    def running(self, namespace, name):
        pod = self.pods[namespace, name]
        return {c["name"]: self.exits.get(c["name"]) for c in pod["spec"]["containers"]}

    def run(self, target, argv, *, stdin=b"", limit_s=120.0):  # noqa: ARG002
        with self._lock:
            self.ran.append((target, tuple(argv), stdin))
        return Done(0, b"", b"")

    def write(self, target, path, content):
        self.written[target, path] = content

    def logs(self, target, tail):
        raise KeyError(target, tail)
