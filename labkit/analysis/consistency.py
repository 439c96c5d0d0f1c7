"""What Services should lead to, against what the nodes are programmed to do.

Intended is what the API says: each cluster address and port with the endpoints that are ready (a Service of
internalTrafficPolicy Local: those on the node itself). Programmed is what lies in the kernel of each node:
rules of iptables or slots of Cilium's service map. Every row is one way from a frontend to an endpoint on
one node, and is found in both (matching), only intended (missing) or only programmed (extra).

The two are read one after the other, seconds apart. In a cluster at rest that makes no difference; while
Services come and go, a missing row is one that the node had not yet learnt some time after the API had it,
and an extra one is either stale, or younger than the answer of the API.
"""

from __future__ import annotations

import pandas as pd

from labkit.analysis.service_tree import tree

__all__ = [
    "STATES",
    "by_service",
    "compare",
    "intended",
    "lab_slots",
    "of_lab_maps",
    "of_lb_map",
    "of_rules",
    "summary",
]

STATES = ("matching", "missing", "extra")
#: Columns that frames of several arms or steps have in front.
AROUND = ("arm", "step")
WAY = ["cluster_ip", "protocol", "port", "endpoint_ip", "endpoint_port"]


def intended(services: pd.DataFrame, endpoints: pd.DataFrame, nodes: pd.DataFrame) -> pd.DataFrame:
    """What each node should be programmed for, of frames SERVICES, ENDPOINTS and NODES.

    Columns: `arm` and `step` where the frames have them, `node`, `namespace`, `service` and those of a way:
    `cluster_ip`, `protocol`, `port`, `endpoint_ip`, `endpoint_port`. Endpoints that are not ready are left
    out, and Services without an address of their own (headless). A port without an endpoint is one row
    whose endpoint is NA: no way, but a name for its address. Of a Service of both families the first address
    is known, and the endpoints of its family.
    """
    around = _around(services)
    ready = endpoints[endpoints["ready"].fillna(True)]
    ready = ready.rename(columns={"address": "endpoint_ip", "port": "endpoint_port", "node": "endpoint_node"})
    ready = ready.assign(port_name=ready["port_name"].fillna(""), six=_six(ready["endpoint_ip"]))
    mine = services.dropna(subset="cluster_ip").assign(port_name=services["port_name"].fillna(""))
    mine["six"] = _six(mine["cluster_ip"])
    on = [*around, "namespace", "service", "protocol", "port_name", "six"]
    ways = mine.merge(ready[[*on, "endpoint_ip", "endpoint_port", "endpoint_node"]], on=on, how="left")
    each = [name for name in around if name in nodes]
    everywhere = nodes[[*each, "node"]].drop_duplicates()
    ways = ways.merge(everywhere, on=each) if each else ways.merge(everywhere, how="cross")
    here = (ways["internal_policy"] != "Local") | (ways["endpoint_node"] == ways["node"])
    columns = [*around, "node", "namespace", "service", *WAY]
    return ways.loc[here.fillna(True), columns].drop_duplicates().reset_index(drop=True)


def of_lb_map(lb_map: pd.DataFrame) -> pd.DataFrame:
    """The ways that Cilium's service map holds for cluster addresses, of frame LB_MAP by node."""
    around = _around(lb_map)
    frontend = [*around, "node", "frontend_ip", "port", "protocol", "scope"]
    heads = lb_map[(lb_map["slot"] == 0) & lb_map["flags"].str.startswith("ClusterIP", na=False)]
    slots = lb_map[lb_map["slot"] > 0].merge(heads[frontend], on=frontend)
    names = {"frontend_ip": "cluster_ip", "backend_ip": "endpoint_ip", "backend_port": "endpoint_port"}
    return _programmed(slots.rename(columns=names), "service map")


def of_lab_maps(frontends: pd.DataFrame, backends: pd.DataFrame) -> pd.DataFrame:
    """The ways that the maps of the `ebpf` topology hold, of frames FRONTENDS and BACKENDS of ebpf_maps by node."""
    return _programmed(lab_slots(frontends, backends), "eBPF maps")


def lab_slots(frontends: pd.DataFrame, backends: pd.DataFrame) -> pd.DataFrame:
    """The slots of those maps that are in use, under the names of a way."""
    around = _around(frontends)
    slots = backends.merge(frontends[[*around, "node", "vip", "protocol", "port", "service", "backends"]],
                           on=[*around, "node", "service"])  # fmt: skip
    names = {"vip": "cluster_ip", "backend_ip": "endpoint_ip", "backend_port": "endpoint_port"}
    return slots[slots["slot"] < slots["backends"]].rename(columns=names)


def of_rules(rules: pd.DataFrame) -> pd.DataFrame:
    """The ways that kube-proxy's iptables rules hold, of frame RULES of iptables by node."""
    if "step" in rules and len(rules):
        steps = rules.groupby("step", sort=False)
        ways = pd.concat([tree(part).assign(step=step) for step, part in steps], ignore_index=True)
        ways = ways.astype({"step": "str"})
    else:
        ways = tree(rules)
    return _programmed(ways.assign(protocol=ways["protocol"].str.upper()), "iptables")


def _six(addresses: pd.Series) -> pd.Series:
    """Whether these are addresses of IPv6."""
    return addresses.str.contains(":", regex=False).fillna(value=False).astype("bool")


def _programmed(ways: pd.DataFrame, by: str) -> pd.DataFrame:
    found = ways[[*_around(ways), "node", *WAY]].drop_duplicates().assign(by=by)
    return found.astype({"by": "str"}).reset_index(drop=True)


def compare(intended: pd.DataFrame, *programmed: pd.DataFrame) -> pd.DataFrame:
    """Every way with its `state`: matching, missing or extra; `by` says what it is programmed in.

    Arms and steps stay in their order. Ways of a family that no Service's address is of are left out: they are
    those of second addresses.

    An arm (or a step of it) of which no way was programmed is left out: nobody read there what the node
    does. Of an extra way, `namespace` and `service` are those of its cluster address, NA where the API has
    no Service with it.
    """
    found = pd.concat(list(programmed), ignore_index=True)
    found = found[_six(found["cluster_ip"]).isin(_six(intended["cluster_ip"]).unique())]
    around = _around(intended)
    read = found[[*around, "by"]].drop_duplicates()
    ports = intended.merge(read, on=around) if around else intended.merge(read, how="cross")
    wanted = ports.dropna(subset="endpoint_ip")
    on = [*around, "by", "node", *WAY]
    names = ports[[*around, "cluster_ip", "namespace", "service"]].drop_duplicates([*around, "cluster_ip"])
    both = wanted[on].merge(found[on], on=on, how="outer", indicator="state")
    states = {"both": "matching", "left_only": "missing", "right_only": "extra"}
    both["state"] = both["state"].map(states).astype("str")
    both = both.merge(names, on=[*around, "cluster_ip"], how="left")
    columns = [*around, "by", "node", "namespace", "service", *WAY, "state"]
    given = {name: {value: place for place, value in enumerate(intended[name].unique())} for name in around}
    return both[columns].sort_values(
        [*around, "by", "node", *WAY],
        key=lambda values: values.map(given[values.name]) if values.name in given else values,
        ignore_index=True,
    )


def summary(compared: pd.DataFrame) -> pd.DataFrame:
    """Ways by state on each node: columns `matching`, `missing`, `extra` and `matching_pct` of the intended."""
    keys = [*_around(compared), "by", "node"]
    counts = _counts(compared, keys)
    counts["matching_pct"] = 100 * counts["matching"] / (counts["matching"] + counts["missing"])
    return counts


def by_service(compared: pd.DataFrame) -> pd.DataFrame:
    """Ways by state for each Service port on each node: the `summary` of one frontend."""
    keys = [*_around(compared), "by", "node", "namespace", "service", "cluster_ip", "protocol", "port"]
    return _counts(compared, keys)


def _counts(compared: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Ways of each state, by these keys, in the order they come."""
    each = compared[keys].assign(**{state: (compared["state"] == state).astype("Int64") for state in STATES})
    return each.groupby(keys, sort=False, dropna=False, as_index=False)[list(STATES)].sum()


def _around(frame: pd.DataFrame) -> list[str]:
    return [name for name in AROUND if name in frame]
