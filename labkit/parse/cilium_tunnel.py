"""The tunnel map of a node, of `cilium-dbg bpf tunnel list`, where there is one.

Cilium 1.18 took the command and the map away (cilium pull request 38839); what a newer one prints is the
usage text of `cilium-dbg bpf`, with exit code 0. The node behind a remote address then stands in the
ipcache. The table of older versions is read as their documentation prints it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.cilium import is_usage
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TUNNELS", "tunnels"]

TOOL = "cilium-dbg bpf tunnel list"

TUNNELS = Schema("tunnel_map", "Tunnels to other nodes.", key=("prefix",), columns=(
    Column("prefix", "str", "first address of a remote range of pods"),
    Column("tunnel_endpoint", "str", "node that packets for it are sent to"),
))  # fmt: skip

HEADING = re.compile(r"TUNNEL\s+VALUE")
ROW = re.compile(r"(?P<prefix>[\d.]+):0\s+(?P<endpoint>[\d.]+):0")


def tunnels(data: bytes) -> pd.DataFrame:
    """Tunnels to other nodes: frame TUNNELS. A usage text is a ParseError, not an empty map."""
    if is_usage(data):
        raise ParseError(TOOL, "a usage text: this version has no such command")
    lines = [line.strip() for line in text_of(TOOL, data).splitlines()]
    if not lines or not HEADING.fullmatch(lines[0]):
        raise ParseError(TOOL, "no heading `TUNNEL VALUE`", line=1, excerpt="".join(lines[:1]))
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        found = ROW.fullmatch(line)
        if found is None:
            raise ParseError(TOOL, "no pair of addresses", line=number, excerpt=line)
        rows.append({"prefix": found["prefix"], "tunnel_endpoint": found["endpoint"]})
    return TUNNELS.frame(rows)
