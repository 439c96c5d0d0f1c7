"""The text of `iptables-save -c` on a node with very many Services: recorded rules, repeated.

Every rule has the form of a recorded one (kube-proxy 1.36, recording overlay-vxlan, node vxlan-node-0: the
Service `cni-lab/backend-service` with two endpoints), with another name, address and hash. kube-proxy writes
eight rules for such a Service: one in KUBE-SERVICES, three in its own chain, two in each endpoint's.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache

from tests.conftest import recorded

__all__ = ["address", "endpoints", "iptables_save", "name"]

ENDPOINTS = 2
HASH = re.compile(r"KUBE-(?:SVC|SEP)-[A-Z0-9]{16}")
SERVICE, VIRTUAL, OWN = "cni-lab/backend-service", "10.0.68.134", ("10.244.0.3", "10.244.1.3")


def name(n: int) -> str:
    """The n-th Service as its rules name it."""
    return f"scale/scale-{n:05d}"


def address(n: int) -> str:
    """Its cluster address."""
    return f"10.{100 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"


def endpoints(n: int) -> list[str]:
    """The addresses of its endpoints."""
    return [f"10.{200 + k}.{n >> 8 & 255}.{n & 255}" for k in range(ENDPOINTS)]


@cache
def _recorded() -> tuple[list[str], list[str]]:
    """The recorded text, and the lines of it that are about the one Service (chains first)."""
    (reply,) = recorded("overlay-vxlan", "iptables-save -c", subject="vxlan-node-0")
    lines = reply.stdout.decode().splitlines()
    rules = [line for line in lines if f'"{SERVICE}' in line]
    own = sorted({found for line in rules for found in HASH.findall(line)}, reverse=True)
    return lines, [*(line for line in lines if line.startswith(tuple(f":{c} " for c in own))), *rules]


def _renamed(line: str, n: int) -> str:
    for old, new in zip((VIRTUAL, *OWN), (address(n), *endpoints(n)), strict=True):
        line = line.replace(f"{old}/", f"{new}/").replace(f"{old}:", f"{new}:")
    line = line.replace(SERVICE, name(n))
    for old in HASH.findall(line):
        line = line.replace(old, old[:9] + hashlib.sha256(f"{old}{n}".encode()).hexdigest()[:16].upper())
    return line


def iptables_save(services: int) -> bytes:
    """The recorded text with so many Services more; their rules stand where kube-proxy would put them."""
    lines, mine = _recorded()
    chains = [line for line in mine if line.startswith(":")]
    front = [line for line in mine if "-A KUBE-SERVICES" in line]
    rest = [line for line in mine if line.startswith("[") and line not in front]
    last = next(i for i, line in enumerate(lines) if "-A KUBE-SERVICES" in line and "KUBE-NODEPORTS" in line)
    nat = lines.index("*nat")
    end = next(i for i in range(nat, len(lines)) if lines[i] == "COMMIT")
    at = next(i for i in range(nat, len(lines)) if lines[i].startswith("["))
    many = range(services)
    out = [
        *lines[:at],
        *(_renamed(line, n) for n in many for line in chains),
        *lines[at:last],
        *(_renamed(line, n) for n in many for line in front),
        *lines[last:end],
        *(_renamed(line, n) for n in many for line in rest),
        *lines[end:],
    ]
    return ("\n".join(out) + "\n").encode()
