"""`ethtool -k` and `ethtool -i`: what a device does for the kernel, and which driver it is.

Formats: `netlink/features.c` (`print_feature`) and `ethtool.c` (`dump_drvinfo`) of ethtool.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DRIVER", "FEATURES", "driver", "features"]

FEATURES = Schema("offloads", "Features of a device: work that it takes from the kernel.", key=("feature",), columns=(
    Column("feature", "str", "name, such as tcp-segmentation-offload"),
    Column("group", "str", "the feature that it is a part of; NA for one that stands alone or is a group"),
    Column("on", "boolean", "is used"),
    Column("fixed", "boolean", "cannot be changed"),
))  # fmt: skip

DRIVER = Schema("driver", "The driver of a device, one row.", key=(), columns=(
    Column("driver", "str", "name: veth, hv_netvsc, mlx5_core, …"),
    Column("version", "str", "version; often that of the kernel"),
    Column("bus", "str", "address on the bus; NA for a virtual device"),
))  # fmt: skip

FEATURE = re.compile(
    r"(?P<part>\t?)(?P<feature>[a-z0-9][\w-]*): (?P<on>on|off)(?: \[(?P<note>fixed|requested on|requested off)\])?$"
)


def features(data: bytes) -> pd.DataFrame:
    """`ethtool -k DEVICE`: frame FEATURES. Raises ParseError."""
    head, *lines = text_of("ethtool", data).splitlines() or [""]
    if not head.startswith("Features for ") or not lines:
        raise ParseError("ethtool", "no features", line=1, excerpt=head)
    rows: list[dict[str, object]] = []
    group = None
    for number, line in enumerate(lines, 2):
        if (found := FEATURE.match(line)) is None:
            raise ParseError("ethtool", "not a feature", line=number, excerpt=line)
        group = group if found["part"] else found["feature"]
        rows.append({
            "feature": found["feature"],
            "group": group if found["part"] else None,
            "on": found["on"] == "on",
            "fixed": found["note"] == "fixed",
        })  # fmt: skip
    return FEATURES.frame(rows)


def driver(data: bytes) -> pd.DataFrame:
    """`ethtool -i DEVICE`: frame DRIVER. Raises ParseError."""
    fields = {}
    for number, line in enumerate(text_of("ethtool", data).splitlines(), 1):
        name, sign, value = line.partition(":")
        if not sign:
            raise ParseError("ethtool", "not a field", line=number, excerpt=line)
        fields[name] = value.strip()
    if not {"driver", "version", "bus-info"} <= fields.keys():
        raise ParseError("ethtool", "no driver, version or bus-info", excerpt=data.decode(errors="replace"))
    return DRIVER.frame([
        {"driver": fields["driver"], "version": fields["version"] or None, "bus": fields["bus-info"] or None}
    ])  # fmt: skip
