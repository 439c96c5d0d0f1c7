"""Whether captured packets went the way that the state of their arm predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.analysis.paths.differences import PATH_DIFFERENCES
from labkit.analysis.paths.differences import differences as compare
from labkit.collect import captures, kubernetes, path_state
from labkit.collect.gather import Collector
from labkit.errors import MissingFeature, ReplayMiss
from labkit.explain.paths import model

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["differences"]

Client = tuple[str, str, int | None]
DNS = 53


def _differences(cluster: Cluster) -> pd.DataFrame:
    """Every flow that the step `capture` holds, against what the state of `baseline` predicts for it."""
    at_rest = cluster.at("baseline")
    packets = captures.packets(cluster)
    asked = {**_questions(at_rest, packets), **_fetches(cluster)}
    return compare(model(at_rest), packets, kubernetes.pods(at_rest), captures.taps(cluster), asked)


#: A collector: `lab.each(differences)`.
differences = Collector(_differences, PATH_DIFFERENCES)


def _fetches(cluster: Cluster) -> dict[Client, tuple[str, int | None]]:
    """What curl was told it is connected to, by its own address and port."""
    rows = captures.asked(cluster)
    made = rows[rows["local_port"].notna() & rows["remote_ip"].notna()]
    return {
        ("tcp", row["local_ip"], int(row["local_port"])): (row["remote_ip"], int(row["remote_port"]))
        for row in made.to_dict("records")
    }


def _questions(cluster: Cluster, packets: pd.DataFrame) -> dict[Client, tuple[str, int | None]]:
    """The server that resolvers ask, for each of their questions."""
    try:
        resolvers = path_state.resolvers(cluster)
    except (MissingFeature, ReplayMiss):
        return {}
    pods = kubernetes.pods(cluster).merge(resolvers[["pod", "nameservers"]], on="pod")
    server = dict(zip(pods["pod_ip"], pods["nameservers"].str.partition(",")[0], strict=True))
    sent = packets[(packets["protocol"] == "udp") & (packets["dst_port"] == DNS)]
    return {
        ("udp", ip, int(port)): (server[ip], DNS)
        for ip, port in zip(sent["src_ip"], sent["src_port"], strict=True)
        if ip in server
    }
