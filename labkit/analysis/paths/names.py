"""How a name becomes an address: what the resolver of a pod asks for, in which order, and what it is told.

Order: resolv.conf(5) and `res_query.c` of glibc: a name with fewer dots than `ndots` is first tried with each
domain of the search list, then as it is; a name that ends in a dot, only as it is. What the cluster's DNS
answers is the specification of Kubernetes (DNS-Based Service Discovery 1.1): it is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["answered", "dns_name", "questions"]

Row = dict[str, Any]


def questions(name: str, search: Sequence[str], ndots: int) -> list[str]:
    """The names that the resolver tries, in order, each with a dot at its end."""
    if name.endswith("."):
        return [name]
    searched = [f"{name}.{domain}." for domain in search]
    return [*searched, f"{name}."] if name.count(".") < ndots else [f"{name}.", *searched]


def dns_name(service: str, namespace: str, domain: str = "cluster.local") -> str:
    """A Service's whole name, with a dot at its end."""
    return f"{service}.{namespace}.svc.{domain}."


def answered(tried: Sequence[str], services: Mapping[str, list[Row]]) -> tuple[int, Row | None]:
    """How many are asked until one is a Service (by its whole name), and that Service; all where none is."""
    for count, name in enumerate(tried, 1):
        if rows := services.get(name):
            return count, rows[0]
    return len(tried), None
