"""The control plane of a lab: objects in, pods, rules and names out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from labkit.errors import ProvisionError
from labkit.netns import api, node_rules, resolver, system
from labkit.netns.admission import Admission
from labkit.netns.controllers import Controllers
from labkit.netns.follower import Follower
from labkit.netns.iptables_restore import changes, first, load
from labkit.netns.kinds import KINDS, expand, kind_of
from labkit.netns.kubelet import Kubelet
from labkit.netns.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.netns.machines import Dataplane, Machines
    from labkit.netns.store import Item

__all__ = ["ControlPlane"]

#: What a dataplane is told of.
PROGRAMMED = ("Service", "EndpointSlice", "Pod", "NetworkPolicy", "Namespace")
BOOT_S, DELETE_S = 60.0, 60.0
LOOK_S = 0.02


class ControlPlane:
    """Keeps the machines as the objects say. Safe in threads."""

    def __init__(self, machines: Machines, dataplane: Dataplane | None = None) -> None:
        """`dataplane` is the topology's own, unless another is given."""
        self._machines = machines
        self.store = Store(Admission(machines.topology))
        self._dataplane = dataplane
        self._held = ExitStack()
        self._followers: list[Follower] = []

    def boot(self, limit_s: float = BOOT_S) -> None:
        """Make the nodes and the system's objects, and wait until they work. Raises ProvisionError."""
        topology = self._machines.topology
        for node in topology.nodes:
            for piece in changes({}, node_rules.chains(topology, node)):
                load(self._machines, node.name, piece)
        dataplane = self._dataplane or _dataplane(self._machines)
        names = resolver.Resolver(self._machines)
        self._kubelet = Kubelet(self._machines, self.store)
        self._held.callback(self._kubelet.close)
        self._controllers = Controllers(self.store, self._kubelet)
        self._held.callback(self._controllers.close)
        for kinds, work, name in (
            (PROGRAMMED, dataplane.sync, "dataplane"),
            (resolver.KINDS, names.sync, "resolver"),
        ):
            follower = Follower(self.store, kinds, work, name)
            self._followers.append(follower)
            self._held.callback(follower.close)
        for item, node in zip(system.nodes(topology), topology.nodes, strict=True):
            self.store.set_status(self.store.apply(item), system.node_status(node))
        for item in system.objects(topology):
            self.store.apply(item)
        self.settle(limit_s)
        for node in topology.nodes:  # after the dataplane's: kube-proxy puts its own first
            load(self._machines, node.name, first(node_rules.jumps(topology), append=True))

    def read(self, path: str) -> tuple[int, bytes]:
        """GET an API path: status of HTTP and body."""
        return api.read(self.store, path)

    def apply(self, objects: Iterable[Mapping[str, Any]]) -> list[Item]:
        """Apply objects in their order; what they are now. Pods and rules follow: see `settle`.

        Raises ParameterError for a kind that a lab does not know (then nothing is applied), or an object that
        cannot be.
        """
        wanted = [item for each in objects for item in expand(each)]
        for item in wanted:
            kind_of(item)
        return self.store.apply_all(wanted)

    def delete(self, objects: Iterable[Mapping[str, Any]]) -> list[str]:
        """Delete objects and wait until they are gone; each as kubectl names it: `service "web"`.

        One that is not there is left out. Raises ProvisionError where one is still there after a minute.
        """
        asked = [(kind_of(item), _place(item)) for each in objects for item in expand(each)]
        found = [(kind, place, item) for kind, place in asked if (item := self.store.get(kind.name, *place))]
        for kind, place, _ in found:
            self.store.delete(kind.name, *place)
        end = time.monotonic() + DELETE_S
        for kind, place, item in found:
            while (there := self.store.get(kind.name, *place)) and _uid(there) == _uid(item):
                if time.monotonic() > end:
                    raise ProvisionError(
                        f"{kind.words} {place[1]} is still there after {DELETE_S:.0f} s: {self._unsettled()}"
                    )
                time.sleep(LOOK_S)
        return [f'{kind.words} "{place[1]}"' for kind, place, _ in found]

    def settle(self, limit_s: float) -> None:
        """Wait until pods are ready, endpoints, rules and names are what the objects say.

        Raises ProvisionError with what is not, when the time is over.
        """
        end = time.monotonic() + limit_s
        while lacks := self._unsettled():
            if time.monotonic() > end:
                raise ProvisionError(f"not as asked after {limit_s:.0f} s: {lacks}")
            time.sleep(LOOK_S)

    def close(self) -> None:
        """Follow no more changes. What runs on the machines goes on."""
        self._held.close()

    def _unsettled(self) -> str:
        """What is still to be done; empty where nothing is."""
        version = self.store.version
        lacks = [f"{follower.name}: {follower.failure}" for follower in self._followers if follower.failure]
        lacks += [f"controllers: {self._controllers.failure}"] if self._controllers.failure else []
        lacks += self._kubelet.waiting()
        homeless = [pod for pod in self.store.list("Pod") if "nodeName" not in pod["spec"]]
        lacks += [f"{'/'.join(_place(pod))}: no node is as it requires" for pod in homeless]
        if not lacks and min([self._controllers.seen, *(f.seen for f in self._followers)]) < version:
            lacks.append("changes are being worked in")
        return "; ".join(lacks)


def _dataplane(machines: Machines) -> Dataplane:
    if machines.topology.services == "iptables":
        from labkit.netns.kube_proxy import KubeProxy  # noqa: PLC0415

        return KubeProxy(machines)
    from labkit.netns.ebpf.dataplane import EbpfDataplane  # noqa: PLC0415

    return EbpfDataplane(machines)


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    meta = item["metadata"]
    where = meta.get("namespace", "default") if KINDS[item["kind"]].namespaced else ""
    return where, meta["name"]


def _uid(item: Item) -> str:
    return str(item["metadata"]["uid"])
