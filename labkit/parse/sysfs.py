"""`/sys/class/net/DEVICE/iflink`: the number of the device at the other end.

Kernel documentation: Documentation/ABI/testing/sysfs-class-net. Of a veth it is the number of its peer in
the peer's namespace. It needs no tool but `cat`, which every image with a shell has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IFLINK", "iflink"]

IFLINK = Schema("iflink", "The other end of a device, one row.", key=(), columns=(
    Column("peer_ifindex", "Int64", "number of the device at the other end, in its own namespace"),
))  # fmt: skip


def iflink(data: bytes) -> pd.DataFrame:
    """Frame IFLINK. Raises ParseError where the file holds no number."""
    text = text_of("iflink", data).strip()
    if not text.isdecimal():
        raise ParseError("iflink", "not the number of a device", excerpt=text)
    return IFLINK.frame([{"peer_ifindex": int(text)}])
