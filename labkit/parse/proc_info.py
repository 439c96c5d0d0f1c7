"""`/proc/cpuinfo`, `/proc/meminfo`, `/etc/os-release` and `/etc/resolv.conf`: what a node is made of.

Formats: proc(5), os-release(5), resolv.conf(5).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CPU", "MEMORY", "RESOLVER", "cpuinfo", "meminfo", "os_release", "resolv_conf"]

CPU = Schema("cpu", "The processors of a node, one row.", key=(), columns=(
    Column("model", "str", "model name"),
    Column("cpus", "Int64", "logical processors"),
))  # fmt: skip

MEMORY = Schema("memory", "The memory of a node, one row.", key=(), columns=(
    Column("total_bytes", "Int64", "MemTotal"),
    Column("available_bytes", "Int64", "MemAvailable"),
))  # fmt: skip

RESOLVER = Schema("resolver", "How a pod resolves names, one row.", key=(), columns=(
    Column("nameservers", "str", "nameserver addresses, comma-separated"),
    Column("search", "str", "search domains, comma-separated"),
    Column("ndots", "Int64", "dots a name needs to be tried as it is first; 1 where not given"),
))  # fmt: skip

KIB = 1024


def cpuinfo(data: bytes) -> pd.DataFrame:
    """Frame CPU of `cat /proc/cpuinfo`. Raises ParseError where it names no model (as on some ARM)."""
    fields = _fields("/proc/cpuinfo", data, ":")
    models = [value for name, value in fields if name == "model name"]
    if not models:
        raise ParseError("/proc/cpuinfo", "no model name", excerpt=data[:80].decode(errors="replace"))
    return CPU.frame([{"model": models[0], "cpus": sum(name == "processor" for name, _ in fields)}])


def meminfo(data: bytes) -> pd.DataFrame:
    """Frame MEMORY of `cat /proc/meminfo`, whose `kB` are KiB."""
    fields = dict(_fields("/proc/meminfo", data, ":"))
    try:
        total, available = (
            int(fields[name].removesuffix(" kB")) * KIB for name in ("MemTotal", "MemAvailable")
        )
    except (KeyError, ValueError) as error:
        raise ParseError("/proc/meminfo", f"no MemTotal or MemAvailable ({error})") from None
    return MEMORY.frame([{"total_bytes": total, "available_bytes": available}])


def os_release(data: bytes) -> str:
    """`PRETTY_NAME` of `/etc/os-release`."""
    fields = dict(_fields("/etc/os-release", data, "="))
    if "PRETTY_NAME" not in fields:
        raise ParseError("/etc/os-release", "no PRETTY_NAME")
    return " ".join(shlex.split(fields["PRETTY_NAME"]))


def resolv_conf(data: bytes) -> pd.DataFrame:
    """Frame RESOLVER of `cat /etc/resolv.conf`."""
    servers, search, ndots = [], [], 1
    for number, line in enumerate(text_of("/etc/resolv.conf", data).splitlines(), 1):
        match line.split():
            case [] | ["#", *_]:
                continue
            case ["nameserver", address]:
                servers.append(address)
            case ["search", *domains]:
                search = domains
            case ["options", *options]:
                ndots = next((int(o[6:]) for o in options if o.startswith("ndots:")), ndots)
            case _:
                raise ParseError("/etc/resolv.conf", "unknown keyword", line=number, excerpt=line)
    if not servers:
        raise ParseError("/etc/resolv.conf", "no nameserver")
    return RESOLVER.frame([{"nameservers": ",".join(servers), "search": ",".join(search), "ndots": ndots}])


def _fields(tool: str, data: bytes, sign: str) -> list[tuple[str, str]]:
    """Name and value of each line that has the sign."""
    lines = text_of(tool, data).splitlines()
    found = [
        (name.strip(), value.strip())
        for line in lines
        for name, mark, value in [line.partition(sign)]
        if mark
    ]
    if not found:
        raise ParseError(tool, f"no line with {sign!r}", excerpt=data[:80].decode(errors="replace"))
    return found
