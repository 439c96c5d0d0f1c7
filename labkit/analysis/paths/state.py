"""The state of one arm that decides on packets, indexed for looking things up.

Frames come as the collectors give them. A frame that was not read is not there: whoever needs it must say
that it is missing, not take it for empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.netfilter import Rules
from labkit.analysis.paths.packet import family_of
from labkit.analysis.paths.routes import BITS, Prefixes, Routes

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    import pandas as pd

__all__ = ["NODE_FRAMES", "Machine", "Row", "State", "World", "rows_of"]

Row = dict[str, Any]
#: Frames that a node's own decisions need, by the names of `State.frames`.
NODE_FRAMES = (
    "links",
    "addresses",
    "routes",
    "ip_rules",
    "neighbours",
    "forwarding",
    "sysctls",
    "rules",
    "rules6",
)


def rows_of(frame: pd.DataFrame | None) -> list[Row]:
    """Rows as plain dicts, missing cells as None."""
    if frame is None:
        return []
    missing, names = frame.isna().to_numpy(), [str(name) for name in frame.columns]
    rows: list[Row] = [
        dict(zip(names, row, strict=True))
        for row in zip(*(frame[name].tolist() for name in names), strict=True)
    ]
    for place, column in zip(*missing.nonzero(), strict=True):
        rows[place][names[column]] = None
    return rows


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


class Machine:
    """One node: its devices, tables and rules."""

    def __init__(self, name: str, ip: str, state: State) -> None:
        self.name, self.ip = name, ip
        self._state = state

    def _rows(self, name: str) -> list[Row]:
        frame = self._state.get(name)
        return [] if frame is None else rows_of(frame[frame["node"] == self.name])

    def read(self, name: str) -> bool:
        """Whether this frame was read on this node."""
        frame = self._state.get(name)
        return frame is not None and bool((frame["node"] == self.name).any())

    @cached_property
    def links(self) -> dict[str, Row]:
        return {row["interface"]: row for row in self._rows("links")}

    @cached_property
    def by_mac(self) -> dict[str, Row]:
        """The addresses of the node's own devices."""
        return {row["mac"]: row for row in self.links.values() if row["mac"]}

    @cached_property
    def addresses(self) -> dict[str, Row]:
        """The node's own addresses."""
        return {row["ip"]: row for row in self._rows("addresses")}

    @cached_property
    def routes(self) -> Routes:
        return Routes(self._rows("routes"), self._rows("ip_rules"))

    @cached_property
    def neighbours(self) -> dict[tuple[str, str], Row]:
        """By device and address."""
        return {(row["interface"], row["dst_ip"]): row for row in self._rows("neighbours")}

    @cached_property
    def forwarding(self) -> dict[str, list[Row]]:
        """Forwarding entries by MAC."""
        return _grouped(self._rows("forwarding"), "mac")

    @cached_property
    def ports(self) -> dict[str, list[str]]:
        """Ports of each bridge."""
        found = _grouped(self.links.values(), "master")
        return {master: [row["interface"] for row in rows] for master, rows in found.items() if master}

    @cached_property
    def sysctls(self) -> dict[str, Row]:
        return {row["name"]: row for row in self._rows("sysctls")}

    @cached_property
    def filtered(self) -> dict[str, Row]:
        """Devices with a clsact qdisc, at which programs or filters of tc can be attached."""
        return {row["interface"]: row for row in self._rows("qdiscs") if row["kind"] == "clsact"}

    @cached_property
    def rules(self) -> dict[str, Rules]:
        """The rules of iptables by family; a family that was not read is not there."""
        found = {}
        for family, number in (("inet", ""), ("inet6", "6")):
            frame, chains = self._state.get(f"rules{number}"), self._state.get(f"chains{number}")
            if frame is not None:
                mine = None if chains is None else chains[chains["node"] == self.name]
                found[family] = Rules(frame[frame["node"] == self.name], mine)
        return found

    def index(self) -> None:
        """Build what is slow to build now, not when the first packet asks for it."""
        self.rules, self.routes, self.neighbours, self.forwarding  # noqa: B018

    @cached_property
    def nic(self) -> str | None:
        """The device that has the node's address."""
        row = self.addresses.get(self.ip)
        return row["interface"] if row else None

    def kind(self, device: str | None) -> str | None:
        row = self.links.get(device or "")
        return row["kind"] if row else None

    def address_type(self, ip: str) -> str:
        """The type of an address for this node, as `addrtype` of iptables tells it."""
        return self.routes.address_type(ip)


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
    def pod_links(self) -> dict[str, list[Row]]:
        return _grouped(rows_of(self.state.get("pod_links")), "pod")

    @cached_property
    def pod_addresses(self) -> dict[str, list[Row]]:
        return _grouped(rows_of(self.state.get("pod_addresses")), "pod")

    @cached_property
    def pod_neighbours(self) -> dict[str, list[Row]]:
        return _grouped(rows_of(self.state.get("pod_neighbours")), "pod")

    @cached_property
    def pod_routes(self) -> dict[str, Routes]:
        rows = _grouped(rows_of(self.state.get("pod_routes")), "pod")
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
            self._by_node[name] = _grouped(rows_of(self.state.get(name)), "node")
        return self._by_node[name]

    @cached_property
    def _by_node(self) -> dict[str, dict[str, list[Row]]]:
        return {}


def _grouped(rows: Iterable[Row], column: str) -> dict[Any, list[Row]]:
    found: dict[Hashable, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found
