"""A cluster in memory: it keeps what is applied, runs pods for it, and does Services and policies as told to."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

from labkit.errors import NoTarget
from labkit.exec.request import Apply, Delete, Logs, Read, Reply

NODES = ("node-1", "node-2")
ABOUT = {
    "format": 1, "name": "fake", "origin": "synthetic", "note": "in memory", "namespace": "cni-lab",
    "recorded_at": "2026-11-23T00:00:00Z",
}  # fmt: skip


class FakeCluster:
    """An executor. `engine`: whether policies are enforced. `sick`: a Deployment whose pods do not come up, and
    the state of their container. `rules`: whether `iptables-save` shows Services."""

    def __init__(self, *, engine=True, sick=None, rules=True, nodes=NODES):
        self.about = dict(ABOUT)
        self.engine, self.sick, self.rules, self.nodes = engine, sick or {}, rules, nodes
        self.objects = {}  # (kind, namespace, name) -> object
        self.asked, self.closed, self.commands = [], 0, {}
        self.lock = threading.RLock()
        self.fail = None

    def run(self, request):
        with self.lock:
            self.asked.append(request)
            if self.fail and (error := self.fail(request)):
                raise error
            out, code = self._answer(request)
        return Reply("", request, datetime.now(UTC), 0.001, code, out.encode())

    def wait(self, seconds):
        threading.Event().wait(min(seconds, 0.01))

    def close(self):
        self.closed += 1

    def there(self, *kinds):
        """`Kind/name` of everything that was applied and not deleted."""
        return {f"{k}/{n}" for k, _, n in self.objects if k in kinds or not kinds}

    def put(self, kind, name, namespace="cni-lab", **labels):
        """What someone else made."""
        self.objects[kind, "" if kind == "Namespace" else namespace, name] = {
            "kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": {},
        }  # fmt: skip

    def _answer(self, request):
        if isinstance(request, Apply | Delete):
            for one in json.loads(request.manifest):
                (self._apply if isinstance(request, Apply) else self._delete)(one)
            return "", 0
        if isinstance(request, Read):
            return self._read(request.path), 0
        if isinstance(request, Logs):
            return "the last words\n", 0
        return self._exec(request)

    def _apply(self, one):
        namespace = "" if one["kind"] == "Namespace" else one["metadata"]["namespace"]
        if namespace and ("Namespace", "", namespace) not in self.objects:
            raise AssertionError(f"{one['metadata']['name']} in a namespace that is not there")
        if one["kind"] == "Service" and "clusterIP" not in one["spec"]:
            number = len([k for k in self.objects if k[0] == "Service"]) + 1
            one["spec"] |= {"clusterIP": f"10.0.{number // 250}.{number % 250 + 1}", "type": "ClusterIP"}
        self.objects[one["kind"], namespace, one["metadata"]["name"]] = one

    def _delete(self, one):
        name, namespace = one["metadata"]["name"], one["metadata"].get("namespace", "")
        if one["kind"] == "Namespace":
            self.objects = {k: o for k, o in self.objects.items() if name not in (k[1], k[2])}
        self.objects.pop((one["kind"], "" if one["kind"] == "Namespace" else namespace, name), None)

    def _read(self, path):
        if path == "/version":
            return json.dumps({"gitVersion": "v1.36.2"})
        parts = path.split("/")
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts[:-1] else None
        found = self._list(parts[-1], namespace)
        return json.dumps({"items": found})

    def _list(self, plural, namespace):
        if plural == "nodes":
            return [_node(name, n) for n, name in enumerate(self.nodes)]
        made = {"pods": self._pods, "endpointslices": self._slices}
        kinds = {"networkpolicies": "NetworkPolicy"}
        kind = kinds.get(plural, "".join(part for part in (plural[:-1],)).lower())
        stored = [_kept(o) for (k, _, _), o in self.objects.items() if k.lower() == kind.lower()]
        if plural == "daemonsets":
            stored = [self._with_status(one) for one in stored]
        items = made[plural]() if plural in made else stored
        return [i for i in items if namespace is None or i["metadata"].get("namespace") == namespace]

    def _with_status(self, one):
        ready = len(self.nodes)
        return {**one, "status": {"desiredNumberScheduled": ready, "numberReady": ready}}

    def _pods(self):
        pods = []
        for (kind, _, name), one in self.objects.items():
            if kind == "Pod":
                pods.append(self._pod(name, one, one["metadata"], one["spec"], self.nodes[0]))
            if kind in ("Deployment", "DaemonSet"):
                count = one["spec"].get("replicas", len(self.nodes))
                template = one["spec"]["template"]
                for n in range(count):
                    node = self.nodes[n % len(self.nodes)]
                    pods.append(self._pod(f"{name}-{n}", one, template["metadata"], template["spec"], node))
        return pods

    def _pod(self, name, owner, metadata, spec, node):
        waiting = self.sick.get(owner["metadata"]["name"])
        state = {"waiting": waiting} if waiting else {"running": {}}
        ready = "False" if waiting else "True"
        number = sum(map(ord, name + node)) % 250
        statuses = [
            {"name": c["name"], "ready": not waiting, "restartCount": 0, "state": state}
            for c in spec["containers"]
        ]
        return {
            "metadata": {
                "name": name, "namespace": owner["metadata"]["namespace"], "labels": metadata["labels"],
                "creationTimestamp": "2026-11-23T00:00:00Z",
                "ownerReferences": [] if owner["kind"] == "Pod" else [{"kind": owner["kind"], "name": "x", "controller": True}],
            },
            "spec": {"nodeName": node, "containers": spec["containers"]},
            "status": {
                "phase": "Pending" if waiting else "Running", "podIP": f"10.244.{self.nodes.index(node)}.{number}",
                "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": statuses,
            },
        }  # fmt: skip

    def _slices(self):
        return [
            {
                "metadata": {
                    "name": f"{one['metadata']['name']}-x", "namespace": one["metadata"]["namespace"],
                    "labels": {"kubernetes.io/service-name": one["metadata"]["name"]},
                    "ownerReferences": [{"kind": "Service", "name": one["metadata"]["name"], "controller": True}],
                    "creationTimestamp": "2026-11-23T00:00:00Z",
                },
                "ports": [{"port": 80}],
                "endpoints": [
                    {"addresses": [pod["status"]["podIP"]], "conditions": {"ready": True}}
                    for pod in self._pods()
                    if one["spec"].get("selector", {"no": "pod"}).items() <= pod["metadata"]["labels"].items()
                ],
            }
            for (kind, _, _), one in self.objects.items()
            if kind == "Service"
        ]  # fmt: skip

    def _exec(self, request):
        place = request.target.split("/")
        where = [
            p
            for p in self._pods()
            if p["metadata"]["labels"].get("name") == "network-analyzer" or place[0] == "pod"
        ]
        if not any(place[1] == p["spec"]["nodeName"] or place[2:3] == [p["metadata"]["name"]] for p in where):
            raise NoTarget(f"no {request.target}", request)
        if request.argv in self.commands:
            return self.commands[request.argv](request)
        if request.argv[0] == "iptables-save":
            return self._rules(), 0
        if request.argv[0] == "curl" and request.argv[-1].startswith("http"):
            return "", 0 if self._reaches(request.argv[-1].split("/")[2]) else 28
        return "", 0

    def _reaches(self, ip):
        """Whether a frontend gets an answer of a backend: by its address, or that of a Service that is there."""
        if ip.startswith("10.0.") and ip not in {
            o.get("spec", {}).get("clusterIP") for o in self.objects.values()
        }:
            return False
        there = self.there("NetworkPolicy")
        denied = self.engine and any(n.endswith("/deny-all") or "/scale-0" in n for n in there)
        return not denied or bool(
            there & {"NetworkPolicy/allow-frontend-to-backend", "NetworkPolicy/scale-allow"}
        )

    def _rules(self):
        if not self.rules:
            return ""
        ips = [
            one["spec"].get("clusterIP") for (kind, _, _), one in self.objects.items() if kind == "Service"
        ]
        return "".join(f"-A KUBE-SERVICES -d {ip}/32 -p tcp -j KUBE-SVC-X\n" for ip in ips)


def _kept(one):
    """An object as it is read: a Deployment that rolled out has a status that says so."""
    metadata = {"creationTimestamp": "2026-11-23T00:00:00Z", "generation": 1, **one["metadata"]}
    if one["kind"] == "Namespace":
        metadata.pop("namespace", None)
    status = {"observedGeneration": 1, "updatedReplicas": one.get("spec", {}).get("replicas")}
    return {**one, "metadata": metadata, "status": status}


def _node(name, n):
    return {
        "metadata": {"name": name, "labels": {}},
        "spec": {},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"10.224.0.{n + 4}"}],
            "nodeInfo": dict.fromkeys(
                (
                    "kubeletVersion",
                    "kernelVersion",
                    "osImage",
                    "containerRuntimeVersion",
                    "architecture",
                    "bootID",
                ),
                "x",
            ),
        },
    }
