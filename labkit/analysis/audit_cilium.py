"""Cilium's maps on each node, against pods and NetworkPolicies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import replies
from labkit.analysis.paths.maps import Maps
from labkit.analysis.paths.packet import Packet
from labkit.analysis.paths.rows import rows_of
from labkit.analysis.policy_model import Flow, Peer, decide, labels_of, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.state import World

__all__ = ["of_cilium"]

Row = dict[str, Any]
#: Identities below are reserved; those from here to LOCAL are of pods, in the whole cluster.
PODS, LOCAL = 256, 1 << 24


def of_cilium(world: World) -> Iterator[Row]:
    """The endpoint map, the ipcache and the policy maps of each node; nothing where they were not read."""
    maps = Maps(world)
    owners = {
        row["ip"]: row for rows in world.by_node("cilium_endpoints").values() for row in rows if row["ip"]
    }
    pods = {ip: pod for ip, pod in world.pod_of_ip.items() if ip in owners or not pod.get("endpoint")}
    for node in world.machines:
        if world.by_node("endpoint_map").get(node):
            yield from _endpoint_map(world, node, pods, owners)
        if world.by_node("ipcache").get(node):
            yield from _ipcache(world, node, pods, owners)
    if world.by_node("policy_map") and world.state.get("policy_rules") is not None:
        yield from _policies(world, maps)


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


def _policies(world: World, maps: Maps) -> Iterator[Row]:
    """Every pair of pods and port that a Service leads to: what the policies say, and what the two maps say.

    A block that is not programmed is `missing`, one that nothing wants is `stale`. Pairs that the API leaves
    open are left out.
    """
    rules = records(world.state.frames["policy_rules"])
    spaces = {
        row["namespace"]: labels_of(row["labels"] or "") for row in rows_of(world.state.get("namespaces"))
    }
    pods = [pod for pod in world.pod_of_ip.values() if pod["namespace"]]
    peers = {pod["pod"]: Peer(pod["pod_ip"], pod["namespace"], labels_of(pod["labels"] or ""),
                              spaces.get(pod["namespace"], {})) for pod in pods}  # fmt: skip
    ends = {pod["pod"]: _endpoint(world, pod) for pod in pods}
    for target, protocol, port in _ports(world):
        for source, peer in peers.items():
            if source == target or ends[source] is None or ends.get(target) is None:
                continue
            flow = Flow(peer, peers[target], protocol, port)
            wanted = decide(rules, flow).allowed
            if wanted is not None:
                yield _verdict(
                    world, maps, flow, (source, target), (ends[source], ends[target]), wanted=wanted
                )


def _endpoint(world: World, pod: Row) -> Row | None:
    rows = world.by_node("cilium_endpoints").get(pod["node"], [])
    return next((row for row in rows if row["pod"] == pod["pod"]), None)


def _ports(world: World) -> list[tuple[str, str, int]]:
    """Pods, protocols and ports that Services lead to."""
    rows = rows_of(world.state.get("endpoints"))
    found = {(row["pod"], row["protocol"], row["port"]) for row in rows if row["pod"] in world.pods}
    return sorted(found)


def _verdict(
    world: World, maps: Maps, flow: Flow, names: tuple[str, str], ends: tuple[Any, Any], *, wanted: bool
) -> Row:
    packet = Packet(flow.source.ip, flow.destination.ip, flow.protocol.lower(), None, flow.port)
    (source, target), found = names, []
    for name, end, direction, other in (
        (source, ends[0], "egress", packet.dst), (target, ends[1], "ingress", packet.src)
    ):  # fmt: skip
        found.append(maps.verdict(world.pods[name]["node"], end, direction, other, packet))
    stopped = next(((said, more) for said, more in found if said != "passes"), None)
    _, more = stopped or found[-1]
    programmed = "blocked" if stopped else "allowed"
    intended = "allowed" if wanted else "blocked"
    state = "matching" if programmed == intended else "stale" if wanted else "missing"
    entry = f"{source} to {target} {flow.port}/{flow.protocol}"
    return _entry(world.pods[target]["node"], "policy map", entry, intended,
                  f"{programmed}: {more.get('decision')}", state, more.get("reply"))  # fmt: skip
