"""kube-proxy's iptables rules as a tree: KUBE-SERVICES -> KUBE-SVC -> KUBE-SEP -> endpoint.

How the rules choose: the chain KUBE-SERVICES is walked rule by rule until one matches the Service's address,
so a Service far behind costs more comparisons than one in front. Its chain KUBE-SVC then lists the endpoints,
each with the chance to be taken if those before it were not (`statistic --mode random`); the last is always
taken. Source: `pkg/proxy/iptables/proxier.go` of Kubernetes (`writeServiceToEndpointRules`).

Counters: table nat is looked at for the first packet of a connection only, so packets are connections (of
UDP, flows). A counter starts at 0 again whenever kube-proxy writes its chain anew.
"""

from __future__ import annotations

import re

import pandas as pd

__all__ = ["of_service", "tree", "with_pods"]

WHERE = ("arm", "node")
ROOT, SERVICE, ENDPOINT = "KUBE-SERVICES", ("KUBE-SVC-", "KUBE-SVL-"), "KUBE-SEP-"
COLUMNS = {
    "service": "str", "cluster_ip": "str", "protocol": "str", "port": "Int64", "position": "Int64",
    "service_chain": "str", "service_packets": "Int64", "endpoint": "Int64", "endpoint_chain": "str",
    "endpoint_ip": "str", "endpoint_port": "Int64", "probability": "float64", "packets": "Int64",
    "affinity": "boolean",
}  # fmt: skip


def tree(rules: pd.DataFrame) -> pd.DataFrame:
    """A row for each Service port and endpoint, of frame RULES of iptables, with `arm` and `node` if it has them.

    Columns: `service` (namespace/name:port, as the rule's comment names it), `cluster_ip`, `protocol`, `port`;
    `position` (place of its rule in KUBE-SERVICES: so many rules are compared), `service_chain`,
    `service_packets` (that took this rule); `endpoint` (place in that chain, from 1), `endpoint_chain`,
    `endpoint_ip`, `endpoint_port`, `probability` (for a client that is not remembered), `packets` (that were
    sent to it), `affinity` (clients are remembered).

    Services are told by their cluster addresses; those of load balancers and node ports lead by KUBE-EXT to
    the same chains and have no rows. Empty where there is no kube-proxy, or another mode than iptables.
    """
    where = [column for column in WHERE if column in rules]
    nat = rules[rules["table"] == "nat"]
    joined = (
        _services(nat, where)
        .merge(_endpoints(nat, where), on=[*where, "service_chain"])
        .merge(_destinations(nat, where), on=[*where, "endpoint_chain"], how="left")
        .sort_values(["order", "service", "cluster_ip", "protocol", "port", "endpoint"], ignore_index=True)
    )
    return joined[[*where, *COLUMNS]].astype(COLUMNS)


def _services(nat: pd.DataFrame, where: list[str]) -> pd.DataFrame:
    """The rules of KUBE-SERVICES that lead to a Service's chain."""
    mine = nat[(nat["chain"] == ROOT) & nat["target"].str.startswith(SERVICE, na=False)]
    return mine[[*where, "protocol", "position"]].assign(
        service=mine["comment"].str.removesuffix(" cluster IP"),
        cluster_ip=mine["dst"].str.replace(r"/(?:32|128)$", "", regex=True),
        port=pd.to_numeric(mine["dport"]),
        service_chain=mine["target"],
        service_packets=mine["packets"],
        order=mine.groupby(where, sort=False).ngroup() if where else 0,
    )


def _endpoints(nat: pd.DataFrame, where: list[str]) -> pd.DataFrame:
    """The endpoints of each Service's chain in order, and the chance of each to be taken.

    Rules that ask for remembered clients come first and choose nobody else; they only add to the packets.
    """
    mine = nat[nat["chain"].str.startswith(SERVICE) & nat["target"].str.startswith(ENDPOINT, na=False)]
    chain = [*where, "service_chain"]
    frame = mine[[*where, "position", "packets"]].assign(
        service_chain=mine["chain"], endpoint_chain=mine["target"], affinity=mine["remembers"].astype(bool)
    )
    frame["taken"] = mine["probability"].fillna(1.0).mask(frame["affinity"], 0.0)
    frame["passed"] = 1 - frame["taken"]
    frame = frame.sort_values([*chain, "position"], kind="stable")
    frame["passed"] = frame.groupby(chain, sort=False)["passed"].cumprod()
    reached = frame.groupby(chain, sort=False)["passed"].shift(1).fillna(1.0)
    frame["probability"] = frame["taken"] * reached
    endpoints = frame.groupby([*chain, "endpoint_chain"], sort=False, as_index=False).agg(
        probability=("probability", "sum"),
        packets=("packets", lambda column: column.sum(min_count=1)),
        affinity=("affinity", "any"),
    )
    endpoints["endpoint"] = endpoints.groupby(chain, sort=False).cumcount() + 1
    return endpoints


def _destinations(nat: pd.DataFrame, where: list[str]) -> pd.DataFrame:
    """Where each endpoint's chain sends to."""
    mine = nat[nat["chain"].str.startswith(ENDPOINT) & (nat["target"] == "DNAT")]
    parts = mine["to_destination"].str.rpartition(":")
    return mine[where].assign(
        endpoint_chain=mine["chain"],
        endpoint_ip=parts[0].str.strip("[]") if len(mine) else "",
        endpoint_port=pd.to_numeric(parts[2]) if len(mine) else 0,
    )


def with_pods(services: pd.DataFrame, pods: pd.DataFrame) -> pd.DataFrame:
    """The tree with `pod` and `pod_node` behind each endpoint, of frame PODS; both with `arm` or without.

    Endpoints in the network of a node (the API server) are several pods' address and get none.
    """
    on = [column for column in ("arm",) if column in services]
    own = pods[~pods["host_network"].fillna(False)].dropna(subset="pod_ip")
    behind = own[[*on, "pod_ip", "pod", "node"]].rename(columns={"pod_ip": "endpoint_ip", "node": "pod_node"})
    return services.merge(behind.drop_duplicates([*on, "endpoint_ip"]), on=[*on, "endpoint_ip"], how="left")


def of_service(services: pd.DataFrame, service: str) -> pd.DataFrame:
    """The rows of one Service of a tree, called `name` or `namespace/name`, of all its ports."""
    name = rf"(?:[^/]+/)?{re.escape(service)}(?::.*)?"
    return services[services["service"].str.fullmatch(name, na=False)].reset_index(drop=True)
