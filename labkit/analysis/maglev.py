"""Maglev tables: how many slots each backend has, and whether the nodes hold the same tables.

A hash of the connection picks a slot, so a backend's share of the slots is its share of new connections,
for many connections with different ports. Maglev (Eisenbud et al., NSDI 2016) fills the slots in an order
that depends on the names of the backends only: every node comes to the same table without asking another,
and a connection that reaches another node still reaches the same backend. With n backends the shares
differ from 1/n by less than about n/slots of it.

Services and backends are numbered by each node for itself; only addresses can be compared across nodes.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["agreement", "backend_names", "of_service", "shares"]


def backend_names(frontends: pd.DataFrame, lb_map: pd.DataFrame, services: pd.DataFrame) -> pd.DataFrame:
    """What the numbers of each node stand for, of frames LB_FRONTENDS, LB_MAP (both by node) and SERVICES.

    Columns: `arm` where the frames have it, `node`, `service_id`, `backend_id`, `service` (namespace/name
    port/protocol; the address where the API has no such Service) and `backend` (address:port).
    """
    around = _around(frontends)
    slot = [*around, "node", "frontend_ip", "port", "protocol", "scope", "slot", "service_id"]
    joined = frontends.dropna(subset="backend_id").merge(
        lb_map[[*slot, "backend_ip", "backend_port"]], on=slot
    )
    known = services.rename(columns={"cluster_ip": "frontend_ip"})
    on = [*around, "frontend_ip", "protocol", "port"]
    joined = joined.merge(known[[*on, "namespace", "service"]].drop_duplicates(on), on=on, how="left")
    name = (joined["namespace"] + "/" + joined["service"]).fillna(joined["frontend_ip"])
    joined["service"] = name + " " + joined["port"].astype("str") + "/" + joined["protocol"]
    joined["backend"] = joined["backend_ip"] + ":" + joined["backend_port"].astype("str")
    columns = [*around, "node", "service_id", "backend_id", "service", "backend"]
    return joined[columns].drop_duplicates().reset_index(drop=True)


def shares(maglev: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Each backend's share of each table, of frame MAGLEV by node and `backend_names`.

    Columns: `arm`, `node`, `service`, `backend`, `slots`, `table_size`, `backends` (of the table),
    `share_pct`, `fair_pct` (one of so many) and `off_pct`, the share's distance from the fair one in percent
    of it.
    """
    around = _around(maglev)
    frame = maglev.merge(names, on=[*around, "node", "service_id", "backend_id"], how="left")
    frame["service"] = frame["service"].fillna("service " + frame["service_id"].astype("str"))
    frame["backend"] = frame["backend"].fillna("backend " + frame["backend_id"].astype("str"))
    table = [*around, "node", "service_id", "family"]
    frame["backends"] = frame.groupby(table)["backend_id"].transform("nunique")
    frame["share_pct"] = 100 * frame["slots"] / frame["table_size"]
    frame["fair_pct"] = 100 / frame["backends"]
    frame["off_pct"] = 100 * (frame["share_pct"] / frame["fair_pct"] - 1)
    columns = ["service", "backend", "slots", "table_size", "backends", "share_pct", "fair_pct", "off_pct"]
    keys = [*around, "node", "service", "backend"]
    return frame[[*around, "node", *columns]].sort_values(keys, ignore_index=True)


def of_service(tables: pd.DataFrame, names: pd.DataFrame, service: str) -> pd.DataFrame:
    """The tables of one Service, slot by slot: `service` is its name, or namespace/name.

    Columns: `arm`, `node`, `service` (with its port), `slot` (from 0), `backend`.
    """
    name = names["service"].str.replace(r" .*", "", regex=True)
    if "/" not in service:
        name = name.str.replace(r"^.*/", "", regex=True)
    return _slots(tables, names[name == service])


def agreement(tables: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Whether the nodes hold the same table for a Service, of frame MAGLEV_TABLES by node.

    Columns: `arm`, `service`, `nodes`, `table_size`, `same_backends` (each node chooses among the same),
    `differing` (slots that hold different backends on different nodes).
    """
    around = _around(tables)
    key = [*around, "service"]
    slots = _slots(tables, names)
    held = slots.groupby([*key, "slot"], as_index=False).agg({"backend": "nunique"})
    whole = held.assign(differing=held["backend"] > 1).groupby(key, as_index=False)
    found: pd.DataFrame = whole.agg({"slot": "size", "differing": "sum"}).rename(
        columns={"slot": "table_size"}
    )
    each = slots.groupby(key)["node"].nunique().rename("nodes").reset_index()
    used = slots[[*key, "node", "backend"]].drop_duplicates().groupby([*key, "backend"]).size()
    fewest = used.groupby(key).min().rename("fewest").reset_index()
    joined = found.merge(each, on=key).merge(fewest, on=key)
    joined["same_backends"] = joined["fewest"] == joined["nodes"]
    return joined[[*key, "nodes", "table_size", "same_backends", "differing"]]


def _slots(tables: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """Every slot of every table that has a name, with the address of its backend."""
    around = _around(tables)
    table = [*around, "node", "service_id"]
    wanted = tables.merge(names[[*table, "service"]].drop_duplicates(), on=table)
    wanted["backend_id"] = wanted["slots"].str.split(",")
    slots = wanted[[*table, "service", "backend_id"]].explode("backend_id", ignore_index=True)
    slots["backend_id"] = pd.to_numeric(slots["backend_id"]).astype("Int64")
    slots["slot"] = slots.groupby(table).cumcount()
    slots = slots.merge(names[[*table, "backend_id", "backend"]], on=[*table, "backend_id"], how="left")
    slots["backend"] = slots["backend"].fillna("backend " + slots["backend_id"].astype("str"))
    return slots[[*around, "node", "service", "slot", "backend"]]


def _around(frame: pd.DataFrame) -> list[str]:
    return [name for name in ("arm",) if name in frame]
