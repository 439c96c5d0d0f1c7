"""Machines made of this machine's own kernel: nodes and pods are namespaces, their programs Debian's."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import ProvisionError
from labkit.netns import containers, namespaces, pods, roots, wire
from labkit.netns.images import IDLE, image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labkit.netns.containers import Container
    from labkit.netns.machines import Done
    from labkit.netns.namespaces import Namespace
    from labkit.netns.topology import Node, Topology

__all__ = ["LinuxMachines"]


@dataclass(slots=True)
class _Host:
    """A node: its namespace, the container that commands on it run in, and the addresses it gives out."""

    node: Node
    namespace: Namespace
    container: Container
    addresses: deque[str]

    @classmethod
    def of(cls, node: Node, namespace: Namespace, container: Container) -> _Host:
        """The first address of a range is the gateway's, the last one is for broadcasts."""
        hosts = list(IPv4Network(node.pod_cidr).hosts())[1:]
        return cls(node, namespace, container, deque(str(ip) for ip in hosts))


@dataclass(slots=True)
class _Pod:
    ip: str
    host: _Host
    folder: Path
    namespace: Namespace
    device: str = ""
    containers: dict[str, Container] = field(default_factory=dict)


class LinuxMachines:
    """The nodes of a lab and the pods on them: see `machines.Machines`, which it is.

    To be made in a mount, PID and network namespace of its own: its network namespace becomes the fabric, and
    `folder` is a tmpfs.
    """

    def __init__(self, topology: Topology, folder: Path) -> None:
        self.topology = topology
        self._folder = folder
        self._hosts: dict[str, _Host] = {}
        self._pods: dict[tuple[str, str], _Pod] = {}
        self._outside: Container | None = None
        self._lock = threading.Lock()

    def boot(self) -> None:
        """Wire the fabric, the nodes and the host outside up, all at once."""
        wire.program(None, wire.fabric(self.topology))
        with ThreadPoolExecutor() as pool:
            beyond = pool.submit(self._boot_outside)
            for host in pool.map(self._boot_node, self.topology.nodes):
                self._hosts[host.node.name] = host
            self._outside = beyond.result()

    def _boot_node(self, node: Node) -> _Host:
        folder = self._folder / "nodes" / node.name
        namespace = namespaces.make(folder / "namespace", node.name)
        wire.program(None, wire.fabric_port(node.name, namespace))
        wire.program(namespace, wire.node(self.topology, node))
        binds = [("/", "/host", "bind,ro"), ("bpf", "/sys/fs/bpf", "mode=0700")]
        files = {
            "/etc/hostname": f"{node.name}\n",
            "/etc/resolv.conf": "",
            "/etc/hosts": "127.0.0.1\tlocalhost\n",
        }
        root = roots.build(folder / "root", IDLE, files, binds)
        shell = containers.start(
            namespace, root, IDLE.argv(), {**containers.ENVIRONMENT, "HOSTNAME": node.name}, folder / "log", own_pids=False
        )  # fmt: skip
        return _Host.of(node, namespace, shell)

    def _boot_outside(self) -> Container:
        folder, server = self._folder / "outside", image("nginx")
        namespace = namespaces.make(folder / "namespace", "outside")
        wire.program(None, wire.outside_port(namespace))
        wire.program(namespace, wire.outside())
        root = roots.build(folder / "root", server, {}, ())
        return containers.start(namespace, root, server.argv(), containers.ENVIRONMENT, folder / "log")

    def start(self, pod: Mapping[str, Any]) -> str:
        """Wire a scheduled pod up and start its containers. Raises ProvisionError where that cannot be done."""
        key = pod["metadata"].get("namespace", "default"), pod["metadata"]["name"]
        host = self._hosts[pod["spec"]["nodeName"]]
        with self._lock:
            if key in self._pods:
                raise ProvisionError(f"pod {key[0]}/{key[1]} runs already; stop it first")
            folder = self._folder / "pods" / "_".join(key)
            if pods.on_the_host(pod):
                made = _Pod(host.node.ip, host, folder, host.namespace)
            else:
                made = _Pod(self._address(host), host, folder, namespaces.Namespace(folder / "namespace"))
            self._pods[key] = made
        try:
            self._start(key, made, pod)
        except BaseException:
            self.stop(*key)
            raise
        return made.ip

    def _address(self, host: _Host) -> str:
        """The address that has been free for the longest time."""
        if not host.addresses:
            raise ProvisionError(f"node {host.node.name} has no free address left in {host.node.pod_cidr}")
        return host.addresses.popleft()

    def _start(self, key: tuple[str, str], made: _Pod, pod: Mapping[str, Any]) -> None:
        wanted = pods.containers(pod, made.ip, made.host.node.ip, made.folder / "volumes")
        own_pids = not pod["spec"].get("hostPID")
        if made.namespace is not made.host.namespace:
            namespaces.make(made.namespace.folder, key[1])
            device = wire.host_end(self.topology, *key)
            wire.program(
                made.host.namespace, wire.pod_on_node(self.topology, device, made.ip, made.namespace)
            )
            made.device = device
            wire.program(made.namespace, wire.pod(self.topology, made.host.node, made.ip))
        texts = pods.texts(self.topology, pod, made.ip)
        for container in wanted:
            folder = made.folder / "containers" / container.name
            root = roots.build(folder, container.image, texts, container.binds)
            made.containers[container.name] = containers.start(
                made.namespace, root, container.argv, container.environment, folder / "log", own_pids=own_pids
            )

    def stop(self, namespace: str, name: str) -> None:
        """End a pod's processes and take its devices, routes and files away."""
        with self._lock:
            pod = self._pods.pop((namespace, name), None)
        if pod is None:
            return
        for container in pod.containers.values():
            containers.stop(container)
        if pod.device:
            wire.program(pod.host.namespace, wire.unwired(pod.device))
        if pod.namespace is not pod.host.namespace:
            with contextlib.suppress(ProvisionError):  # it was not made
                namespaces.unmake(pod.namespace)
            pod.host.addresses.append(pod.ip)
        shutil.rmtree(pod.folder, ignore_errors=True)

    def listening(self, namespace: str, name: str) -> set[tuple[str, int]]:
        """Protocol and port of what the pod listens on; with the node's network, of what the node listens on."""
        pod = self._pods.get((namespace, name))
        if pod is None:
            return set()
        running = [c.pid for c in pod.containers.values() if c.exit_code is None]
        return _listening(running[0]) if running else set()

    def running(self, namespace: str, name: str) -> dict[str, int | None]:
        """Each container's exit code; None while it runs."""
        pod = self._pods.get((namespace, name))
        return {n: c.exit_code for n, c in pod.containers.items()} if pod else {}

    def run(self, target: str, argv: Sequence[str], *, stdin: bytes = b"", limit_s: float = 120.0) -> Done:
        """Run a command on a target. KeyError where there is none."""
        return containers.run(self._container(target), argv, stdin=stdin, limit_s=limit_s)

    def write(self, target: str, path: str, content: bytes) -> None:
        """Write a file into the root of a target."""
        file = Path(f"/proc/{self._container(target).pid}/root", path.lstrip("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def logs(self, target: str, tail: int) -> bytes:
        """The last lines that a container printed. KeyError where there is none."""
        with self._container(target, running=False).log.open("rb") as lines:
            return b"".join(deque(lines, maxlen=tail))

    def _container(self, target: str, *, running: bool = True) -> Container:
        match target.split("/"):
            case ["node", name]:
                return self._hosts[name].container
            case ["pod", namespace, name, container]:
                found = self._pods[namespace, name].containers[container]
                if not running or found.exit_code is None:
                    return found
        raise KeyError(target)


def _listening(pid: int) -> set[tuple[str, int]]:
    """Sockets of a process' network namespace. Format: proc_net_tcp(5); state 0A listens, 07 is unconnected."""
    states: tuple[tuple[str, str, str], ...] = (
        ("tcp", "TCP", "0A"), ("tcp6", "TCP", "0A"), ("udp", "UDP", "07"), ("udp6", "UDP", "07"),
    )  # fmt: skip
    found = set()
    for file, protocol, wanted in states:
        try:
            lines = Path(f"/proc/{pid}/net/{file}").read_text().splitlines()[1:]
        except OSError:  # it ended, or this kernel has no IPv6
            continue
        for line in lines:
            _, local, _, state, *_ = line.split()
            if state == wanted:
                found.add((protocol, int(local.rpartition(":")[2], 16)))
    return found
