"""What Hubble says: flows, lost events, status.

`hubble observe -o jsonpb` prints one `GetFlowsResponse` a line: a flow, or a note that events were lost
(cilium/api/v1/observer/observer.proto and api/v1/flow/flow.proto; JSON of protobuf, so 64-bit integers
are strings and a field that is not set is absent). One packet can be several flows: an event at each
observation point it passes, on each node, and for a packet that policy judges a `policy-verdict` beside
the `drop` or `trace`. Count connections or one kind of event, not rows.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import json_lines, json_object
from labkit.parse.kubernetes import APP_LABELS
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["FLOWS", "LOST", "STATUS", "flows", "lost", "status"]

TOOL = "hubble observe"

#: `event_type.type` (pkg/monitor/api/types.go, MessageTypeNames).
EVENT_TYPES = {
    1: "drop", 2: "debug", 3: "capture", 4: "trace", 5: "policy-verdict", 6: "recorder", 7: "trace-sock",
    129: "l7", 130: "agent",
}  # fmt: skip


def _end(side: str, what: str) -> tuple[Column, ...]:
    return (
        Column(f"{side}_ip", "str", f"address of the {what}"),
        Column(f"{side}_port", "Int64", f"port of the {what}; NA where the protocol has none or it is not known"),
        Column(f"{side}_namespace", "str", f"namespace of the {what}"),
        Column(f"{side}_pod", "str", f"pod of the {what}"),
        Column(f"{side}_app", "str", f"label that names the {what}'s workload: app, k8s-app, name or component"),
        Column(f"{side}_reserved", "str", f"reserved labels of the {what}: host, remote-node, world, health, …"),
        Column(f"{side}_identity", "Int64", f"security identity of the {what}; NA where Hubble knows none"),
        Column(f"{side}_endpoint", "Int64", f"id of the {what}'s endpoint where it is on this node"),
        Column(f"{side}_service", "str", f"Service of the {what}, namespace/name, where Hubble names one"),
        Column(f"{side}_labels", "str", f"labels of the {what}, comma-joined"),
    )  # fmt: skip


FLOWS = Schema("flows", "Flows as Hubble keeps them, one row an event.", key=("time", "uuid"), columns=(
    Column("time", "datetime64[us, UTC]", "when the event was seen"),
    Column("uuid", "str", "the flow's id: the same event in two answers has the same"),
    Column("node_name", "str", "the node that saw it, cluster/node"),
    Column("event", "str", "trace, drop, policy-verdict, trace-sock, l7, …"),
    Column("type", "str", "L3_L4, L7 or SOCK; NA where Hubble does not say"),
    Column("verdict", "str", "FORWARDED, DROPPED, TRACED, REDIRECTED, …; NA where there is none"),
    Column("drop_reason", "str", "why it was dropped, such as POLICY_DENIED"),
    Column("direction", "str", "INGRESS or EGRESS of the endpoint that the event is about"),
    Column("observation_point", "str", "of a trace: TO_ENDPOINT, TO_NETWORK, TO_STACK, FROM_…"),
    Column("trace_reason", "str", "of a trace: what conntrack said: NEW, ESTABLISHED, REPLY, RELATED"),
    Column("is_reply", "boolean", "a packet from server to client; NA where Cilium does not know"),
    Column("protocol", "str", "TCP, UDP, SCTP, ICMPv4 or ICMPv6"),
    Column("tcp_flags", "str", "TCP flags that are set, comma-joined"),
    Column("icmp_type", "Int64", "ICMP type"),
    *_end("src", "source"),
    *_end("dst", "destination"),
    Column("interface", "str", "the node's interface it was seen at"),
    Column("l7_protocol", "str", "http, dns or kafka of a flow of layer 7"),
    Column("l7_type", "str", "REQUEST, RESPONSE or SAMPLE of a flow of layer 7"),
    Column("allowed_by", "str", "policies that allow it, Kind/namespace/name, comma-joined"),
    Column("denied_by", "str", "policies that deny it by an explicit rule, Kind/namespace/name, comma-joined"),
    Column("sock_point", "str", "of a socket event: before or after the translation of the Service's address"),
    Column("summary", "str", "Hubble's own words for the packet"),
))  # fmt: skip

LOST = Schema("lost_flows", "Notes of Hubble that events were lost.", key=("source", "cpu"), columns=(
    Column("source", "str", "PERF_EVENT_RING_BUFFER, OBSERVER_EVENTS_QUEUE or HUBBLE_RING_BUFFER"),
    Column("cpu", "Int64", "the CPU whose buffer overran; NA for Hubble's own queues"),
    Column("events", "Int64", "events lost"),
))  # fmt: skip

STATUS = Schema("hubble_status", "Hubble's own account of its ring of flows.", key=(), columns=(
    Column("version", "str", "version of what answers"),
    Column("flows", "Int64", "events in the ring now"),
    Column("max_flows", "Int64", "events the ring can hold"),
    Column("seen_flows", "Int64", "flows since the start"),
    Column("flows_per_second", "float64", "flows a second in the last minute"),
    Column("uptime_s", "float64", "time since the start"),
))  # fmt: skip


def flows(data: bytes) -> pd.DataFrame:
    """Flows, of `hubble observe -o jsonpb`: frame FLOWS. No output at all is no flow.

    Lines that say that events were lost are in `lost`. Raises ParseError for any other line.
    """
    return FLOWS.frame([_flow(line, value["flow"]) for line, value in _responses(data) if "flow" in value])


def lost(data: bytes) -> pd.DataFrame:
    """Lost events, of `hubble observe -o jsonpb`: frame LOST, a row a note. Empty: Hubble lost none."""
    return LOST.frame([
        _lost(line, value["lost_events"]) for line, value in _responses(data) if "lost_events" in value
    ])  # fmt: skip


def status(data: bytes) -> pd.DataFrame:
    """Hubble's status, of `hubble status -o json`: frame STATUS, one row."""
    value = json_object("hubble status", data)
    try:
        return STATUS.frame([{
            "version": value.get("version"),
            "flows": int(value["num_flows"]),
            "max_flows": int(value["max_flows"]),
            "seen_flows": int(value["seen_flows"]),
            "flows_per_second": value.get("flows_rate"),
            "uptime_s": int(value["uptime_ns"]) / 1e9,
        }])  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ParseError("hubble status", f"no such status: {error}", excerpt=str(value)) from None


def _responses(data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, value in json_lines(TOOL, data):
        if not isinstance(value, dict) or not value.keys() & {"flow", "lost_events", "node_status"}:
            raise ParseError(TOOL, "neither a flow nor lost events", line=line, excerpt=str(value))
        yield line, value


def _lost(line: int, value: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"source": value["source"], "cpu": value.get("cpu"), "events": int(value["num_events_lost"])}
    except (KeyError, TypeError, ValueError) as error:
        raise ParseError(TOOL, f"lost events without {error}", line=line, excerpt=str(value)) from None


def _flow(line: int, flow: dict[str, Any]) -> dict[str, Any]:
    try:
        number = flow["event_type"]["type"]
        return {
            "time": datetime.fromisoformat(flow["time"]),
            "uuid": flow["uuid"],
            "node_name": flow["node_name"],
            "event": EVENT_TYPES.get(number, str(number)),
            "type": flow.get("Type"),
            "verdict": flow.get("verdict"),
            "drop_reason": flow.get("drop_reason_desc"),
            "direction": flow.get("traffic_direction"),
            "observation_point": flow.get("trace_observation_point"),
            "trace_reason": flow.get("trace_reason"),
            "is_reply": flow.get("is_reply"),
            **_l4(flow.get("l4", {})),
            **_side("src", flow, "source"),
            **_side("dst", flow, "destination"),
            "interface": flow.get("interface", {}).get("name"),
            "l7_protocol": next((p for p in ("http", "dns", "kafka") if p in flow.get("l7", {})), None),
            "l7_type": flow.get("l7", {}).get("type"),
            "allowed_by": _policies(flow, "allowed_by"),
            "denied_by": _policies(flow, "denied_by"),
            "sock_point": flow.get("sock_xlate_point"),
            "summary": flow.get("Summary"),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ParseError(TOOL, f"a flow without {error}", line=line, excerpt=str(flow)) from None


def _l4(l4: dict[str, Any]) -> dict[str, Any]:
    protocol = next(iter(l4), None)
    found = l4[protocol] if protocol else {}
    flags = ",".join(flag for flag, on in found.get("flags", {}).items() if on)
    icmp = protocol in ("ICMPv4", "ICMPv6")
    return {
        "protocol": protocol,
        "tcp_flags": flags or None,
        # protobuf leaves out a zero: EchoReply of ICMPv4 is type 0 and has no `type`
        "icmp_type": found.get("type", 0) if icmp else None,
        "src_port": found.get("source_port"),
        "dst_port": found.get("destination_port"),
    }


def _side(side: str, flow: dict[str, Any], name: str) -> dict[str, Any]:
    end = flow.get(name, {})
    labels = end.get("labels", [])
    pairs = dict(label.removeprefix("k8s:").split("=", 1) for label in labels if "=" in label)
    reserved = [label.removeprefix("reserved:") for label in labels if label.startswith("reserved:")]
    service = flow.get(f"{name}_service")
    return {
        f"{side}_ip": flow.get("IP", {}).get(name),
        f"{side}_namespace": end.get("namespace") or pairs.get("io.kubernetes.pod.namespace"),
        f"{side}_pod": end.get("pod_name"),
        f"{side}_app": next((pairs[label] for label in APP_LABELS if label in pairs), None),
        f"{side}_reserved": ",".join(reserved) or None,
        f"{side}_identity": end.get("identity"),
        f"{side}_endpoint": end.get("ID"),
        f"{side}_service": f"{service.get('namespace', '')}/{service['name']}" if service else None,
        f"{side}_labels": ",".join(labels),
    }


def _policies(flow: dict[str, Any], word: str) -> str | None:
    found = flow.get(f"ingress_{word}", []) + flow.get(f"egress_{word}", [])
    names = [f"{p.get('kind', 'Policy')}/{p.get('namespace', '')}/{p['name']}" for p in found]
    return ",".join(dict.fromkeys(names)) or None
