"""What `cilium-dbg monitor -j` says: events of the datapath, as they happen.

The output is JSON lines (cilium, pkg/monitor/datapath_trace.go and datapath_drop.go), with three traps. A
log line of the agent (`time=… level=info msg=…`) stands on stdout before the first packet. Policy verdicts
are printed as text even with `-j` (datapath_policy.go). And the monitor only ends when a time limit cuts it
off, so that the last line may be half a line. Events carry no time: they are numbered in the order they
were printed.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EVENTS", "cut", "events"]

TOOL = "cilium-dbg monitor -j"

EVENTS = Schema("monitor_events", "Datapath events of one agent, in the order seen.", key=("number",), columns=(
    Column("number", "Int64", "line it was printed on"),
    Column("type", "str", "trace, drop, policy-verdict, capture, debug, agent, …"),
    Column("cpu", "Int64", "CPU that saw it"),
    Column("observation_point", "str", "of a trace: to-endpoint, to-network, to-stack, from-…"),
    Column("state", "str", "of a trace: what conntrack said: new, established, reply, related"),
    Column("reason", "str", "of a drop: why, such as Policy denied"),
    Column("action", "str", "of a policy verdict: allow, deny, redirect or audit"),
    Column("match", "str", "of a policy verdict: what the policy matched: none, L3-Only, L3-L4, all, …"),
    Column("direction", "str", "of a policy verdict: ingress or egress"),
    Column("endpoint", "Int64", "id of the endpoint whose program saw it; 0 for none"),
    Column("dst_endpoint", "Int64", "id of the endpoint it goes to; 0 where that is not on this node"),
    Column("src_identity", "Int64", "security identity of the source; 0 is unknown"),
    Column("dst_identity", "Int64", "security identity of the destination; 0 is unknown"),
    Column("interface", "str", "name of the interface; NA where none is named"),
    Column("ifindex", "Int64", "index of the interface, where the event has the number"),
    Column("src_ip", "str", "source address"),
    Column("dst_ip", "str", "destination address"),
    Column("src_port", "Int64", "source port"),
    Column("dst_port", "Int64", "destination port"),
    Column("protocol", "str", "TCP, UDP, SCTP, ICMPv4 or ICMPv6"),
    Column("tcp_flags", "str", "TCP flags that are set, comma-joined"),
    Column("icmp_type", "str", "ICMP type in words, such as EchoRequest"),
    Column("frame_bytes", "Int64", "length of the frame"),
    Column("file", "Int64", "of a drop: number of the datapath's source file"),
    Column("line", "Int64", "of a drop: line in that file"),
    Column("message", "str", "of a debug or agent event: its text"),
))  # fmt: skip

LOG = re.compile(r"(time=\S+ )?level=\w+ msg=")
VERDICT = re.compile(
    r"Policy verdict log: flow \S+ local EP ID (?P<endpoint>\d+), remote ID (?P<remote>[\w-]+), "
    r"proto (?P<proto>\d+), (?P<direction>ingress|egress), action (?P<action>\w+), "
    r"(?:auth: [\w-]+, )?match (?P<match>[\w-]+), (?P<src>\S+) -> (?P<dst>\S+)(?P<rest>.*)"
)
PROTOCOLS = {1: "ICMPv4", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
LAYERS = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP", "icmpv4": "ICMPv4", "icmpv6": "ICMPv6"}

#: Identities that the monitor prints as words (pkg/identity/numericidentity.go).
RESERVED = {
    "unknown": 0, "host": 1, "world": 2, "unmanaged": 3, "health": 4, "init": 5, "remote-node": 6,
    "kube-apiserver": 7, "ingress": 8, "world-ipv4": 9, "world-ipv6": 10,
}  # fmt: skip


def events(data: bytes) -> pd.DataFrame:
    """Events, of `cilium-dbg monitor -j`: frame EVENTS. No output at all is no event.

    A last line that the time limit cut in two is left out; `cut` tells. Raises ParseError for any other
    line that is no event and no log line of the agent.
    """
    return EVENTS.frame(_event(number, line) for number, line in _lines(data)[0])


def cut(data: bytes) -> str:
    """The half line that the time limit left at the end; empty where the last line is whole."""
    return _lines(data)[1]


def _lines(data: bytes) -> tuple[list[tuple[int, str]], str]:
    text = text_of(TOOL, data)
    numbered = list(enumerate(text.split("\n"), 1))
    half = ""
    last = numbered[-1][1]
    if last and not _whole(last):  # text after the last line break
        numbered, half = numbered[:-1], last
    return [(n, line) for n, line in numbered if line.strip() and not LOG.match(line)], half


def _whole(last: str) -> bool:
    # A text line may be cut anywhere and still look like one; JSON may not.
    try:
        return isinstance(json.loads(last), dict)
    except json.JSONDecodeError:
        return False


def _event(number: int, line: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(EVENTS.names) | {"number": number}
    if line.startswith("Policy verdict log:"):
        return row | _verdict(number, line)
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            raise ParseError(TOOL, "no event", line=number, excerpt=line)
        return row | _notify(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ParseError(TOOL, str(error), line=number, excerpt=line) from None


def _notify(value: dict[str, Any]) -> dict[str, Any]:
    name = value.get("ifindex")
    message = value.get("message")
    return {
        "type": value["type"],
        "cpu": int(value["cpu"].removeprefix("CPU").strip(" :")) if "cpu" in value else None,
        "observation_point": value.get("observationPoint"),
        "state": value.get("state"),
        "reason": value.get("reason"),
        "endpoint": value.get("source"),
        "dst_endpoint": value.get("dstID"),
        "src_identity": value.get("srcLabel"),
        "dst_identity": value.get("dstLabel"),
        "interface": None if name == "0" else name,
        "ifindex": value.get("Ifindex"),
        "frame_bytes": value.get("bytes"),
        "file": value.get("File"),
        "line": value.get("Line"),
        "message": message if message is None or isinstance(message, str) else json.dumps(message),
        **_packet(value.get("summary") or {}),
    }


def _packet(summary: dict[str, Any]) -> dict[str, Any]:
    layer = next((name for name in LAYERS if name in summary), None)
    text = summary[layer] if layer else ""
    l3, l4 = summary.get("l3", {}), summary.get("l4", {})
    kind = re.search(r"TypeCode=(\S+)", text)
    return {
        "src_ip": l3.get("src"),
        "dst_ip": l3.get("dst"),
        "src_port": int(l4["src"]) if "src" in l4 else None,
        "dst_port": int(l4["dst"]) if "dst" in l4 else None,
        "protocol": LAYERS[layer] if layer else None,
        "tcp_flags": ",".join(re.findall(r" ([A-Z]{2,3})=true", text)) or None,
        "icmp_type": kind[1] if kind else None,
    }


def _verdict(number: int, line: str) -> dict[str, Any]:
    found = VERDICT.fullmatch(line)
    if not found or not (found["remote"].isdigit() or found["remote"] in RESERVED):
        raise ParseError(TOOL, "a policy verdict of another form", line=number, excerpt=line)
    remote = int(found["remote"]) if found["remote"].isdigit() else RESERVED[found["remote"]]
    protocol = PROTOCOLS.get(int(found["proto"]), found["proto"])
    words = re.sub(r"^ (icmp|tcp|udp|sctp)\b", "", found["rest"], flags=re.IGNORECASE).strip()
    return {
        "type": "policy-verdict",
        "action": found["action"],
        "match": found["match"],
        "direction": found["direction"],
        "endpoint": int(found["endpoint"]),
        "src_identity": remote if found["direction"] == "ingress" else None,
        "dst_identity": remote if found["direction"] == "egress" else None,
        **_address("src", number, found["src"]),
        **_address("dst", number, found["dst"]),
        "protocol": protocol,
        "tcp_flags": words.replace(" ", "") or None if protocol == "TCP" else None,
        "icmp_type": words or None if protocol.startswith("ICMP") else None,
    }


def _address(side: str, number: int, text: str) -> dict[str, Any]:
    # `10.0.0.1:80`, `[fd00::1]:80`, and without a port `10.0.0.1`, `fe80::1`
    has_port = text.startswith("[") or text.count(":") == 1
    ip, port = text.rsplit(":", 1) if has_port else (text, "")
    try:
        address = ipaddress.ip_address(ip.strip("[]"))
        return {f"{side}_ip": str(address), f"{side}_port": int(port) if port else None}
    except ValueError as error:
        raise ParseError(TOOL, str(error), line=number, excerpt=text) from None
