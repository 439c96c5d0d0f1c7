"""Arms that answer what a design asks, with speeds that a test states. Their replies have the tools' own shape."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from labkit.cluster import Cluster
from labkit.collect.plan import Plan
from labkit.errors import ConnectionLost
from labkit.exec.request import Reply
from labkit.measure.design import Design, Scenario
from tests.conftest import recorded

NODES = {"node-a": "192.0.2.1", "node-b": "192.0.2.2"}
BEGIN = datetime(2026, 11, 27, tzinfo=UTC)
SMALL = Design(
    scenarios=("rr/other-node/pod-ip/64/0", "crr/other-node/cluster-ip/64/0", "rr/other-node/host/64/0",
               "rr/other-node/pod-ip/64/60", "stream/other-node/pod-ip/0/0"),
    rounds=3, most_rounds=6, requests=50,
)  # fmt: skip


@cache
def iperf3_reply():
    return json.loads(recorded("cilium", "iperf3 -J -c", step="performance")[0].stdout)


def pod(name, app, node, ip):
    meta = {"name": name, "namespace": "cni-lab", "labels": {"app": app}}
    return {"metadata": meta, "spec": {"nodeName": node, "containers": []}, "status": {"podIP": ip}}


def service(name, ip):
    ports = [("TCP", 80), ("TCP", 5201), ("UDP", 5201), ("TCP", 5202), ("UDP", 5202)]
    told = [{"protocol": p, "port": n, "nodePort": 30000 + k} for k, (p, n) in enumerate(ports)]
    return {"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": told}}


@dataclass
class Clock:
    """Passes a second with each request, on all arms alike."""

    now: int = 0


@dataclass
class MadeUp:
    """`latency_us` and `bps` are what it comes to, with this relative noise; `asked` is all that it was asked."""

    latency_us: float = 100.0
    bps: float = 1e9
    noise: float = 0.0
    seed: int = 1
    design: Design | None = SMALL
    far_node: str = "node-b"
    address_type: str = "InternalIP"
    ends_after: int = 10**9
    lost_after: int = 10**9
    clock: Clock = field(default_factory=Clock)
    asked: list = field(default_factory=list)
    told: list = field(default_factory=list)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)
        plan = replace(Plan(), turns=self.design.to_json() if self.design else None)
        self.about = {
            "name": "made-up",
            "origin": "synthetic",
            "namespace": "cni-lab",
            "plan": plan.to_json(),
        }

    def run(self, request):
        self.clock.now += 1
        self.asked.append((self.clock.now, request))
        if len(self.asked) > self.lost_after:
            raise ConnectionLost("the socket was cut", request)
        at = BEGIN + timedelta(seconds=self.clock.now)
        return Reply(f"r{len(self.asked):05d}", request, at, 0.5, 0, self.answer(request), b"")

    def answer(self, request):
        if request.kind == "read":
            return json.dumps({"items": self.items(request.path)}).encode()
        match request.argv[0]:
            case "cat":
                return (STAT % {"ticks": 1000 + 100 * self.clock.now}).encode()
            case "iperf3":
                told = iperf3_reply()
                told["end"]["sum_received"]["bits_per_second"] = self.bps * self.factor()
                return json.dumps(told).encode()
        return self.probe(request.argv[3:])

    def probe(self, words):
        pattern, count = words[0], int(words[3])
        middle = self.latency_us * self.factor()
        latency = [int(1000 * middle * (0.9 + 0.2 * k / count)) for k in range(count)]
        rate = float(words[words.index("--rate") + 1]) if "--rate" in words else 0.0
        return json.dumps({
            "pattern": pattern, "size": 64, "rate": rate, "late": 0, "took_ns": sum(latency), "errors": [],
            "failed": 0, "count": count, "overhead_ns": 1500, "latency_ns": latency,
            "connect_ns": latency if pattern == "crr" else [],
        }).encode()  # fmt: skip

    def factor(self):
        return float(np.exp(self.random.normal(0, self.noise)))

    def items(self, path):
        match path.rpartition("/")[2]:
            case "nodes":
                return [
                    {"metadata": {"name": name, "labels": {}}, "spec": {}, "status": {
                        "addresses": [{"type": self.address_type, "address": ip}],
                        "nodeInfo": {"bootID": f"boot-{name}"}}}
                    for name, ip in NODES.items()
                ]  # fmt: skip
            case "pods":
                return [
                    pod("measure-client-a", "measure-client", "node-a", "10.0.0.1"),
                    pod("measure-near-a", "measure-near", "node-a", "10.0.0.2"),
                    pod("measure-far-a", "measure-far", self.far_node, "10.0.1.2"),
                    *(pod(f"measure-host-{n}", "measure-host", n, ip) for n, ip in NODES.items()),
                ]
        return [service("measure-near-a", "10.96.0.1"), service("measure-far-a", "10.96.0.2")]

    def tell(self, doing):
        self.told.append(doing)

    def wait(self, seconds):
        pass

    def close(self):
        pass


STAT = "cpu  %(ticks)d 0 0 %(ticks)d 0 0 0 0 0 0\ncpu0 %(ticks)d 0 0 %(ticks)d 0 0 0 0 0 0\nsoftirq 0\n"


def arms(**made):
    """Clusters of made-up arms, with one clock."""
    clock = Clock()
    for one in made.values():
        one.clock = clock
    return {name: Cluster(name, f"live:{name}", one) for name, one in made.items()}


def scenario(name):
    return Scenario.named(name)
