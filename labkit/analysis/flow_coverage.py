"""How much of what happened is in the flows that were asked for.

What happened is known from elsewhere: labkit's own requests (frame FETCHES), the backends' logs (frame LOG)
and the datapath's drop counters. Two bounds lie between a packet and the answer of `hubble observe --last N`:
the ring, which overwrites its oldest flows, and N itself. So the share of all requests says how far back the
answer reaches, and the share within its span says whether Hubble missed anything.
"""

from __future__ import annotations

import pandas as pd

__all__ = [
    "answers", "by_second", "clients", "drops", "drops_counted", "during", "instruments", "of_requests", "within_span",
]  # fmt: skip

CONNTRACK, RULES = "kernel conntrack", "kube-proxy's rules"
CT, FLOWS = "Cilium's connection map", "Hubble flows, as asked for"
HTTP, SERVICE = 80, r"/backend-service(?:[: ]|$)"
#: Counters that are no drops (pkg/monitor/api/drop.go, below 130): packets that went on, notes on sockets.
NO_DROP = r"Success|Interface|LB: |LB, |Encr|Decr"


def during(frame: pd.DataFrame, rounds: pd.DataFrame, slack_s: float = 1.0) -> pd.DataFrame:
    """The rows of `frame` whose `time` is between the first start and the last end of `rounds`, by arm.

    `slack_s` makes up for clocks that differ and for log lines, whose time is cut to the second.
    """
    frame = frame[frame["arm"].isin(rounds["arm"])]
    if frame.empty:
        return frame.reset_index(drop=True)
    slack = pd.Timedelta(seconds=slack_s)
    start = frame["arm"].map(rounds.groupby("arm")["started_at"].min()) - slack
    end = frame["arm"].map(rounds.groupby("arm")["ended_at"].max()) + slack
    return frame[frame["time"].between(start, end)].reset_index(drop=True)


def answers(flows: pd.DataFrame, status: pd.DataFrame, lost: pd.DataFrame) -> pd.DataFrame:
    """What each node answered: flows got, their span, what the ring held and had seen, events lost."""
    key = ["arm", "node"]
    got = flows.groupby(key).agg(flows=("uuid", "size"), first=("time", "min"), last=("time", "max"))
    found = got.join(status.set_index(key)[["flows", "max_flows", "seen_flows"]].add_prefix("ring_"))
    found = found.rename(
        columns={"ring_flows": "in_ring", "ring_max_flows": "ring_size", "ring_seen_flows": "seen"}
    )
    found.insert(3, "span_s", (found["last"] - found["first"]).dt.total_seconds().round(1))
    found["lost_events"] = lost.groupby(key)["events"].sum().reindex(found.index).fillna(0).astype("Int64")
    return found.reset_index()


def of_requests(connections: pd.DataFrame, rounds: pd.DataFrame) -> pd.DataFrame:
    """Requests that were made against connections in the flows, by arm and client pod.

    `connections` are those of `service_map.connections`; of them count the ones that are of the rounds'
    protocol and were seen between their first start and last end. In an arm without flows they are NA.
    """
    key = ["arm", "pod"]
    asked = rounds.groupby(key, sort=False).agg(requests=("requests", "sum"), answered=("answered", "sum"))
    mine = connections.rename(columns={"client_pod": "pod", "first": "time"})
    mine = during(mine[mine["protocol"].isin(rounds["protocol"]) & mine["server_pod"].notna()], rounds)
    seen = _count(mine, asked.index, connections)
    found = asked.assign(connections=seen, share_pct=(seen / asked["requests"] * 100).astype("float64"))
    return found.reset_index()


def within_span(flows: pd.DataFrame, log: pd.DataFrame, rounds: pd.DataFrame) -> pd.DataFrame:
    """The same within the time that the flows span, by arm and server pod.

    `since` is the first whole second of the server's node that the flows cover; from then on requests in
    the server's log are held against connections that were opened to it. Log times are cut to the second,
    so that a connection opened at its very end may count on one side only.
    """
    key = ["arm", "pod"]
    opened = _opened(flows, log)
    first = flows.groupby(["arm", "node"])["time"].min().dt.ceil("s").rename("since").reset_index()
    since = opened[[*key, "node"]].drop_duplicates().merge(first, on=["arm", "node"])
    logged = during(log[log["kind"] == "request"], rounds).merge(since, on=key)
    opened = opened.merge(since[[*key, "since"]], on=key)
    found = since.set_index(key)
    found["requests"] = _count(logged[logged["time"] >= logged["since"]], found.index, log)
    found["connections"] = _count(opened[opened["time"] >= opened["since"]], found.index, flows)
    found["share_pct"] = (found["connections"] / found["requests"] * 100).astype("float64")
    return found.reset_index().sort_values(key, ignore_index=True)


def by_second(flows: pd.DataFrame, log: pd.DataFrame, rounds: pd.DataFrame) -> pd.DataFrame:
    """Requests in each server's log and connections to it in the flows, by arm, pod and second of the rounds.

    `at_s` counts from the first second of the arm's rounds. In an arm without flows, connections are NA.
    """
    key = ["arm", "pod", "at_s"]
    start = rounds.groupby("arm", sort=False)["started_at"].min().dt.floor("s")
    counts = []
    for name, frame in (("requests", log[log["kind"] == "request"]), ("connections", _opened(flows, log))):
        mine = during(frame, rounds)
        at_s = (mine["time"].dt.floor("s") - start.reindex(mine["arm"]).array).dt.total_seconds()
        counts.append(mine.assign(at_s=at_s).groupby(key).size().rename(name))
    found = pd.concat(counts, axis=1).fillna(0).astype("Int64").sort_index().reset_index()
    order = {arm: number for number, arm in enumerate(start.index)}
    found = found.sort_values("arm", key=lambda arms: arms.map(order), kind="stable", ignore_index=True)
    found["connections"] = found["connections"].where(found["arm"].isin(flows["arm"]))
    return found


def instruments(
    log: pd.DataFrame, conntrack: pd.DataFrame, rules: pd.DataFrame, ct: pd.DataFrame, flows: pd.DataFrame
) -> pd.DataFrame:
    """How many of the requests in the backends' logs each instrument has as a connection, by arm.

    `log` is frame LOG by pod, `conntrack` frame ENTRIES by node, `rules` frame RULES of iptables by node, `ct`
    frame CONNECTIONS of Cilium by node, `flows` frame FLOWS by node; all read soon after the requests. An
    instrument that an arm has not got has no row. `share_pct` may pass 100 where a log was cut.
    """
    requests = log[log["kind"] == "request"]
    dnat = rules[rules["target"].eq("DNAT") & rules["comment"].str.contains(SERVICE, na=False)]
    found = pd.concat([
        _connections(conntrack, requests, CONNTRACK),
        dnat.groupby("arm")["packets"].sum().rename("connections").reset_index().assign(instrument=RULES),
        _connections(ct, requests, CT),
        _connections(flows[flows["event"] == "trace"], requests, FLOWS),
    ])  # fmt: skip
    logged = requests.groupby("arm", sort=False).size().rename("requests").reset_index()
    found = logged.merge(found.astype({"connections": "Int64", "arm": "str"}), on="arm", how="left")
    found = found[found["instrument"].notna()].reset_index(drop=True)
    found["share_pct"] = (found["connections"] / found["requests"] * 100).astype("float64")
    return found[["arm", "instrument", "requests", "connections", "share_pct"]]


def _connections(seen: pd.DataFrame, requests: pd.DataFrame, instrument: str) -> pd.DataFrame:
    """Different connections from the clients of the requests, for each arm that has the instrument at all."""
    clients = requests[["arm", "client_ip"]].drop_duplicates().rename(columns={"client_ip": "src_ip"})
    mine = seen[seen["protocol"].str.upper().eq("TCP") & seen["dst_port"].eq(HTTP)]
    mine = mine.merge(clients, on=["arm", "src_ip"])[["arm", "src_ip", "src_port"]].drop_duplicates()
    arms = pd.Index(seen["arm"].unique(), name="arm")
    counted = mine.groupby("arm").size().reindex(arms).fillna(0)
    return counted.rename("connections").reset_index().assign(instrument=instrument)


def clients(log: pd.DataFrame, pods: pd.DataFrame) -> pd.DataFrame:
    """Who asked, by the servers' logs: requests by arm, server and client address, and the pod that has it.

    `client` is NA for an address of no pod: then the source was rewritten on the way.
    """
    mine = pods.loc[~pods["host_network"].astype(bool), ["arm", "pod_ip", "pod"]]
    mine = mine.rename(columns={"pod_ip": "client_ip", "pod": "client"})
    requests = log[log["kind"] == "request"].groupby(["arm", "pod", "client_ip"], sort=False).size()
    return requests.rename("requests").reset_index().merge(mine, on=["arm", "client_ip"], how="left")


def drops(flows: pd.DataFrame) -> pd.DataFrame:
    """Dropped packets by arm, node, reason and direction.

    `drops` counts packets; `verdicts` are the policy verdicts beside them, which are flows of the same
    packets: whoever counts flows with verdict DROPPED counts those packets twice.
    """
    key = ["arm", "node", "drop_reason", "direction"]
    dropped = flows[flows["verdict"] == "DROPPED"].assign(
        drops=lambda f: f["event"].eq("drop"), verdicts=lambda f: f["event"].eq("policy-verdict")
    )
    return dropped.groupby(key)[["drops", "verdicts"]].sum().astype("Int64").reset_index()


def drops_counted(flows: pd.DataFrame, counters: pd.DataFrame) -> pd.DataFrame:
    """The same by arm, node and reason, beside what the datapath counted (frame METRICS by node).

    `counted` is since the counters were made and `drops` what the ring still has, so that `share_pct` below
    100 means overwritten or lost. The two name directions differently; both are summed up.
    """
    key = ["arm", "node", "drop_reason"]
    reason = counters["reason"].str.upper().str.replace(" ", "_")
    counted = counters.assign(drop_reason=reason)[~counters["reason"].str.match(NO_DROP)]
    found = pd.concat(
        [
            drops(flows).groupby(key)[["drops", "verdicts"]].sum(),
            counted.groupby(key)["packets"].sum().rename("counted").astype("Int64"),
        ],
        axis=1,
    )
    found = found.astype("Int64").fillna(0).sort_index()
    found["share_pct"] = (found["drops"] / found["counted"] * 100).astype("float64")
    return found.reset_index()


def _opened(flows: pd.DataFrame, log: pd.DataFrame) -> pd.DataFrame:
    """One row a connection that was opened to a pod with a log: its first SYN as the pod got it."""
    syn = flows[flows["tcp_flags"].eq("SYN") & flows["observation_point"].eq("TO_ENDPOINT")]
    syn = syn[syn["dst_pod"].isin(log["pod"])]
    syn = syn.drop_duplicates(["arm", "src_ip", "src_port", "dst_ip", "dst_port"])
    return syn[["arm", "node", "dst_pod", "time"]].rename(columns={"dst_pod": "pod"})


def _count(rows: pd.DataFrame, index: pd.Index, source: pd.DataFrame) -> pd.Series:
    """Rows by arm and pod. None is 0 where the arm is in the source at all, and NA where it is not."""
    found = rows.groupby(["arm", "pod"]).size().reindex(index).astype("Int64")
    return found.fillna(0).where(index.get_level_values("arm").isin(source["arm"]))
