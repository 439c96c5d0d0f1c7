"""Where a packet starts and an answer begins: in a pod, on a node, or outside."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.hops import ASSUMED, ended, hop, replies, seen
from labkit.analysis.paths.routes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labkit.analysis.paths.kernel import Kernel
    from labkit.analysis.paths.machine import Machine
    from labkit.analysis.paths.packet import Walk
    from labkit.analysis.paths.routes import Routes
    from labkit.analysis.paths.state import World

__all__ = ["from_node", "from_outside", "from_pod"]

Row = dict[str, Any]


def from_node(walk: Walk, kernel: Kernel, node: str) -> Iterator[Walk]:
    """Every way of a packet that a socket of the node sends."""
    machine = kernel.world.machines[node]
    for each in _sockets(walk, kernel, machine, of_host=True):
        yield from [each] if each.end else kernel.originates(each, machine)


def _sockets(walk: Walk, kernel: Kernel, machine: Machine, *, of_host: bool) -> Iterator[Walk]:
    if kernel.programs is not None and walk.packet.opens:
        yield from kernel.programs.at_socket(walk, machine, of_host=of_host)
    else:
        yield walk


def from_pod(walk: Walk, kernel: Kernel, pod: str) -> Iterator[Walk]:
    """Every way of a packet that a socket in the pod sends."""
    machine = kernel.world.machines[kernel.world.pods[pod]["node"]]
    for each in _sockets(walk, kernel, machine, of_host=False):
        yield from [each] if each.end else _out_of(each, kernel, machine, pod)


def _out_of(walk: Walk, kernel: Kernel, machine: Machine, pod: str) -> Iterator[Walk]:
    """The pod's own route, whom it sends the frame to, its device, and the other end of that."""
    world = kernel.world
    own = _own(world, pod, walk.packet.dst)
    if own is not None:
        yield _to_itself(walk, machine, pod, own)
        return
    routes, note = _routes(world, pod)
    if routes is None:
        yield ended(
            walk, machine.name, "routing", "inconclusive", f"the routes in {pod} were not read", note=note
        )
        return
    decision = routes.decide(walk.packet)
    route = decision.route
    text = {"rests_on": shown(route), "reply": replies(route), "note": note,
            "verdict": ASSUMED if note else "passes"}  # fmt: skip
    if route is None or route["type"] != "unicast":
        text["verdict"] = "dropped"
        yield ended(walk, machine.name, "routing", "dropped", f"the pod has no route to {walk.packet.dst}", **{
            key: value for key, value in text.items() if key != "verdict"})  # fmt: skip
        return
    first = route["next_hop"] or walk.packet.dst
    walk = walk.then(hop(walk, machine.name, "routing", f"the pod's route: to {first}", **text))
    end = _host_end(walk, world, machine, pod)
    if end is None:
        yield ended(
            walk,
            machine.name,
            "device",
            "inconclusive",
            f"which device of the node {pod} hangs on is not known",
        )
        return
    device, why, reply = end
    walk = walk.then(_neighbour(walk, kernel, machine, pod, first, device))
    walk = seen(walk, machine.name, route["interface"], "out", "out of the pod", tap=pod)
    walk = seen(
        walk, machine.name, device, "in", "the other end of the pod's device", rests_on=why, reply=reply
    )
    yield from kernel.arrives(walk._replace(frame_for=first), machine, device)


def _own(world: World, pod: str, ip: str) -> Row | None:
    """What says that an address is the pod's own."""
    rows = [row for row in world.pod_addresses.get(pod, []) if row["ip"] == ip]
    if rows:
        return {**rows[0], "text": f"{ip}/{rows[0]['prefix_length']} dev {rows[0]['interface']}"}
    if ip == world.pods[pod]["pod_ip"]:
        return {**world.pods[pod], "text": f"pod {pod} {ip}"}
    return {**world.pods[pod], "text": f"{ip} is a loopback address"} if ip_address(ip).is_loopback else None


def _to_itself(walk: Walk, machine: Machine, pod: str, own: Row) -> Walk:
    """By the pod's own loopback device: nothing outside of it sees the packet."""
    said = "the pod has this address: by its lo, and out of no device"
    walk = walk.then(
        hop(walk, machine.name, "routing", said, device="lo", rests_on=own["text"], reply=replies(own))
    )
    walk = walk.then(
        hop(walk, machine.name, "delivery", f"to a socket of {pod}", rests_on=own["text"], reply=replies(own),
            verdict="delivered")
    )  # fmt: skip
    return walk._replace(end="delivered", at=("pod", pod))


def _routes(world: World, pod: str) -> tuple[Routes | None, str | None]:
    """The pod's routes; or those of a pod beside it, which the same CNI plugin wrote, and a note that says so."""
    if pod in world.pod_routes:
        return world.pod_routes[pod], None
    node = world.pods[pod]["node"]
    beside = [
        name for name in sorted(world.pod_routes) if name in world.pods and world.pods[name]["node"] == node
    ]
    if not beside:
        return None, f"no pod on {node} was asked for its routes"
    return world.pod_routes[beside[0]], f"{ASSUMED}: not read in {pod}; as in {beside[0]} on the same node"


def _host_end(walk: Walk, world: World, machine: Machine, pod: str) -> tuple[str, str, str | None] | None:
    """The device of the node that the pod hangs on; what is behind the node's own route to it, where nothing else tells."""
    if pod in world.host_ends:
        return world.host_ends[pod]
    if walk.by:
        return walk.by, "the device that the request went by", None
    route = machine.routes.decide(walk.packet._replace(dst=walk.packet.src)).route
    if route is None or route["interface"] == machine.nic or route["type"] != "unicast":
        return None
    device = route["interface"]
    if machine.kind(device) == "veth":
        return device, f"{ASSUMED}: the node's route to the pod: {shown(route)}", replies(route)
    taken = {end[0] for end in world.host_ends.values()}
    ports = [port for port in sorted(machine.ports.get(device, [])) if port not in taken]
    return (
        ("|".join(ports), f"{ASSUMED}: one of the ports of {device} that are nobody's else", replies(route))
        if ports
        else None
    )


def _neighbour(walk: Walk, kernel: Kernel, machine: Machine, pod: str, ip: str, device: str) -> Row:
    """Whom the frame is sent to: the pod's neighbour entry, or who has the address and so answers ARP."""
    rows = [row for row in kernel.world.pod_neighbours.get(pod, []) if row["dst_ip"] == ip and row["mac"]]
    if rows:
        text = f"{ip} lladdr {rows[0]['mac']} {rows[0]['state']}"
        return hop(
            walk,
            machine.name,
            "neighbour",
            f"{ip} is {rows[0]['mac']}",
            rests_on=text,
            reply=replies(rows[0]),
        )
    own = machine.addresses.get(ip)
    if own is not None:
        text = f"{ip} on {own['interface']} of the node"
        what = f"ARP for {ip}: the node has it"
        return hop(walk, machine.name, "neighbour", what, rests_on=text, reply=replies(own))
    owner = kernel.world.pod_of_ip.get(ip)
    if owner is not None:
        what = f"ARP for {ip}: pod {owner['pod']} has it"
        return hop(
            walk, machine.name, "neighbour", what, rests_on=f"pod {owner['pod']} {ip}", reply=replies(owner)
        )
    note = f"{ASSUMED}: nothing read says who answers for {ip}; behind {device} there is only the node (proxy ARP)"
    return hop(walk, machine.name, "neighbour", f"ARP for {ip}", verdict=ASSUMED, note=note)


def from_outside(walk: Walk, kernel: Kernel) -> Iterator[Walk]:
    """Every way of a packet from outside the cluster: to the node that its destination belongs to."""
    world, to = kernel.world, walk.packet.dst
    pod = world.pod_of_ip.get(to)
    node = world.node_of_ip.get(to) or (pod["node"] if pod else None)
    walk = walk.with_packet(ttl=None)
    if node is None:
        note = "not modelled: what routes outside of the nodes"
        yield ended(walk, None, "network", "inconclusive", f"{to} is no node and no pod", note=note)
        return
    machine = world.machines[node]
    if machine.nic is None:
        yield ended(walk, node, "device", "inconclusive", f"no device with the address {machine.ip} was read")
        return
    note = f"{ASSUMED}: what routes outside is not read, and must bring it to {node}"
    what = "a packet" if walk.packet.opens else "an answer"
    walk = walk.then(hop(walk, None, "network", f"{what} comes to {node}", verdict=ASSUMED, note=note,
                         rests_on=f"{to} is of {node}", reply=replies(pod or world.node(node))))  # fmt: skip
    yield from kernel.arrives(seen(walk, node, machine.nic, "in", "in by it"), machine, machine.nic)
