"""Names of Services for the pods that answer them: hosts files, which their dnsmasq watches.

Names as in the specification "DNS-Based Service Discovery" of Kubernetes: `SERVICE.NAMESPACE.svc.cluster.local`
is the cluster address; of a headless Service, the addresses of its ready endpoints.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from labkit.netns.workloads import is_ready

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labkit.netns.machines import Machines
    from labkit.netns.store import Item

__all__ = ["DOMAIN", "FILE", "KINDS", "Resolver", "hosts"]

DOMAIN = "svc.cluster.local"
FILE = "/run/hosts/services"
KINDS = ("Service", "EndpointSlice", "Pod")
SERVER = "k8s-app", "kube-dns"


def hosts(services: Iterable[Item], slices: Iterable[Item]) -> bytes:
    """The hosts file: an address and a name a line."""
    behind: dict[tuple[str, str], list[Item]] = {}
    for piece in slices:
        name = piece["metadata"]["labels"].get("kubernetes.io/service-name", "")
        behind.setdefault((piece["metadata"]["namespace"], name), []).append(piece)
    lines = (line for service in services for line in _lines(service, behind))
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(service: Item, behind: Mapping[tuple[str, str], Sequence[Item]]) -> Iterator[str]:
    place = service["metadata"]["namespace"], service["metadata"]["name"]
    name = f"{place[1]}.{place[0]}.{DOMAIN}"
    address = service["spec"].get("clusterIP")
    if address and address != "None":
        yield f"{address} {name}"
    elif address == "None":
        found = {
            at
            for piece in behind.get(place, ())
            for endpoint in piece["endpoints"] or ()
            if endpoint["conditions"]["ready"]
            for at in endpoint["addresses"]
        }
        yield from (f"{at} {name}" for at in sorted(found))


class Resolver:
    """Writes the names into every pod that answers them, where they are not those that it has."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._written: dict[str, bytes] = {}

    def sync(self, objects: Mapping[str, Sequence[Item]]) -> None:
        """Write what changed: to pods `k8s-app=kube-dns` that are ready."""
        wanted = hosts(objects["Service"], objects["EndpointSlice"])
        servers = {
            pod["metadata"]["uid"]: f"pod/kube-system/{pod['metadata']['name']}/coredns"
            for pod in objects["Pod"]
            if pod["metadata"]["namespace"] == "kube-system"
            and (pod["metadata"].get("labels") or {}).get(SERVER[0]) == SERVER[1]
            and is_ready(pod)
        }
        self._written = {uid: text for uid, text in self._written.items() if uid in servers}
        for uid, target in servers.items():
            if self._written.get(uid) != wanted:
                with contextlib.suppress(KeyError):  # the pod went meanwhile
                    self._machines.write(target, FILE, wanted)
                self._written[uid] = wanted
