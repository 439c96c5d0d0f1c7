"""Who talks to whom: connections and edges between workloads, from Hubble's flows.

A flow is an event of one packet at one point on one node, in either direction; a connection that crosses
nodes leaves dozens. So flows are turned round to point from client to server and counted by connection.
Events that would count a packet twice are left out: `policy-verdict` (which stands beside the `drop` or the
`trace` of the same packet) and `trace-sock` (a connect(), before there is a packet).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["connections", "edges"]

#: Events that are about a packet, once at each point it passes.
PACKETS = ("trace", "drop", "l7")
ENDS = ("ip", "port", "namespace", "pod", "app", "reserved", "identity")
#: What makes two flows flows of one connection; `arm` where the frame has it.
CONNECTION = ["arm", "protocol", "client", "client_pod", "client_ip", "client_port",
              "server", "server_pod", "server_ip", "server_port"]  # fmt: skip


def connections(flows: pd.DataFrame) -> pd.DataFrame:
    """One row a connection, of frame FLOWS by node.

    Columns of its identity (`client` and `server` are workloads: namespace/app, or the reserved identity),
    `verdict` (DROPPED where any packet of it was), `drop_reason`, `opened` (its first SYN is among the
    flows), `first` and `last` event, `events`, and the `nodes` that saw it. Without ports, such as for ICMP,
    a pair of addresses is one connection.
    """
    directed = _directed(flows[flows["event"].isin(PACKETS)])
    key = [name for name in CONNECTION if name in directed]
    grouped = directed.groupby(key, dropna=False, sort=False)
    found = grouped.agg(
        drop_reason=("drop_reason", "first"),
        opened=("opens", "any"),
        first=("time", "min"),
        last=("time", "max"),
        events=("uuid", "nunique"),
        nodes=("node", lambda nodes: ",".join(sorted(set(nodes)))),
    ).reset_index()
    found.insert(len(key), "verdict", np.where(found["drop_reason"].notna(), "DROPPED", "FORWARDED"))
    return found.sort_values(["first", *key], ignore_index=True)


def edges(connections: pd.DataFrame) -> pd.DataFrame:
    """One row for each client, server, protocol and verdict, of `connections`: how many, which ports, why
    dropped. Most connections first.
    """
    key = [name for name in ("arm", "client", "server", "protocol", "verdict") if name in connections]
    found = connections.groupby(key, dropna=False, sort=False).agg(
        connections=("events", "size"),
        events=("events", "sum"),
        ports=("server_port", _listed),
        drop_reasons=("drop_reason", _listed),
    ).reset_index()  # fmt: skip
    return found.sort_values(["connections", *key], ascending=[False] + [True] * len(key), ignore_index=True)


def _listed(values: pd.Series) -> str:
    unique = sorted(values.dropna().unique())
    shown = ", ".join(str(value) for value in unique[:3])
    return f"{shown}, … ({len(unique)})" if len(unique) > 3 else shown


def _directed(flows: pd.DataFrame) -> pd.DataFrame:
    # An ICMP error (RELATED) goes back to the client that caused it, though Hubble does not call it a reply.
    back = flows["is_reply"].fillna(value=False).astype(bool) | flows["trace_reason"].eq("RELATED")
    found = flows.copy()
    for end in ENDS:
        found[f"client_{end}"] = flows[f"src_{end}"].where(~back, flows[f"dst_{end}"])
        found[f"server_{end}"] = flows[f"dst_{end}"].where(~back, flows[f"src_{end}"])
    found["client"], found["server"] = _workload(found, "client"), _workload(found, "server")
    found["opens"] = flows["tcp_flags"].eq("SYN")
    return found


def _workload(flows: pd.DataFrame, end: str) -> pd.Series:
    app, pod, ip = flows[f"{end}_app"], flows[f"{end}_pod"], flows[f"{end}_ip"]
    reserved = flows[f"{end}_reserved"].str.extract(r"^([^,]+)", expand=False)
    name = (flows[f"{end}_namespace"] + "/" + app.fillna(pod)).fillna(reserved).fillna(ip)
    # Of a packet of an L3 protocol it does not support, Cilium knows no identities: those shown are of
    # whatever the program had at hand, such as the receiving endpoint for a multicast address.
    return name.mask(ip.str.startswith(("fe80:", "ff0"), na=False), "IPv6 link-local")
