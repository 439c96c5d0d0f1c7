"""The ranges that addresses of Services come from: `/apis/networking.k8s.io/v1/servicecidrs`.

Shape: Kubernetes `staging/src/k8s.io/api/networking/v1/types.go`, ServiceCIDR (in every cluster from 1.33 on).
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.kubernetes import items
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SERVICE_CIDRS", "service_cidrs"]

SERVICE_CIDRS = Schema("service_cidrs", "Ranges of Services' addresses.", key=("name", "prefix"), columns=(
    Column("name", "str", "name of the object; `kubernetes` is the cluster's own"),
    Column("prefix", "str", "the range"),
    Column("addresses", "Int64", "addresses in it that a Service can get"),
))  # fmt: skip
#: More than a Service ever gets: what a range of IPv6 has is no number of 64 bits.
MOST = 2**32


def service_cidrs(data: bytes) -> pd.DataFrame:
    """Each range: frame SERVICE_CIDRS. The first and, of IPv4, the last address are nobody's."""
    try:
        return SERVICE_CIDRS.frame(
            {"name": item["metadata"]["name"], "prefix": prefix, "addresses": _addresses(prefix)}
            for item in items(data)
            for prefix in item["spec"]["cidrs"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ParseError("the API server", f"a ServiceCIDR that cannot be read: {error}") from None


def _addresses(prefix: str) -> int:
    found = ip_network(prefix)
    return min(found.num_addresses - (2 if found.version == 4 else 1), MOST)
