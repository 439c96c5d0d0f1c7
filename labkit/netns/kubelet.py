"""Pods of all nodes: started and ended on the machines, and watched, so that their status says how they are."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from labkit.errors import LabError
from labkit.netns.events import event
from labkit.netns.pod_status import Seen, status, waits
from labkit.netns.store import now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labkit.netns.machines import Machines
    from labkit.netns.store import Item, Store

__all__ = ["STAND_IN", "Kubelet"]

log = logging.getLogger(__name__)

#: Annotation of a pod that no process runs for, since labkit does its work; it says so in a sentence.
STAND_IN = "labkit.dev/stand-in"
WORKERS = 8
#: How often a pod that is not ready yet is looked at, and one that is.
SOON_S, GROWTH, LATER_S = 0.05, 1.1, 2.0


@dataclass
class _Pod:
    """A pod that was taken on: `started` gives its address. `seen` changes under the kubelet's lock."""

    item: Item
    started: Future[str]
    seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether it was started."""
        return self.started.done() and not self.started.cancelled() and self.started.exception() is None


class Kubelet:
    """Starts pods in parallel, and looks after them in a thread until it is closed."""

    def __init__(self, machines: Machines, store: Store) -> None:
        self._machines, self._store = machines, store
        self._addresses = {node.name: node.ip for node in machines.topology.nodes}
        self._pods: dict[str, _Pod] = {}
        self._ending: set[str] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(WORKERS, "kubelet")
        self._wake, self._closed = threading.Event(), False
        self._watcher = threading.Thread(target=self._watch, name="kubelet", daemon=True)
        self._watcher.start()

    def knows(self, pod: Item) -> bool:
        """Whether the pod was asked to be started."""
        with self._lock:
            return pod["metadata"]["uid"] in self._pods.keys() | self._ending

    def start(self, pod: Item) -> None:
        """Start a pod that has its node."""
        with self._lock:
            self._pods[pod["metadata"]["uid"]] = _Pod(pod, self._pool.submit(self._start, pod))

    def stop(self, pod: Item) -> None:
        """End a pod, and delete its object when it has ended."""
        uid = pod["metadata"]["uid"]
        with self._lock:
            if uid in self._ending:
                return
            self._ending.add(uid)
            self._pool.submit(self._stop, pod, self._pods.pop(uid, None))

    def waiting(self) -> list[str]:
        """The pods that are not what they should be yet, with what they lack."""
        with self._lock:
            found = [f"{_name(pod.item)}: {_lack(pod)}" for pod in self._pods.values() if _lack(pod)]
            return sorted(found + [f"{uid}: is ending" for uid in self._ending])

    def close(self) -> None:
        """Start nothing more and look no more. What runs goes on."""
        self._closed = True
        self._wake.set()
        self._pool.shutdown(cancel_futures=True)
        self._watcher.join()

    def _start(self, pod: Item) -> str:
        node = pod["spec"]["nodeName"]
        try:
            stand_in = STAND_IN in (pod["metadata"].get("annotations") or {})
            ip = self._addresses[node] if stand_in else self._machines.start(pod)
        except LabError as error:
            log.warning("%s: %s", _name(pod), error)
            self._store.apply(event(pod, "Failed", str(error), "kubelet", host=node, warning=True))
            self._store.set_status(pod, waits(pod, "CreateContainerError", str(error)))
            raise
        at = now()
        with self._lock:
            if mine := self._pods.get(pod["metadata"]["uid"]):
                mine.seen = {c["name"]: Seen(at, ready=stand_in) for c in pod["spec"]["containers"]}
        for container in pod["spec"]["containers"]:
            self._store.apply(
                event(pod, "Started", "Container started", "kubelet", host=node, container=container["name"])
            )
        self._look(pod["metadata"]["uid"], ip)
        self._wake.set()
        return ip

    def _stop(self, pod: Item, mine: _Pod | None) -> None:
        place = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if mine is not None:
            mine.started.exception()  # it may be starting just now
            if STAND_IN not in (pod["metadata"].get("annotations") or {}):
                self._machines.stop(*place)
        there = self._store.get("Pod", *place)
        if there is not None and there["metadata"]["uid"] == pod["metadata"]["uid"]:
            self._store.delete("Pod", *place, at_once=True)
        with self._lock:
            self._ending.discard(pod["metadata"]["uid"])

    def _watch(self) -> None:
        """Look at all pods: soon and then less and less often while one is not ready, and anew when one comes."""
        pause_s = LATER_S
        while not self._closed:
            if self._wake.wait(pause_s):
                self._wake.clear()
                pause_s = SOON_S
            with self._lock:
                known = list(self._pods.items())
            for uid, pod in known:
                if pod.runs:
                    self._look(uid, pod.started.result())
            coming = any(not pod.started.done() or (pod.runs and _lack(pod)) for _, pod in known)
            pause_s = min(pause_s * GROWTH, LATER_S) if coming else LATER_S

    def _look(self, uid: str, ip: str) -> None:
        """See how the containers of a pod are, and say so in its status."""
        with self._lock:
            mine = self._pods.get(uid)
        if mine is None:
            return
        seen = (
            self._seen(mine)
            if STAND_IN not in (mine.item["metadata"].get("annotations") or {})
            else mine.seen
        )
        with self._lock:
            if self._pods.get(uid) is not mine:
                return
            mine.seen = seen
            there = self._store.get("Pod", mine.item["metadata"]["namespace"], mine.item["metadata"]["name"])
            if there is not None:
                host = self._addresses[there["spec"]["nodeName"]]
                self._store.set_status(mine.item, status(there, ip, host, seen))

    def _seen(self, mine: _Pod) -> dict[str, Seen]:
        """A container that runs is ready when its ports are listened on; once ready, it stays so."""
        if STAND_IN in (mine.item["metadata"].get("annotations") or {}):
            return mine.seen
        place = mine.item["metadata"]["namespace"], mine.item["metadata"]["name"]
        codes = self._machines.running(*place)
        ports: set[tuple[str, int]] | None = None
        seen = {}
        for container in mine.item["spec"]["containers"]:
            name, old = container["name"], mine.seen[container["name"]]
            code = codes.get(name)
            if code is not None:
                ended = old.ended_at or now()
                seen[name] = replace(old, ready=False, exit_code=code, ended_at=ended)
                continue
            wanted = _awaited(container)
            if wanted and not old.ready and ports is None:
                ports = self._machines.listening(*place)
            seen[name] = replace(old, ready=old.ready or not wanted or wanted <= (ports or set()))
        return seen


def _awaited(container: Mapping[str, Any]) -> set[tuple[str, int]]:
    """The ports that its probes ask for; without probes the TCP ports that it declares (a server of UDP may open
    its port only when it is asked to, as iperf3 does)."""
    ports = container.get("ports", ())
    numbers = {port["name"]: port["containerPort"] for port in ports if "name" in port}
    probed = {
        numbers.get(asked["port"], asked["port"])
        for probe in ("startupProbe", "readinessProbe")
        for way in ("tcpSocket", "httpGet")
        if (asked := container.get(probe, {}).get(way))
    }
    declared = {port["containerPort"] for port in ports if port["protocol"] == "TCP"}
    return {("TCP", int(number)) for number in probed or declared}


def _name(pod: Item) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _lack(pod: _Pod) -> str:
    """What a pod lacks to be ready; empty where nothing."""
    if not pod.started.done():
        return "is being started"
    done = pod.item["spec"]["restartPolicy"] != "Always"
    if pod.started.cancelled():
        return "was not started"
    if error := pod.started.exception():
        return f"could not be started: {error}"
    return ", ".join(
        f"container {name} " + ("is not ready" if each.exit_code is None else f"exited with {each.exit_code}")
        for name, each in pod.seen.items()
        if not each.ready and not (done and each.exit_code == 0)
    )
