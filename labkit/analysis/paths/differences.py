"""Predicted hops held against captured packets, flow by flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.ends import destination, source
from labkit.analysis.paths.observed import flows
from labkit.analysis.paths.packet import at_port
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from labkit.analysis.paths.explain import Model
    from labkit.analysis.paths.observed import Flow, Sighting
    from labkit.analysis.paths.packet import Walk

__all__ = ["PATH_DIFFERENCES", "differences", "example", "summary"]

PATH_DIFFERENCES = Schema(
    "path_differences", "Each device where a flow was predicted or captured, and whether both agree.",
    key=("flow", "way", "hop", "observed"), columns=(
    Column("flow", "str", "protocol, client, its port, and what its first packet was sent to"),
    Column("asked", "str", "what was explained: the address that the client asked for"),
    Column("way", "str", "1 request or 2 answer"),
    Column("hop", "Int64", "number of the predicted hop; NA for a sighting that no hop predicts"),
    Column("node", "str", "node"),
    Column("device", "str", "device; several with | between them where the state does not tell which"),
    Column("predicted", "str", "what the state predicts there; NA where it predicts nothing"),
    Column("observed", "str", "what the captures show there; NA where they show nothing"),
    Column("agrees", "boolean", "both are the same; NA where the path is not modelled to this point"),
    Column("differs_in", "str", "fields that differ, comma-separated; NA where none does"),
    Column("rests_on", "str", "the decision before this hop and the state that it rests on"),
    Column("state_replies", "str", "ids of the replies that this decision was read from"),
    Column("packets", "Int64", "packets that were seen there; 0 for none"),
    REPLY,
))  # fmt: skip

FIELDS = {"src_ip": "src", "dst_ip": "dst", "dst_port": "dport", "ttl": "ttl", "encap": "encap",
          "outer_src_ip": "outer_src", "outer_dst_ip": "outer_dst"}  # fmt: skip
ARROW = {"in": "in by", "out": "out by"}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What clients asked for, where their packets do not show it: by protocol, client and its port."""

    addresses: Mapping[tuple[str, str, int | None], tuple[str, int | None]]

    def of(self, flow: Flow) -> tuple[str, str, int | None]:
        """The client, and the address and port that it asked for.

        A client whose packets are masqueraded before any device sees them is known by its answers.
        """
        answered = ((flow.protocol, s.dst, s.dport) for s in flow.answers)
        for key in ((flow.protocol, flow.client, flow.client_port), *answered):
            if key in self.addresses:
                return key[1], *self.addresses[key]
        return flow.client, flow.asked, flow.port


def differences(
    model: Model,
    packets: pd.DataFrame,
    pods: pd.DataFrame,
    taps: pd.DataFrame,
    asked: Mapping[tuple[str, str, int | None], tuple[str, int | None]] | None = None,
) -> pd.DataFrame:
    """Every flow of frames CAPTURED and TAPS of one arm against its prediction: frame PATH_DIFFERENCES.

    `asked` says which address and port a client asked for, by protocol, its address and its port, where its
    packets do not show it (a socket translates before there is a packet).
    """
    tapped = {row["pod"] if row["tap"] == "pod" else f"node {row['node']}" for row in taps.to_dict("records")}
    wanted = Asked(asked or {})
    rows = [row for flow in flows(packets, pods) for row in _of_flow(model, flow, wanted.of(flow), tapped)]
    return PATH_DIFFERENCES.frame(rows)


def _of_flow(model: Model, flow: Flow, asked: tuple[str, str, int | None], tapped: set[str]) -> Iterator[Row]:
    client, ip, port = asked
    common = {"flow": flow.name, "asked": at_port(ip, port)}
    begin = source(model.world, client)
    if begin.kind == "outside":
        yield _unmodelled(flow, common, f"no pod and no node has the client's address {client}")
        return
    end = destination(model.world, ip, begin)
    ways = list(model.walks(begin, end, flow.protocol, port))
    if end.kind == "service" and all(way.end == "inconclusive" and way.packet.dst == ip for way, _ in ways):
        yield _unmodelled(flow, common, f"nothing that is modelled translates {ip}")  # nor is it known where
        return
    reached = {sighting.dst for sighting in flow.requests}
    forth, back = max(ways, key=lambda way: _fit(way[0], reached, ip))
    if len(ways) > 1 and forth.packet.dst not in reached:
        ends = ", ".join(sorted({way.packet.dst for way, _ in ways}))
        final = ", ".join(sorted(reached - {ip})) or ip
        yield _other_backend(flow, common, ends, final, forth)
        return
    yield from _compared(common, "1 request", forth, flow.requests, tapped)
    if flow.answers or (back is not None and forth.end != "leaves"):  # whether others answer is not known
        known = back if back is not None or forth.end != "inconclusive" else forth._replace(hops=())
        yield from _compared(common, "2 answer", known, flow.answers, tapped)


def _fit(way: Walk, reached: set[str], asked: str) -> tuple[bool, bool]:
    """The way whose end was seen; where the asked address was seen too, one with another end is meant."""
    return way.packet.dst in reached and way.packet.dst != asked, way.packet.dst in reached


def _other_backend(flow: Flow, common: Row, predicted: str, observed: str, way: Walk) -> Row:
    chosen = next((row for row in way.hops if row["place"] in ("service", "socket")), None)
    count, first = next(iter(flow.requests.values()))
    return {
        **common, "way": "1 request", "hop": None, "node": first["node"], "device": None,
        "predicted": f"to one of {predicted}", "observed": f"to {observed}", "agrees": False,
        "differs_in": "backend", **_basis([chosen] if chosen else []), "packets": count, "reply": first["reply"],
    }  # fmt: skip


def _unmodelled(flow: Flow, common: Row, why: str) -> Row:
    count, first = next(iter(flow.requests.values()))
    return {
        **common, "way": "1 request", "hop": None, "node": first["node"], "device": first["interface"],
        "predicted": None, "observed": flow.name, "agrees": None, "differs_in": None, "rests_on": why,
        "state_replies": None, "packets": count, "reply": first["reply"],
    }  # fmt: skip


def _compared(
    common: Row, way: str, walk: Walk | None, seen: dict[Sighting, tuple[int, Row]], tapped: set[str]
) -> Iterator[Row]:
    """One direction: each predicted sighting with those at its device, then those that nothing predicts."""
    left = dict(seen)
    why: list[Row] = []
    hops = walk.hops if walk is not None else ()
    for number, row in enumerate(hops):
        if row["tap"] is None:
            why.append(row)
            continue
        if (row["tap"] if row["tap"] != "node" else f"node {row['node']}") not in tapped:
            continue
        base = {**common, "way": way, "hop": number, "node": row["node"], "device": row["device"],
                "predicted": _predicted(row), **_basis(why or [row])}  # fmt: skip
        why = []
        here = [s for s in left if _same_place(row, s)]
        if not here and row["place"] == "neighbour":
            continue  # seen by the first packets only, if at all
        if not here:
            yield {**base, "observed": None, "agrees": False, "differs_in": "not seen", "packets": 0,
                   "reply": None}  # fmt: skip
        for sighting in here:
            count, first = left.pop(sighting)
            fields = _differing(row, sighting, {s.device for s in here})
            yield {**base, "observed": _observed(sighting), "agrees": not fields, "packets": count,
                   "differs_in": ",".join(fields) or None, "reply": first["reply"]}  # fmt: skip
    undecided = walk is not None and walk.end == "inconclusive"
    for sighting, (count, first) in left.items():
        yield {
            **common, "way": way, "hop": None, "node": sighting.node, "device": sighting.device,
            "predicted": None, "observed": _observed(sighting), "agrees": None if undecided else False,
            "differs_in": None if undecided else "not predicted", **_basis(hops[-1:]),
            "packets": count, "reply": first["reply"],
        }  # fmt: skip


def _same_place(row: Row, sighting: Sighting) -> bool:
    return (
        row["tap"] == sighting.tap
        and row["node"] == sighting.node
        and row["direction"] == sighting.direction
        and sighting.device in row["device"].split("|")
    )


def _differing(row: Row, sighting: Sighting, devices: set[str]) -> list[str]:
    """Fields that differ; what the prediction does not know is not compared.

    Where several devices could be the one, it may be any of them, but not two.
    """
    return [
        *(["device"] if len(devices) > 1 else []),
        *(
            name
            for name, attribute in FIELDS.items()
            if row[name] != getattr(sighting, attribute)
            and not (row[name] is None and name in ("ttl", "dst_port"))
        ),
    ]


def _predicted(row: Row) -> str:
    return _text(row["tap"], row["direction"], row["device"], [row[name] for name in FIELDS])


def _observed(sighting: Sighting) -> str:
    values = [getattr(sighting, attribute) for attribute in FIELDS.values()]
    return _text(sighting.tap, sighting.direction, sighting.device, values)


def _text(tap: str, direction: str, device: str, values: list[Any]) -> str:
    src, dst, port, ttl, encap, outer_src, outer_dst = values
    where = f"{ARROW[direction]} {device}" + ("" if tap == "node" else f" of {tap}")
    to = at_port(dst, port)
    around = f", in {encap} {outer_src} to {outer_dst}" if encap else ""
    return f"{where}: {src} to {to}, TTL {'not known' if ttl is None else ttl}{around}"


def _basis(rows: Sequence[Row]) -> Row:
    """The decisions that led to a device, and the state that they rest on (of hooks, the rule that decided)."""
    texts = [
        f"{row['decision']}: {row['rests_on']}"
        if row["rests_on"] and row["place"] != "netfilter"
        else row["decision"]
        for row in rows
    ]
    replies = dict.fromkeys(reply for row in rows if row["reply"] for reply in row["reply"].split())
    return {"rests_on": "; ".join(texts) or None, "state_replies": " ".join(replies) or None}


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Flows by outcome: `protocol`, `flows`, `hops` compared, `agreeing`, `differing`, `not_modelled`; with `arm`."""
    keys = [*(["arm"] if "arm" in found else []), "protocol"]
    frame = found.assign(
        protocol=found["flow"].str.split(" ", n=1).str[0],
        differs=found["agrees"].eq(other=False).fillna(value=False),
        unknown=found["agrees"].isna(),
    )
    each = frame.groupby([*keys, "flow"], sort=False, as_index=False).agg(
        hops=("way", "size"), differs=("differs", "any"), unknown=("unknown", "any")
    )
    each["agrees"] = ~each["differs"] & ~each["unknown"]
    return each.groupby(keys, sort=False, as_index=False).agg(
        flows=("flow", "nunique"), hops=("hops", "sum"), agreeing=("agrees", "sum"),
        differing=("differs", "sum"), not_modelled=("unknown", "sum"),
    )  # fmt: skip


def example(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of one flow of each arm, of frame PATH_DIFFERENCES with `arm`.

    One that differs, if there is any; else the connection that is seen at the most devices.
    """
    differs = (
        found["agrees"].eq(other=False).fillna(value=False).groupby([found["arm"], found["flow"]], sort=False)
    )
    each = differs.agg(["any", "size"]).reset_index()
    each["connects"] = each["flow"].str.startswith("tcp")
    ranked = each.sort_values(["any", "connects", "size"], ascending=False, kind="stable").drop_duplicates(
        "arm"
    )
    return found.merge(ranked[["arm", "flow"]], on=["arm", "flow"]).reset_index(drop=True)
