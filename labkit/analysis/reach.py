"""What is between two pods, as ping, traceroute and packets of several sizes found it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["reach", "traces"]

KEY = ["arm", "pod", "dst_ip"]
SILENT = "*"


def traces(hops: pd.DataFrame) -> pd.DataFrame:
    """Frame HOPS with `arm`, `pod` and `dst_ip` in a row for each path.

    Columns: `hops` (how many), `trace`: who answered first at each of them, in order, and `*` where nobody did.
    """
    first = hops.sort_values([*KEY, "hop", "probe"], kind="stable")
    answered = first.groupby([*KEY, "hop"], sort=False)["hop_ip"].first().fillna(SILENT)
    grouped = answered.groupby(KEY, sort=False)
    frame = grouped.agg(hops="size", trace=" > ".join).reset_index()
    return frame.astype({"hops": "Int64", "trace": "str"})


def reach(hops: pd.DataFrame, pings: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """A row for each pod and destination: frames HOPS and SUMMARY of ping, and `path_mtu` of `labkit.analysis.mtu`.

    Columns: `path` (same node or other node), `hops`, `trace`, `received` of `sent` echoes, `avg_us` (their
    mean round trip), `node_mtu`, `pod_mtu`, `largest_passed`, `smallest_failed` in bytes.
    """
    echoes = pings[[*KEY, "sent", "received", "avg_us"]]
    frame = sizes.merge(traces(hops), on=KEY, how="left").merge(echoes, on=KEY, how="left")
    found = ["path", "hops", "trace", "sent", "received", "avg_us"]
    return frame[[*KEY, *found, "node_mtu", "pod_mtu", "largest_passed", "smallest_failed"]]
