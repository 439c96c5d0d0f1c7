"""`tc -j qdisc show` of iproute2: queueing disciplines of devices. Format: `tc/tc_qdisc.c`.

The kind `clsact` queues nothing: it is where programs and filters of tc are attached. Programs that are
attached by tcx need none and do not show here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.parse.iproute import entries, framed
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["QDISCS", "qdiscs"]

QDISCS = Schema("qdiscs", "Queueing disciplines.", key=("interface", "handle", "parent"), columns=(
    Column("interface", "str", "device"),
    Column("kind", "str", "noqueue, fq_codel, mq, clsact, …"),
    Column("handle", "str", "its number"),
    Column("parent", "str", "the class or hook it hangs on; NA for the root"),
))  # fmt: skip


def qdiscs(data: bytes) -> pd.DataFrame:
    """Frame QDISCS. Raises ParseError."""
    return framed("tc qdisc", QDISCS, (
        {"interface": entry["dev"], "kind": entry["kind"], "handle": entry["handle"], "parent": entry.get("parent")}
        for entry in entries("tc qdisc", data)
    ))  # fmt: skip
