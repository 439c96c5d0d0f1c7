"""What a pod's object asks of its node: its containers' commands, environment, files and volumes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.errors import ProvisionError
from labkit.netns.containers import ENVIRONMENT
from labkit.netns.images import Image, image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labkit.netns.topology import Topology

__all__ = ["Wanted", "containers", "on_the_host", "texts"]

VARIABLE = re.compile(r"\$\((\w+)\)")
#: Kubernetes mounts a token by a volume of this name into every pod. Nothing in a lab asks the API from a pod.
TOKEN = "kube-api-access-"  # noqa: S105  (a name)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container to start. `binds` are (source, path, mount options)."""

    name: str
    image: Image
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    binds: tuple[tuple[str, str, str], ...]


def on_the_host(pod: Mapping[str, Any]) -> bool:
    """Whether the pod has its node's network instead of its own."""
    return bool(pod["spec"].get("hostNetwork"))


def containers(pod: Mapping[str, Any], ip: str, node_ip: str, volumes: Path) -> list[Wanted]:
    """The containers of a pod with this address. Raises ProvisionError for what a lab has no stand-in for."""
    sources = {v["name"]: _source(pod, v, volumes) for v in pod["spec"].get("volumes", ())}
    return [_container(pod, c, ip, node_ip, sources) for c in pod["spec"]["containers"]]


def _container(
    pod: Mapping[str, Any], container: Mapping[str, Any], ip: str, node_ip: str, sources: Mapping[str, str]
) -> Wanted:
    stand_in = image(container["image"])
    environment = {**ENVIRONMENT, "HOSTNAME": _hostname(pod)}
    for variable in container.get("env", ()):
        environment[variable["name"]] = _expanded(_value(pod, variable, ip, node_ip), environment)
    argv = stand_in.argv(container.get("command", ()), container.get("args", ()))
    binds = []
    for mount in container.get("volumeMounts", ()):
        if source := sources[mount["name"]]:
            options = "bind,ro" if mount.get("readOnly") or source == "/" else "bind"
            binds.append((source, mount["mountPath"], options))
    return Wanted(
        container["name"],
        stand_in,
        tuple(_expanded(word, environment) for word in argv),
        environment,
        tuple(binds),
    )


def _hostname(pod: Mapping[str, Any]) -> str:
    return str(pod["spec"]["nodeName"] if on_the_host(pod) else pod["metadata"]["name"])


def _value(pod: Mapping[str, Any], variable: Mapping[str, Any], ip: str, node_ip: str) -> str:
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    path = variable["valueFrom"].get("fieldRef", {}).get("fieldPath")
    fields = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": pod["metadata"].get("namespace", "default"),
        "metadata.uid": pod["metadata"].get("uid", ""),
        "spec.nodeName": pod["spec"]["nodeName"],
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": ip,
        "status.hostIP": node_ip,
    }
    if path not in fields:
        raise ProvisionError(
            f"variable {variable['name']} of pod {pod['metadata']['name']}: a lab of namespaces fills in "
            f"{', '.join(fields)}, and not {path or 'other sources than fieldRef'}"
        )
    return str(fields[path])


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` of a variable that there is, as Kubernetes does in commands; any other is left as it stands."""
    return VARIABLE.sub(lambda found: environment.get(found[1], found[0]), text)


def _source(pod: Mapping[str, Any], volume: Mapping[str, Any], volumes: Path) -> str:
    """The folder behind a volume; empty for one that is left out."""
    if "hostPath" in volume:
        return str(volume["hostPath"]["path"])
    if "emptyDir" in volume:
        folder = volumes / volume["name"]
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)
    if volume["name"].startswith(TOKEN):
        return ""
    raise ProvisionError(
        f"volume {volume['name']} of pod {pod['metadata']['name']}: a lab of namespaces has hostPath and emptyDir"
    )


def texts(topology: Topology, pod: Mapping[str, Any], ip: str) -> dict[str, str]:
    """The files that a kubelet writes for a container."""
    namespace, hostname = pod["metadata"].get("namespace", "default"), _hostname(pod)
    domains = f"{namespace}.svc.cluster.local svc.cluster.local cluster.local"
    resolver = f"search {domains}\nnameserver {topology.dns_ip}\noptions ndots:5\n"
    return {
        "/etc/resolv.conf": resolver if _asks_the_cluster(pod) else "",
        "/etc/hostname": f"{hostname}\n",
        "/etc/hosts": f"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n{ip}\t{hostname}\n",
    }


def _asks_the_cluster(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's names are asked of the cluster's resolver: Kubernetes' rule for `dnsPolicy`."""
    policy = pod["spec"].get("dnsPolicy", "ClusterFirst")
    return policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not on_the_host(pod))
