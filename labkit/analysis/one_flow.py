"""One TCP connection packet by packet, put together from the monitors of all nodes.

Events of the monitor carry no time, so packets are put in order by the node of the client, which sees both
directions, and each is looked up on the other nodes by what it says of itself. What two CPUs saw may be
printed in another order than it happened; so the connection taken is one that all nodes tell in the same
order, if there is any. With `monitor-aggregation:
medium` a program reports a packet only where it opens or ends something or some seconds have passed, so a
connection has more packets than are seen here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["one_flow"]

PACKET = ["src_ip", "src_port", "dst_ip", "dst_port", "tcp_flags", "frame_bytes"]
COLUMNS = [
    "packet",
    "from_client",
    *PACKET,
    "node",
    "observation_point",
    "state",
    "src_identity",
    "dst_identity",
]


def one_flow(events: pd.DataFrame) -> pd.DataFrame:
    """The connection that was seen at most points, of frame EVENTS of cilium_monitor by node.

    Only connections are considered whose first packet (SYN) was seen. One row an event, in order: `packet`
    (number of the packet, from 1), `from_client`, addresses, flags and length, then where it was seen:
    `node`, `observation_point`, and what the program there knew: `state`, `src_identity`, `dst_identity`.
    Empty where no connection was seen from its start.
    """
    around = [name for name in ("arm",) if name in events]
    tcp = events[(events["protocol"] == "TCP") & events["src_port"].notna() & events["tcp_flags"].notna()]
    opened = tcp[tcp["tcp_flags"] == "SYN"][[*around, *PACKET[:4]]].drop_duplicates()
    if opened.empty:
        return events.iloc[:0].reindex(columns=[*around, *COLUMNS])
    chosen = max(opened.to_dict("records"), key=lambda syn: _points(tcp, syn, around))
    return _numbered(_of(tcp, chosen, around), chosen)[[*around, *COLUMNS]]


def _of(tcp: pd.DataFrame, syn: Mapping[Any, Any], around: list[str]) -> pd.DataFrame:
    """Events of the connection that this SYN opened, in both directions."""
    there = _is(tcp, {name: syn[name] for name in PACKET[:4]})
    back = _is(tcp, {"src_ip": syn["dst_ip"], "src_port": syn["dst_port"],
                     "dst_ip": syn["src_ip"], "dst_port": syn["src_port"]})  # fmt: skip
    return tcp[(there | back) & _is(tcp, {name: syn[name] for name in around})]


def _is(frame: pd.DataFrame, values: Mapping[Any, Any]) -> pd.Series[bool]:
    same = pd.Series(data=True, index=frame.index)
    for name, value in values.items():
        same &= (frame[name] == value).fillna(False).astype(bool)
    return same


def _points(tcp: pd.DataFrame, syn: Mapping[Any, Any], around: list[str]) -> tuple[int, int, int]:
    """How much is to be seen of a connection: points, whether all nodes agree on the order, events."""
    mine = _of(tcp, syn, around)
    told = {tuple(map(tuple, part[PACKET].to_numpy())) for _, part in mine.groupby("node")}
    points = mine[["node", "observation_point"]].drop_duplicates()
    return len(points), -len(told), len(mine)


def _numbered(flow: pd.DataFrame, syn: Mapping[Any, Any]) -> pd.DataFrame:
    """The events with the number of their packet, in order of the packets."""
    point = ["node", "observation_point", *PACKET]
    flow = flow.assign(again=flow.groupby(point, dropna=False).cumcount())
    first = flow[(flow["src_ip"] == syn["src_ip"]) & (flow["tcp_flags"] == "SYN")]
    sent = first[first["observation_point"] != "to-endpoint"]
    home = (sent if len(sent) else first)["node"].iloc[0]
    ordered = flow.assign(away=flow["node"] != home).sort_values(["away", "node", "number"], kind="stable")
    packets = ordered.drop_duplicates([*PACKET, "again"])[[*PACKET, "again"]].reset_index(drop=True)
    packets["packet"] = packets.index + 1
    found = flow.merge(packets, on=[*PACKET, "again"])
    found["from_client"] = found["src_ip"] == syn["src_ip"]
    sent_first = (found["node"] != home) == found["from_client"]
    found = found.assign(later=sent_first).sort_values(["packet", "later", "number"], kind="stable")
    return found.reset_index(drop=True)
