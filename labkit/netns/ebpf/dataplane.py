"""Services and NetworkPolicies on every node of a lab, by programs at the devices and what their maps hold."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from labkit.errors import ProvisionError
from labkit.netns.ebpf import layout, policy
from labkit.netns.ebpf.build import compiled
from labkit.netns.ebpf.services import Services, ports_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labkit.netns.ebpf.policy import Pod
    from labkit.netns.kube_proxy_rules import ServicePort
    from labkit.netns.machines import Machines
    from labkit.netns.topology import Node

__all__ = ["EbpfDataplane"]

BPFFS = "/sys/fs/bpf"
OBJECT = "/run/labkit-ebpf.o"
NIC = "eth0"
#: What is written before what refers to it, and removed after it.
ORDER = ("backends", "services", "policy_ports", "policy_peers", "isolated", "endpoints")

MOUNT = f'[ "$(stat -f -c %T {BPFFS})" = bpf_fs ] || mount -t bpf bpf {BPFFS}\nmkdir -p "{BPFFS}/labkit/$1"'


class EbpfDataplane:
    """Programs every node for the objects of a cluster; a `Dataplane`. Services of IPv4.

    The client's node translates, so node ports answer pods and other nodes, and nobody outside of the cluster.
    A pod is served and policed from the first `sync` on that has its address and finds its device.
    """

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._lock = threading.Lock()
        self._nodes: list[NodeMaps] = []

    def sync(self, objects: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Program every node for these objects. Only what changed is written.

        Raises ProvisionError where a map has no room for them (nothing is changed then), or a node refuses.
        """
        with self._lock:
            if not self._nodes:
                self._nodes = self._started()
            ports = list(ports_of(objects.get("Service", ()), objects.get("EndpointSlice", ())))
            pods = policy.pods(objects.get("Pod", ()))
            rest = objects.get("NetworkPolicy", ()), objects.get("Namespace", ())
            wanted = [node.wanted(ports, pods, *rest) for node in self._nodes]
            self._each(lambda at: self._nodes[at].program(wanted[at], pods))

    def _started(self) -> list[NodeMaps]:
        program = compiled()
        nodes = [NodeMaps(self._machines, node) for node in self._machines.topology.nodes]
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: node.load(program), nodes))
        return nodes

    def _each(self, work: Any) -> None:  # noqa: ANN401
        with ThreadPoolExecutor(len(self._nodes)) as pool:
            list(pool.map(work, range(len(self._nodes))))


class NodeMaps:
    """One node: what its maps hold, and which devices the programs are attached to."""

    def __init__(self, machines: Machines, node: Node) -> None:
        self._machines, self._node = machines, node
        self._services = Services(node.name, machines.topology.nodes)
        self._policies = policy.Policies()
        self._held: layout.Entries = {name: {} for name in ORDER}
        #: ifindex by pod.
        self._attached: dict[Pod, int] = {}

    def load(self, program: bytes) -> None:
        """Load and pin programs and maps, and attach those of the node's own device."""
        home = f"{BPFFS}/labkit/{self._node.name}"
        self._run("sh", "-ec", MOUNT, "sh", self._node.name)
        self._machines.write(self._target, OBJECT, program)
        self._run("bpftool", "prog", "loadall", OBJECT, f"{home}/progs", "pinmaps", f"{home}/maps")
        self._run("rm", OBJECT)
        self._attach([(NIC, "from_node", "to_node")])

    def wanted(
        self,
        ports: Iterable[ServicePort],
        pods: Iterable[Pod],
        policies: Iterable[Mapping[str, Any]],
        namespaces: Iterable[Mapping[str, Any]],
    ) -> layout.Entries:
        """What the maps are to hold, but for `endpoints`. Raises ProvisionError where that does not fit."""
        found = policy.verdicts(policies, pods, namespaces, self._node.name, self._node.ip)
        entries = {**self._services.entries(ports), **self._policies.entries(found)}
        layout.check_room(self._node.name, entries)
        return entries

    def program(self, wanted: layout.Entries, pods: Iterable[Pod]) -> None:
        """Write what differs, and attach the programs to pods that are new."""
        found = self._devices([pod for pod in pods if pod.node == self._node.name])
        new = [device for pod, device in found.items() if self._attached.get(pod) != device[1]]
        endpoints = {layout.device(ifindex): layout.address(pod.ip) for pod, (_, ifindex) in found.items()}
        self._write({**wanted, "endpoints": endpoints})
        self._attach([(name, "to_pod", "from_pod") for name, _ in new])
        self._attached = {pod: ifindex for pod, (_, ifindex) in found.items()}

    def _write(self, wanted: layout.Entries) -> None:
        lines = list(self._lines(wanted))
        if lines:
            self._run("bpftool", "batch", "file", "-", stdin="\n".join(lines).encode() + b"\n")
        self._held = wanted

    def _lines(self, wanted: layout.Entries) -> Iterator[str]:
        """Commands for bpftool's batch mode: writes, then removals."""
        pins = layout.pins(self._node.name)
        for name in ORDER:
            held = self._held[name]
            for key, value in wanted[name].items():
                if held.get(key) != value:
                    yield f"map update pinned {pins}/{name} key hex {key.hex(' ')} value hex {value.hex(' ')}"
        for name in reversed(ORDER):
            for key in self._held[name].keys() - wanted[name].keys():
                yield f"map delete pinned {pins}/{name} key hex {key.hex(' ')}"

    def _devices(self, pods: Sequence[Pod]) -> dict[Pod, tuple[str, int]]:
        """Name and number of the host's end of each pod's veth: where its route leads."""
        if not pods:
            return {}
        routes = {route["dst"]: route["dev"] for route in self._json("ip", "-j", "route", "show")}
        numbers = {link["ifname"]: link["ifindex"] for link in self._json("ip", "-j", "link", "show")}
        wired = {pod: routes[pod.ip] for pod in pods if pod.ip in routes}
        return {pod: (device, numbers[device]) for pod, device in wired.items() if device in numbers}

    def _attach(self, devices: Iterable[tuple[str, str, str]]) -> None:
        """Device, program of its egress, program of its ingress."""
        progs = f"{BPFFS}/labkit/{self._node.name}/progs"
        lines = [
            line
            for device, egress, ingress in devices
            for line in (
                f"qdisc replace dev {device} clsact",
                f"filter replace dev {device} egress prio 1 handle 1 bpf da pinned {progs}/{egress}",
                f"filter replace dev {device} ingress prio 1 handle 1 bpf da pinned {progs}/{ingress}",
            )
        ]
        if lines:
            self._run("tc", "-batch", "-", stdin="\n".join(lines).encode() + b"\n")

    @property
    def _target(self) -> str:
        return f"node/{self._node.name}"

    def _json(self, *argv: str) -> Any:  # noqa: ANN401
        return json.loads(self._run(*argv) or b"[]")

    def _run(self, *argv: str, stdin: bytes = b"") -> bytes:
        done = self._machines.run(self._target, argv, stdin=stdin)
        if done.exit_code != 0:
            said = " | ".join(done.stderr.decode(errors="replace").strip().splitlines()[-8:])
            raise ProvisionError(
                f"{' '.join(argv[:3])} exited {done.exit_code} on {self._target}: {said or 'without a word'}"
            )
        return done.stdout
