"""One node: its devices, tables and rules, indexed for looking things up."""

from __future__ import annotations

from functools import cached_property
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

from labkit.analysis.paths.netfilter import Rules
from labkit.analysis.paths.routes import Routes
from labkit.analysis.paths.rows import Row, grouped, rows_of

if TYPE_CHECKING:
    from labkit.analysis.paths.packet import Packet
    from labkit.analysis.paths.state import State

__all__ = ["Machine"]


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
        return grouped(self._rows("forwarding"), "mac")

    @cached_property
    def ports(self) -> dict[str, list[str]]:
        """Ports of each bridge."""
        found = grouped(self.links.values(), "master")
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

    def address_for(self, packet: Packet, device: str | None) -> str | None:
        """The address that a packet gets that leaves by a device (inet_select_addr of `net/ipv4/devinet.c`).

        One of the device's own: that beside the next hop, else its first; where it has none, the first of the node.
        """
        mine = [row for row in self.addresses.values()
                if row["scope"] == "global" and row["family"] == packet.family]  # fmt: skip
        here = [row for row in mine if row["interface"] == device]
        route = self.routes.decide(packet).route
        next_hop = ip_address((route and route["next_hop"]) or packet.dst)
        beside = [
            row for row in here if next_hop in ip_interface(f"{row['ip']}/{row['prefix_length']}").network
        ]
        return next((row["ip"] for row in (*beside, *here, *mine)), None)
