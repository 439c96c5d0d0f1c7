"""What the kernel's connection tracking is busy with."""

from __future__ import annotations

import pandas as pd

__all__ = ["KINDS", "by_kind"]

SERVICE, TUNNEL, MASQUERADED = (
    "to a Service: destination rewritten",
    "outer packets of VXLAN",
    "source rewritten",
)
LOOPBACK, PLAIN = "within a node (loopback)", "as they are"
KINDS = (SERVICE, MASQUERADED, TUNNEL, PLAIN, LOOPBACK)


def by_kind(connections: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """Tracked connections of an arm's nodes together, by what they are.

    `connections` is frame ENTRIES of conntrack, `links` frame LINKS, both with `arm` and `node`: a VXLAN
    device tells the UDP port of its outer packets. Columns: `arm`, `kind` (one of KINDS), `connections`,
    `unanswered` (no packet came back), `share_pct` of the arm's.

    A VXLAN sender takes the outer source port from the inner connection, so that each inner connection is
    tracked again as an outer one, which no answer ever belongs to: answers come from another port.
    """
    tunnels = links.dropna(subset="vxlan_port")[["arm", "node", "vxlan_port"]].drop_duplicates()
    tunnels = tunnels.rename(columns={"vxlan_port": "dst_port"}).assign(tunnel=True)
    marked = connections.merge(tunnels, on=["arm", "node", "dst_port"], how="left")
    kind = pd.Series(PLAIN, index=marked.index, dtype="str")
    kind = kind.mask(marked["src_ip"].str.startswith("127.") | (marked["src_ip"] == "::1"), LOOPBACK)
    kind = kind.mask(marked["tunnel"].notna() & (marked["protocol"] == "udp"), TUNNEL)
    kind = kind.mask(marked["snat"], MASQUERADED).mask(marked["dnat"], SERVICE)
    order = pd.Categorical(kind, categories=list(KINDS), ordered=True)
    arms = pd.Categorical(marked["arm"], categories=list(dict.fromkeys(marked["arm"])), ordered=True)
    grouped = marked.assign(arm=arms, kind=order).groupby(["arm", "kind"], observed=True, as_index=False)
    counted = grouped.agg(connections=("replied", "size"), unanswered=("replied", lambda seen: (~seen).sum()))
    totals = counted.groupby("arm", observed=True)["connections"].transform("sum")
    counted["share_pct"] = (100 * counted["connections"] / totals).round(1)
    types = {
        "arm": "str",
        "kind": "str",
        "connections": "Int64",
        "unanswered": "Int64",
        "share_pct": "float64",
    }
    return counted.astype(types)
