"""Cilium's endpoint map and ipcache on each node, against pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import replies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.state import World

__all__ = ["of_cilium"]

Row = dict[str, Any]
#: Identities below are reserved; those from here to LOCAL are of pods, in the whole cluster.
PODS, LOCAL = 256, 1 << 24


def of_cilium(world: World) -> Iterator[Row]:
    """The endpoint map and the ipcache of each node; nothing where they were not read."""
    owners = {
        row["ip"]: row for rows in world.by_node("cilium_endpoints").values() for row in rows if row["ip"]
    }
    pods = {ip: pod for ip, pod in world.pod_of_ip.items() if ip in owners or not pod.get("endpoint")}
    for node in world.machines:
        if world.by_node("endpoint_map").get(node):
            yield from _endpoint_map(world, node, pods, owners)
        if world.by_node("ipcache").get(node):
            yield from _ipcache(world, node, pods, owners)


def _entry(node: str, kind: str, entry: str, intended: str | None, programmed: str | None, state: str,
           reply: str | None) -> Row:  # fmt: skip
    return {"node": node, "kind": kind, "entry": entry, "intended": intended, "programmed": programmed,
            "state": state, "reply": reply}  # fmt: skip


def _endpoint_map(world: World, node: str, pods: dict[str, Row], owners: dict[str, Row]) -> Iterator[Row]:
    """An entry for each pod of the node, by the number and device that its agent gives it."""
    held = {row["ip"]: row for row in world.by_node("endpoint_map")[node]}
    devices = {name: row["ifindex"] for name, row in world.machines[node].links.items()}
    for ip, pod in pods.items():
        if pod["node"] != node:
            continue
        own, found = owners.get(ip), held.pop(ip, None)
        wanted = f"id={own['endpoint']} ifindex={devices.get(own['interface'])}" if own else "an endpoint"
        text = f"id={found['endpoint']} ifindex={found['ifindex']}" if found else None
        state = "missing" if found is None else "matching" if own is None or text == wanted else "wrong"
        yield _entry(node, "endpoint map", f"{pod['pod']} {ip}", wanted, text, state, replies(found, own))
    for ip, row in held.items():
        if row["endpoint"] is not None:
            text = f"id={row['endpoint']} ifindex={row['ifindex']}"
            yield _entry(node, "endpoint map", ip, None, text, "stale", replies(row))


def _ipcache(world: World, node: str, pods: dict[str, Row], owners: dict[str, Row]) -> Iterator[Row]:
    """An entry for each pod of the cluster: its identity, and the node that it lives on."""
    held = {row["prefix"].partition("/")[0]: row for row in world.by_node("ipcache")[node]
            if row["prefix"].endswith(("/32", "/128"))}  # fmt: skip
    for ip, pod in pods.items():
        own, found = owners.get(ip), held.pop(ip, None)
        far = None if pod["node"] == node else world.machines[pod["node"]].ip
        wanted = _cached(own["identity"] if own else None, far)
        text = _cached(found["identity"], found["tunnel_endpoint"]) if found else None
        good = (
            found
            and (own is None or found["identity"] == own["identity"])
            and found["tunnel_endpoint"] in (far, None)
        )
        state = "missing" if found is None else "matching" if good else "wrong"
        yield _entry(node, "ipcache", f"{pod['pod']} {ip}", wanted, text, state, replies(found, own))
    for ip, row in held.items():
        if PODS <= row["identity"] < LOCAL:
            text = _cached(row["identity"], row["tunnel_endpoint"])
            yield _entry(node, "ipcache", ip, None, text, "stale", replies(row))


def _cached(identity: int | None, far: str | None) -> str:
    return f"identity={'any' if identity is None else identity}" + (f" on {far}" if far else "")
