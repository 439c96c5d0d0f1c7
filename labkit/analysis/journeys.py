"""The journey of each packet: where it was, what had happened to it there, and what the way there cost.

Made of the sightings of `analysis.packets.journeys`, which are in the order of the way. Times of different
nodes are compared through `analysis.clocks`; where it does not know how far two clocks are apart, there is no
time either.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.analysis.packets import example
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["HOPS", "answered", "hops"]

HOPS = Schema("journeys", "Each packet at each point of its way.", key=("flow", "packet", "hop"), columns=(
    Column("flow", "str", "the ping or connection, with both its directions; NA where an end is no pod"),
    Column("packet", "str", "what the packet is known by"),
    Column("request", "boolean", "goes from client to server"),
    Column("hop", "Int64", "number of the point on its way, from 0"),
    Column("node", "str", "the node, or the node of the pod"),
    Column("pod", "str", "the pod; NA at a point of the node"),
    Column("point", "str", "the interface"),
    Column("device", "str", "what that is: pod, veth, bridge, vxlan, nic, …"),
    Column("direction", "str", "in or out, as the machine it is on sees it; NA in a pod"),
    Column("time", "datetime64[us, UTC]", "when it was there, by that node's own clock"),
    Column("since_us", "float64", "time since the first point, by one clock; NA where the clocks' offset is not known"),
    Column("cost_us", "float64", "time since the point before"),
    Column("clock_offset_us", "float64", "what was taken off for the clock of this node, against the first point's"),
    Column("changed", "str", "what is not as at the point before: translation, TTL, tunnel, VLAN, length, MTU; NA for nothing"),
    Column("src", "str", "source address and port of the innermost packet"),
    Column("dst", "str", "destination address and port of the innermost packet"),
    Column("ttl", "Int64", "time to live of the innermost packet"),
    Column("ip_bytes", "Int64", "length of the innermost IP packet that is not encrypted"),
    Column("packet_bytes", "Int64", "length of the outermost IP packet"),
    Column("encap", "str", "the tunnel it is in; NA for none"),
    Column("vlan", "Int64", "VLAN id; NA for none"),
    Column("mtu", "Int64", "largest packet of the interface, in bytes; NA where it is not known"),
    Column("n", "Int64", "number in its capture"),
    REPLY,
))  # fmt: skip

MICROSECOND = pd.Timedelta(microseconds=1)
Row = dict[Any, Any]


def hops(
    sightings: pd.DataFrame,
    clocks: pd.DataFrame,
    links: pd.DataFrame | None = None,
    pod_links: pd.DataFrame | None = None,
    fetches: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Every packet of `packets.journeys`, point by point: frame HOPS, with `arm` in front where they have it.

    `clocks` is frame CLOCKS. `links` and `pod_links` (frames LINKS of nodes and pods) add the MTUs; `fetches`
    (of `flows.translations`) what a socket had rewritten before there was a packet.
    """
    arm = ["arm"] if "arm" in sightings else []
    offsets = _offsets(clocks, arm)
    mtus = _mtus(links, "node", arm) | _mtus(pod_links, "pod", arm)
    believed = {} if fetches is None else _believed(fetches, arm)
    ways = groupby(sightings[[*arm, *READ]].to_dict("records"), key=itemgetter(*arm, "packet"))
    rows = [row for _, way in ways for row in _journey(list(way), offsets, mtus, believed)]
    frame = pd.DataFrame(rows, columns=[*arm, *HOPS.names])
    return frame.astype({c.name: c.dtype for c in HOPS.columns} | dict.fromkeys(arm, "str"))


def answered(journeys: pd.DataFrame, sightings: pd.DataFrame, *, of: str = "http") -> pd.DataFrame:
    """Of frame HOPS one request of each arm and its answer: an echo, or the first packet each way of a connection.

    The request is the one that `packets.example` gives; `since_us` goes on counting from its first point.
    """
    arm = ["arm"] if "arm" in sightings else []
    parts = []
    for _, request in example(sightings, of=of).groupby(arm or ["flow"], sort=False):
        first = request.iloc[0]
        same = sightings["flow"].eq(first["flow"]) & sightings["time"].ge(first["time"])
        for name in arm:
            same &= sightings[name].eq(first[name])
        back = sightings[same & ~sightings["request"].fillna(value=True)]
        if of == "ping":
            back = back[back["icmp_seq"] == first["icmp_seq"]]
        wanted = [first["packet"], *back["packet"].head(1)]
        mine = journeys["packet"].isin(wanted)
        for name in arm:
            mine &= journeys[name].eq(first[name])
        parts.append(_by_one_clock(journeys[mine], first["packet"]))
    return pd.concat(parts, ignore_index=True) if parts else journeys.head(0)


def _by_one_clock(found: pd.DataFrame, first: str) -> pd.DataFrame:
    """The journeys of some packets with all times since the first point of the first one."""
    way = found[found["packet"] == first]
    offsets = found["node"].map(dict(zip(way["node"], way["clock_offset_us"], strict=True)))
    elapsed = (found["time"] - way["time"].iloc[0]) / MICROSECOND
    return found.assign(clock_offset_us=offsets, since_us=elapsed - offsets)


def _offsets(clocks: pd.DataFrame, arm: list[str]) -> dict[tuple[Any, ...], float]:
    """How far the second node's clock is ahead of the first's, by arm and nodes."""
    found = {}
    for row in clocks.to_dict("records"):
        names = tuple(row[name] for name in arm)
        found[*names, row["node"], row["other"]] = row["offset_us"]
        found[*names, row["other"], row["node"]] = -row["offset_us"]
    return found


def _mtus(links: pd.DataFrame | None, place: str, arm: list[str]) -> dict[tuple[Any, ...], int]:
    if links is None:
        return {}
    names = [*arm, place, "interface", "mtu"]
    return {(place, *row[:-1]): row[-1] for row in links[names].dropna().itertuples(index=False, name=None)}


def _believed(fetches: pd.DataFrame, arm: list[str]) -> dict[tuple[Any, ...], str]:
    names = [*arm, "pod", "local_port", "believed_ip"]
    return {row[:-1]: row[-1] for row in fetches[names].itertuples(index=False, name=None)}


def _journey(
    way: list[Row],
    offsets: Mapping[tuple[Any, ...], float],
    mtus: Mapping[tuple[Any, ...], int],
    believed: Mapping[tuple[Any, ...], str],
) -> Iterator[Row]:
    """One packet from its first point on."""
    first, before = way[0], None
    arm = (first["arm"],) if "arm" in first else ()
    for number, seen in enumerate(way):
        offset = 0.0 if seen["node"] == first["node"] else offsets.get((*arm, first["node"], seen["node"]))
        place = ("pod", *arm, seen["pod"]) if seen["tap"] == "pod" else ("node", *arm, seen["node"])
        elapsed = (seen["time"] - first["time"]) / MICROSECOND
        row: Row = {
            **({"arm": seen["arm"]} if arm else {}),
            **{name: seen[name] for name in KEPT},
            "hop": number, "point": seen["interface"], "clock_offset_us": offset,
            "since_us": None if offset is None else elapsed - offset,
            "src": _end(seen, "src"), "dst": _end(seen, "dst"),
            "packet_bytes": seen["ip_bytes"] + (0 if pd.isna(seen["overhead_bytes"]) else seen["overhead_bytes"]),
            "mtu": mtus.get((*place, seen["interface"])),
        }  # fmt: skip
        row["cost_us"] = None if before is None else _less(row["since_us"], before["since_us"])
        if before is None:
            changes = _in_the_socket(seen, believed.get((*arm, seen["pod"], seen["client_port"])))
        else:
            changes = list(_changes(before, row))
        row["changed"] = "; ".join(changes) or None
        yield row
        before = row


#: What a row keeps of a sighting, and what else is read of it.
KEPT = ("flow", "packet", "request", "node", "pod", "device", "direction", "time", "ttl", "ip_bytes", "encap", "vlan", "n", "reply")  # fmt: skip
READ = (
    *KEPT,
    "tap",
    "interface",
    "protocol",
    "src_ip",
    "dst_ip",
    "src_port",
    "dst_port",
    "overhead_bytes",
    "client_port",
)


def _less(late: float | None, early: float | None) -> float | None:
    return None if late is None or early is None else late - early


def _end(seen: Row, end: str) -> str:
    port = seen[f"{end}_port"]
    return str(seen[f"{end}_ip"]) if pd.isna(port) else f"{seen[f'{end}_ip']}:{port}"


def _in_the_socket(seen: Row, believed: str | None) -> list[str]:
    """What was rewritten before the first packet, where the client said whom it believes to talk to."""
    ends = (seen["dst_ip"], seen["src_ip"])
    if believed is None or seen["protocol"] != "tcp" or seen["tap"] != "pod" or believed in ends:
        return []
    return [f"DNAT in the socket {believed} → {seen['dst_ip']}"] if seen["request"] is True else []


def _changes(before: Row, here: Row) -> Iterator[str]:
    undone = here["request"] is False
    for end, name in (("dst", "DNAT"), ("src", "SNAT")):
        if before[end] != here[end]:
            # an answer is translated back: what was the destination is its source
            said = f"{'SNAT' if name == 'DNAT' else 'DNAT'} undone" if undone else name
            yield f"{said} {before[end]} → {here[end]}"
    if _differ(before["ttl"], here["ttl"]):
        yield f"TTL {before['ttl']} → {here['ttl']}"
    more = here["packet_bytes"] - before["packet_bytes"]
    size = "" if pd.isna(more) else f", {more:+d} bytes"
    was, now = _encap(before), _encap(here)
    if was and was != now:
        yield f"out of {was}" + ("" if now else size)
    if now and was != now:
        yield f"into {now}{size}"
    if was == now and size and more:
        yield f"length {before['packet_bytes']} → {here['packet_bytes']}"
    if _differ(before["vlan"], here["vlan"]):
        yield f"VLAN {_or_none(before['vlan'])} → {_or_none(here['vlan'])}"
    if before["mtu"] is not None and here["mtu"] is not None and before["mtu"] != here["mtu"]:
        yield f"MTU {before['mtu']} → {here['mtu']}"


def _encap(row: Row) -> str | None:
    return None if pd.isna(row["encap"]) else str(row["encap"])


def _differ(one: Any, two: Any) -> bool:  # noqa: ANN401  (a number or NA)
    return bool(pd.isna(one) != pd.isna(two) or (not pd.isna(one) and one != two))


def _or_none(value: Any) -> str:  # noqa: ANN401
    return "none" if pd.isna(value) else str(value)
