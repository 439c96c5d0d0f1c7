"""The state of one arm that decides on packets, indexed for looking things up.

Frames come as the collectors give them. A frame that was not read is not there: whoever needs it must say
that it is missing, not take it for empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from labkit.analysis.paths.machine import Machine
from labkit.analysis.paths.names import dns_name
from labkit.analysis.paths.packet import family_of
from labkit.analysis.paths.routes import BITS, Prefixes, Routes
from labkit.analysis.paths.rows import Row, grouped, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["State", "World"]


@dataclass(frozen=True)
class State:
    """The frames of one arm by name, and why a frame is not there.

    Names: `nodes`, `pods`, `services`, `endpoints` of the API; `links`, `addresses`, `routes`, `ip_rules`,
    `neighbours`, `forwarding`, `sysctls`, `rules`, `chains`, `rules6`, `chains6` by node; `pod_links`, `pod_routes`,
    `pod_neighbours`, `pod_addresses`, `resolvers` by pod; `qdiscs` by node, `namespaces`, `policy_rules`; and with Cilium `status`, `config`,
    `cilium_endpoints`, `endpoint_map`, `ipcache`, `lb_map`, `lb_frontends`, `maglev`, `policy_map`, `identities`;
    of the `ebpf` topology of a lab `lab_frontends`, `lab_backends`, `lab_isolated`, `lab_peers`, `lab_ports`.
    """

    frames: Mapping[str, pd.DataFrame]
    missing: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> pd.DataFrame | None:
        return self.frames.get(name)

    def changed(self, **frames: pd.DataFrame) -> State:
        """The same state with other frames in it."""
        return State({**self.frames, **frames}, self.missing)


class World:
    """One arm: its machines, pods and Services, and who hangs on which device."""

    def __init__(self, state: State) -> None:
        self.state = state
        nodes = self.nodes = rows_of(state.get("nodes"))
        self.machines = {row["node"]: Machine(row["node"], row["node_ip"], state) for row in nodes}
        self.node_of_ip = {row["node_ip"]: row["node"] for row in nodes}
        self.pods = {row["pod"]: row for row in rows_of(state.get("pods")) if row["node"]}
        self.pods |= {row["pod"]: row for row in self._probes()}
        self.services = rows_of(state.get("services"))

    def _probes(self) -> Iterable[Row]:
        """Endpoints of Cilium that are no pods (the health probe of each node), as if they were."""
        for row in rows_of(self.state.get("cilium_endpoints")):
            if row["pod"] is None and row["ip"]:
                name = f"{row['interface']} of {row['node']}"
                yield {
                    **row,
                    "namespace": "",
                    "pod": name,
                    "app": None,
                    "pod_ip": row["ip"],
                    "host_network": False,
                }

    @cached_property
    def services_of_ip(self) -> dict[str, list[Row]]:
        """The ports of each Service by its address."""
        return grouped((row for row in self.services if row["cluster_ip"]), "cluster_ip")

    @cached_property
    def services_by_name(self) -> dict[str, list[Row]]:
        """The ports of each Service by its whole name in DNS."""
        found: dict[str, list[Row]] = {}
        for row in self.services:
            found.setdefault(dns_name(row["service"], row["namespace"]), []).append(row)
        return found

    @cached_property
    def pod_of_ip(self) -> dict[str, Row]:
        """Pods with a network of their own, by address."""
        found = {
            row["pod_ip"]: row for row in self.pods.values() if row["pod_ip"] and not row["host_network"]
        }
        for row in rows_of(self.state.get("pod_addresses")):
            if row["scope"] == "global" and row["pod"] in self.pods:
                found.setdefault(row["ip"], self.pods[row["pod"]])
        return found

    def node(self, name: str) -> Row | None:
        """A node as the API has it."""
        return next((row for row in self.nodes if row["node"] == name), None)

    def node_of_range(self, ip: str) -> str | None:
        """The node whose range of pod addresses this one is in, whether a pod has it or not."""
        return next((rows[0]["node"] for rows in self._ranges[family_of(ip)].find(ip)), None)

    @cached_property
    def _ranges(self) -> dict[str, Prefixes]:
        found = {family: Prefixes(bits) for family, bits in BITS.items()}
        for row in self.nodes:
            if row["pod_cidr"]:
                found[family_of(row["pod_cidr"])].add(row["pod_cidr"], row)
        return found

    @cached_property
    def resolvers(self) -> dict[str, Row]:
        """What the resolver of a pod asks."""
        return {row["pod"]: row for row in rows_of(self.state.get("resolvers"))}

    @cached_property
    def pod_links(self) -> dict[str, list[Row]]:
        return grouped(rows_of(self.state.get("pod_links")), "pod")

    @cached_property
    def pod_addresses(self) -> dict[str, list[Row]]:
        return grouped(rows_of(self.state.get("pod_addresses")), "pod")

    @cached_property
    def pod_neighbours(self) -> dict[str, list[Row]]:
        return grouped(rows_of(self.state.get("pod_neighbours")), "pod")

    @cached_property
    def pod_routes(self) -> dict[str, Routes]:
        rows = grouped(rows_of(self.state.get("pod_routes")), "pod")
        return {pod: Routes(mine, []) for pod, mine in rows.items()}

    @cached_property
    def host_ends(self) -> dict[str, tuple[str, str, str | None]]:
        """Pod to the device of its node at the other end, why that is known, and the replies that say so."""
        found: dict[str, tuple[str, str, str | None]] = {}
        for row in rows_of(self.state.get("cilium_endpoints")):
            pod = row["pod"] or f"{row['interface']} of {row['node']}"
            if pod in self.pods and row["interface"]:
                why = f"endpoint {row['endpoint']}: {row['interface']}"
                found[pod] = (row["interface"], why, row.get("reply"))
        macs = {}
        for machine in self.machines.values():
            for (device, ip), row in machine.neighbours.items():
                if ip in self.pod_of_ip and row["mac"]:
                    macs[machine.name, row["mac"]] = (self.pod_of_ip[ip]["pod"], device, row)
        for (node, mac), (pod, device, row) in macs.items():
            for entry in self.machines[node].forwarding.get(mac, []):
                if entry["master"] == device:
                    why = f"neighbour {row['dst_ip']} {mac}, forwarding entry {mac} dev {entry['interface']}"
                    found[pod] = (entry["interface"], why, f"{row.get('reply')} {entry.get('reply')}")
        for pod, links in self.pod_links.items():
            for row in links:
                outer = self._peer(pod, row)
                if outer:
                    why = f"{row['interface']} of the pod has link index {row['peer_ifindex']}: {outer['interface']}"
                    found[pod] = (outer["interface"], why, f"{row.get('reply')} {outer.get('reply')}")
        return found

    def _peer(self, pod: str, link: Row) -> Row | None:
        """The other end of a pod's device: on the pod's node, and pointing back."""
        machine = self.machines.get(self.pods[pod]["node"]) if pod in self.pods else None
        if machine is None or link["peer_ifindex"] is None:
            return None
        for row in machine.links.values():
            if row["ifindex"] == link["peer_ifindex"] and row["peer_ifindex"] == link["ifindex"]:
                return row
        return None

    @cached_property
    def behind(self) -> dict[tuple[str, str], str]:
        """The pod behind a device of a node, where it is known."""
        return {(self.pods[pod]["node"], end[0]): pod for pod, end in self.host_ends.items()}

    @cached_property
    def status(self) -> dict[str, Row]:
        """What Cilium's agent of each node says; empty without Cilium."""
        return {row["node"]: row for row in rows_of(self.state.get("status"))}

    def by_node(self, name: str) -> dict[str, list[Row]]:
        """The rows of a frame by node."""
        if name not in self._by_node:
            self._by_node[name] = grouped(rows_of(self.state.get(name)), "node")
        return self._by_node[name]

    @cached_property
    def _by_node(self) -> dict[str, dict[str, list[Row]]]:
        return {}
