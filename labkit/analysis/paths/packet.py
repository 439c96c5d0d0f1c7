"""A packet on its way, as far as the tables that decide on it can see it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Entry", "Packet", "Tunnel", "Walk", "at_port", "family_of", "number_of"]

#: `net.ipv4.ip_default_ttl` and the hop limit of Linux.
TTL = 64


@lru_cache(maxsize=65536)
def number_of(ip: str) -> int:
    """An address as a number."""
    return int(ip_address(ip))


def family_of(ip: str) -> str:
    """`inet` or `inet6`."""
    return "inet6" if ":" in ip else "inet"


def at_port(ip: str, port: object | None) -> str:
    """An address with its port, if it has one; of IPv6 in brackets."""
    if port is None:
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class Tunnel(NamedTuple):
    """What a packet is wrapped in."""

    kind: str
    src: str
    dst: str
    port: int | None
    vni: int | None
    #: MAC that the frame inside is sent to; NA where the tunnel carries IP packets.
    mac: str | None = None


class Packet(NamedTuple):
    """One packet. Ports of None are not known (a client's), a TTL of None neither."""

    src: str
    dst: str
    protocol: str
    sport: int | None = None
    dport: int | None = None
    ttl: int | None = TTL
    mark: int = 0
    #: Whether it is the first of its connection.
    opens: bool = True
    #: NEW, ESTABLISHED, INVALID or UNTRACKED, for the connection tracking of the node it is on.
    state: str = "NEW"
    tunnel: Tunnel | None = None

    @property
    def family(self) -> str:
        return family_of(self.dst)

    @property
    def ends(self) -> tuple[str, int | None, str, int | None]:
        """Source and destination with their ports."""
        return self.src, self.sport, self.dst, self.dport

    def answer(self) -> Packet:
        """The packet that whoever got this one sends back."""
        return Packet(self.dst, self.src, self.protocol, self.dport, self.sport, opens=False)

    def hopped(self) -> Packet:
        """One router on: its TTL is one less."""
        return self._replace(ttl=None if self.ttl is None else self.ttl - 1)


class Entry(NamedTuple):
    """A tracked connection on one node: what its first packet carried when it came, and when it left."""

    first: tuple[str, int | None, str, int | None]
    now: tuple[str, int | None, str, int | None]
    #: Ids of the replies that said how it is translated, or that it may pass; space-separated.
    reply: str | None = None

    @property
    def shown(self) -> str:
        """As it came, and how it is answered."""
        return f"{_ends(self.first)}, answered as {_ends(self.now)}"

    def answers(self, packet: Packet) -> bool:
        """Whether the packet is one of the other direction."""
        src, sport, dst, dport = self.now
        return packet.ends == (dst, dport, src, sport)


def _ends(ends: tuple[str, int | None, str, int | None]) -> str:
    src, sport, dst, dport = ends
    return f"{at_port(src, sport or '*')} to {at_port(dst, dport or '*')}"


class Walk(NamedTuple):
    """How far a packet came: the hops behind it, and how likely it is that it came this way."""

    packet: Packet
    chance: float = 1.0
    hops: tuple[dict[str, Any], ...] = ()
    #: Connections that are remembered, by who remembers them; never changed, but made anew.
    tracked: Mapping[str, tuple[Entry, ...]] = MappingProxyType({})
    #: The connection that the packet answers, on the node that it is on.
    answers: Entry | None = None
    #: What the packet carried when it came to the node that it is on.
    came: tuple[str, int | None, str, int | None] | None = None
    #: delivered, dropped, rejected, leaves or inconclusive; None while it is under way.
    end: str | None = None
    #: The pod or node that it was delivered to, and the device of its node before it.
    at: tuple[str, str] | None = None
    by: str | None = None
    #: The address whose MAC a frame from a pod is sent to: that of its gateway, or of its destination.
    frame_for: str | None = None

    def with_packet(self, **changes: Any) -> Walk:  # noqa: ANN401  (fields of Packet)
        return self._replace(packet=self.packet._replace(**changes))

    def then(self, hop: dict[str, Any], **changes: Any) -> Walk:  # noqa: ANN401  (fields of Walk)
        return self._replace(hops=(*self.hops, hop), **changes)

    def remembered(self, by: str, entry: Entry) -> Walk:
        """The walk with one more connection that is tracked there."""
        return self._replace(tracked={**self.tracked, by: (*self.tracked.get(by, ()), entry)})

    def known(self, by: str) -> Entry | None:
        """The connection that is tracked there and that the packet answers."""
        return next((entry for entry in self.tracked.get(by, ()) if entry.answers(self.packet)), None)
