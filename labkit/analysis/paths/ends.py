"""Who talks to whom: names of pods, Services and nodes, and addresses, as ends of a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from labkit.analysis.paths.state import World

__all__ = ["End", "destination", "source", "split"]

Row = dict[str, Any]
SHOWN = 6
#: A name or an address with a port behind it (its number, or a Service's name of it), and a protocol.
WITH_PORT = re.compile(
    r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(?P<port>[\w-]+))?(?:/(?P<protocol>tcp|udp))?"
)


@dataclass(frozen=True, slots=True)
class End:
    """One end: a pod, a node, a Service (by name or by address) or an address outside."""

    kind: str
    name: str
    ip: str
    row: Row | None = None
    #: The name that a client would look up, where a Service was named and not addressed.
    asked: str | None = None
    #: Whether it was named by its address: a node or pod may have others.
    addressed: bool = False


def split(text: str) -> tuple[str, str | None, str | None]:
    """Name, port and protocol of `name:port/protocol`, with what is not given as None; `[address]:port` for IPv6."""
    found = WITH_PORT.fullmatch(text)
    if found is None:
        return text, None, None
    return found["name"].strip("[]"), found["port"], found["protocol"]


def source(world: World, name: str) -> End:
    """A pod (`name`, `namespace/name`, or its label, `app=label`, for the first of them), a node, or an address.

    Raises ParameterError for any other, naming what there is.
    """
    found = (
        _address(world, name)
        or _machine_or_pod(world, name, None)
        or _machine_or_pod(world, f"app={name.removeprefix('app=')}", None)
    )
    if found is None:
        raise ParameterError(f"no pod, node or address {name!r} to send from{_there(world, name)}")
    if found.kind == "service":
        raise ParameterError(
            f"{name} is the Service {found.name}: nothing sends from there{_there(world, name)}"
        )
    return found


def destination(world: World, name: str, sender: End) -> End:
    """A pod, a node, a Service (`name`, `namespace/name` or its DNS name) or an address.

    `app=label`, or the label alone where no Service is called so, is the first such pod, `app=label/same-node` and
    `app=label/other-node` the first that runs beside the sender or away from it. Raises ParameterError for any other, naming what there is.
    """
    found = _address(world, name) or _machine_or_pod(world, name, sender) or _service(world, name)
    found = found or _machine_or_pod(world, f"app={name.removeprefix('app=')}", sender)
    if found is None:
        raise ParameterError(f"no pod, Service, node or address {name!r}{_there(world, name, services=True)}")
    return found


def _address(world: World, name: str) -> End | None:
    """Whose address it is; None for what is no address."""
    try:
        ip = str(ip_address(name))
    except ValueError:
        return None
    pod, node = world.pod_of_ip.get(ip), world.node_of_ip.get(ip)
    service = next(iter(world.services_of_ip.get(ip, ())), None)
    if pod is not None:
        return End("pod", pod["pod"], ip, pod, addressed=True)
    if service is not None:
        return End("service", f"{service['namespace']}/{service['service']}", ip, service)
    if node is not None:
        return End("node", node, ip, addressed=True)
    own = [name for name, machine in world.machines.items() if _is_of(machine.addresses.get(ip))]
    return End("node", own[0], ip, addressed=True) if len(own) == 1 else End("outside", ip, ip)


def _is_of(row: Row | None) -> bool:
    """Whether an address is one that others can ask, and not each node's own (127.0.0.1, fe80::…)."""
    return row is not None and row["scope"] == "global"


def _machine_or_pod(world: World, name: str, sender: End | None) -> End | None:
    if name in world.machines:
        return End("node", name, world.machines[name].ip)
    if name.startswith("app="):
        row = _labelled(world, name.removeprefix("app="), sender)
    else:
        row = world.pods.get(name.rpartition("/")[2])
        if row is not None and "/" in name and row["namespace"] != name.partition("/")[0]:
            row = None
    if row is None or not row["pod_ip"]:
        return None
    if row["host_network"]:
        return End("node", row["node"], row["pod_ip"], row)
    return End("pod", row["pod"], row["pod_ip"], row)


def _labelled(world: World, wanted: str, sender: End | None) -> Row | None:
    app, _, where = wanted.partition("/")
    rows = [row for row in world.pods.values() if row["app"] == app and row["pod_ip"]]
    rows.sort(key=lambda row: (row["node"], row["pod"]))
    if where and sender is not None:
        if where not in ("same-node", "other-node"):
            raise ParameterError(
                f"app={wanted}: behind the label stands same-node or other-node, not {where!r}"
            )
        home = world.pods[sender.name]["node"] if sender.kind == "pod" else sender.name
        rows = [row for row in rows if (row["node"] == home) == (where == "same-node")]
    return rows[0] if rows else None


def _service(world: World, name: str) -> End | None:
    labels = name.removesuffix(".").split(".")
    space, _, short = name.rpartition("/")
    if len(labels) > 1:
        short, space = labels[0], labels[1]
    rows = [row for row in world.services if row["service"] == short and space in ("", row["namespace"])]
    if not rows:
        return None
    row = rows[0]
    asked = name if len(labels) > 1 else f"{short}.{row['namespace']}.svc.cluster.local"
    return End("service", f"{row['namespace']}/{row['service']}", row["cluster_ip"] or "", row, asked)


def _there(world: World, name: str, *, services: bool = False) -> str:
    """What there is, with what the name may have meant first."""
    pods = sorted(f"{row['namespace']}/{row['pod']}" for row in world.pods.values() if row["namespace"])
    named = {"nodes": sorted(world.machines), "pods": pods}
    named["labels"] = sorted({f"app={row['app']}" for row in world.pods.values() if row["app"]})
    if services:
        named["Services"] = sorted({f"{row['namespace']}/{row['service']}" for row in world.services})
    names = [each for some in named.values() for each in some]
    whole = {each.rpartition("/")[2]: each for each in names} | {each: each for each in names}
    meant = dict.fromkeys(whole[each] for each in get_close_matches(name, whole, cutoff=0.5))
    said = f"; did you mean {' or '.join(meant)}?" if meant else ";"
    return f"{said} there are the " + ", the ".join(
        f"{kind} {_some(some)}" for kind, some in named.items() if some
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
