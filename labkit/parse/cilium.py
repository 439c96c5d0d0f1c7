"""What all readers of `cilium-dbg` share: rows that do not fit, byte order, protocol numbers.

Cilium prints some maps as the integers that lie in kernel memory. Ports in them are in network byte
order, so on the little-endian machines that Cilium runs on (amd64, arm64) they read as swapped numbers:
port 53 as 13568.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError, SchemaError
from labkit.parse.decode import json_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from labkit.schema import Schema

__all__ = ["PROTOCOLS", "address", "dump", "frame_of", "host_order", "is_usage", "protocol", "typed"]

#: IANA protocol numbers that a Cilium map can hold; 0 in a policy map stands for any protocol.
PROTOCOLS = {0: "ANY", 1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 112: "VRRP", 132: "SCTP"}


def protocol(number: int) -> str:
    """The name of an IANA protocol number; the number itself where Cilium has no name for it."""
    return PROTOCOLS.get(number, str(number))


def host_order(network_order: int) -> int:
    """A 16-bit number, such as a port, that was printed in network byte order, as people write it."""
    return int.from_bytes(network_order.to_bytes(2, "little"), "big")


def address(octets: list[int]) -> str:
    """An IPv4 or IPv6 address that was printed as the list of its octets."""
    return str(ip_address(bytes(octets)))


def dump(tool: str, data: bytes) -> list[Any]:
    """The list that a dump is. Go prints a list it never made as `null`: that is one without members."""
    value = json_of(tool, data)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ParseError(tool, f"a JSON list was expected, got {type(value).__name__}", excerpt=str(value))
    return value


def typed(value: Any, kind: type | tuple[type, ...], what: str) -> Any:  # noqa: ANN401  (JSON is any of six types)
    """The value, if it is of this JSON type. Raises TypeError, which `frame_of` turns into ParseError."""
    if not isinstance(value, kind):
        raise TypeError(f"{what} of another type")
    return value


def is_usage(data: bytes) -> bool:
    """Whether the output is a usage text: what `cilium-dbg` prints, with exit code 0, for a sub-command it lacks."""
    return b"\nUsage:\n  cilium" in data


def frame_of(tool: str, schema: Schema, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as the declared frame. Raises ParseError where the JSON lacks a field or holds another type."""
    try:
        return schema.frame(rows)
    except KeyError as error:
        raise ParseError(tool, f"an object of {schema.name} without {error}") from None
    except (AttributeError, IndexError, TypeError, ValueError, OverflowError, SchemaError) as error:
        raise ParseError(tool, f"an object of {schema.name} that does not fit: {error}") from None
