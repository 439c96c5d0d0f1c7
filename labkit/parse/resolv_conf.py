"""`/etc/resolv.conf`: whom a resolver asks, and what it tries. Format: resolv.conf(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESOLVERS", "resolver"]

TOOL = "resolv.conf"

RESOLVERS = Schema("resolvers", "How names are looked up, one row.", key=(), columns=(
    Column("nameservers", "str", "addresses of the servers, comma-separated, in the order they are asked"),
    Column("search", "str", "domains that are tried behind a name, comma-separated; NA without"),
    Column("ndots", "Int64", "a name with fewer dots is tried with the domains first; 1 where it is not set"),
))  # fmt: skip


def resolver(data: bytes) -> pd.DataFrame:
    """Frame RESOLVERS. Raises ParseError where no server is named, or a line is none of the format."""
    servers, search, ndots = [], "", 1
    for number, line in enumerate(text_of(TOOL, data).splitlines(), 1):
        words = line.split("#")[0].split(";")[0].split()
        match words:
            case []:
                continue
            case ["nameserver", server]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = ",".join(domains)
            case ["options", *options]:
                given = [word.partition(":")[2] for word in options if word.startswith("ndots:")]
                ndots = int(given[-1]) if given else ndots
            case ["sortlist", *_]:
                continue
            case _:
                raise ParseError(TOOL, "no line of a resolver", line=number, excerpt=line)
    if not servers:
        raise ParseError(TOOL, "no nameserver")
    return RESOLVERS.frame([{"nameservers": ",".join(servers), "search": search or None, "ndots": ndots}])
