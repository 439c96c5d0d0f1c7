"""Addresses and the identities behind them, of `cilium-dbg bpf ipcache list -o json`.

Printed as `{"10.245.1.31/32": ["identity=13566 encryptkey=0 tunnelendpoint=10.241.0.5 flags=hastunnel"]}`.
A tunnel endpoint here is the node that a remote address lives on; agents write it with native routing
too, where no packet is put into a tunnel (`status`: Routing).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.parse.cilium import frame_of
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["IPCACHE", "ipcache"]

TOOL = "cilium-dbg bpf ipcache list"

IPCACHE = Schema("ipcache", "Which identity an address has.", key=("prefix",), columns=(
    Column("prefix", "str", "addresses"),
    Column("identity", "Int64", "security identity"),
    Column("tunnel_endpoint", "str", "node that the addresses live on; NA for this node and the outside"),
    Column("encrypt_key", "Int64", "key of transparent encryption; 0 for none"),
    Column("flags", "str", "flags, comma-separated; NA in versions that tell none"),
))  # fmt: skip

ENTRY = re.compile(
    r"identity=(?P<identity>\d+) encryptkey=(?P<key>\d+) tunnelendpoint=(?P<endpoint>\S+)(?: flags=(?P<flags>\S+))?"
)
NOWHERE = ("0.0.0.0", "::")  # noqa: S104  (read, not bound to)


def ipcache(data: bytes) -> pd.DataFrame:
    """Addresses with their identities: frame IPCACHE."""
    return frame_of(TOOL, IPCACHE, _rows(json_object(TOOL, data)))


def _rows(entries: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for prefix, values in entries.items():
        for value in values:
            found = ENTRY.fullmatch(value.strip())
            if found is None:
                raise ValueError(f"cannot read {value!r} of {prefix}")
            yield {
                "prefix": prefix,
                "identity": int(found["identity"]),
                "tunnel_endpoint": None if found["endpoint"] in NOWHERE else found["endpoint"],
                "encrypt_key": int(found["key"]),
                "flags": "" if found["flags"] == "<none>" else found["flags"],
            }
