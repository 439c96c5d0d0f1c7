"""What an arm's own tables and logs say of the probes that its policies stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.analysis.policy_model import records

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "counted",
    "drop_pairs",
    "drops_by_target",
    "match_drops",
    "policy_entries",
    "policy_words",
    "rules_changed",
]

DENIED = "POLICY_DENIED"
PROTOCOLS = {"TCP": "TCP", "UDP": "UDP", "ICMP": "ICMPv4"}


def match_drops(probes: pd.DataFrame, flows: pd.DataFrame, slack_s: float = 0.0) -> pd.DataFrame:
    """The blocked probes with the drops that Hubble has of them; `flows` is frame FLOWS by step and node.

    A drop belongs to a probe where the node of the pod that asked saw it, in the same step, between the
    probe's begin and end, with the pod's address as its source and the protocol and port of what was asked
    for; of a probe by name that never got beyond the name server, of the lookup. The window is by the clock
    of whoever asked: where that one and the nodes' differ, `slack_s` widens it.

    Adds `drops` (packets; NA where the arm has no flows, or its ring does not reach back to the probe),
    `dropped_at` (EGRESS, INGRESS), `dropped_to` (pods) and `drop_replies`.
    """
    blocked = probes[probes["outcome"] == "blocked"].reset_index(drop=True)
    dropped = flows[(flows["event"] == "drop") & (flows["drop_reason"] == DENIED)]
    keys = [c for c in ("arm", "step", "node") if c in flows and c in probes]
    reach = flows.groupby(keys)["time"].min().to_dict() if len(flows) else {}
    slack = pd.Timedelta(seconds=slack_s)
    found = [
        _drops_of(probe, dropped, slack)
        if reach.get(tuple(probe[k] for k in keys), pd.Timestamp.max.tz_localize("UTC"))
        <= probe["started_at"]
        else None
        for probe in records(blocked)
    ]
    return blocked.assign(
        drops=pd.array([None if d is None else len(d) for d in found], dtype="Int64"),
        dropped_at=_joined(found, "direction"),
        dropped_to=_joined(found, "dst_pod"),
        drop_replies=_joined(found, "reply"),
    )


def _drops_of(probe: dict[str, Any], dropped: pd.DataFrame, slack: pd.Timedelta) -> pd.DataFrame:
    lookup = probe["kind"] == "dns" or (probe["kind"] == "service-name" and probe["cause"] == "dns-timeout")
    wanted = (
        (dropped["step"] == probe["step"])
        & (dropped["src_ip"] == probe["src_ip"])
        & (dropped["protocol"] == ("UDP" if lookup else PROTOCOLS[probe["protocol"]]))
        & dropped["time"].between(probe["started_at"] - slack, probe["ended_at"] + slack)
    )
    if "arm" in probe:
        wanted &= dropped["arm"] == probe["arm"]
    if probe["kind"] == "pod":
        wanted &= dropped["dst_ip"] == probe["dst_ip"]
    if lookup:
        wanted &= dropped["dst_port"] == 53
    mine: pd.DataFrame = dropped[wanted.fillna(value=False)]
    return mine


def _joined(found: Iterable[pd.DataFrame | None], column: str) -> Any:  # noqa: ANN401  (an extension array)
    return pd.array(
        [None if d is None or d.empty else ",".join(dict.fromkeys(d[column].dropna())) for d in found],
        dtype="str",
    )


def drops_by_target(drops: pd.DataFrame) -> pd.DataFrame:
    """Blocked probes (rows of `match_drops` with the names of `connectivity.flow_names`) and their dropped
    packets, by step, app and target. `without_drops` are probes that have none, `not_known` those that the
    flow log does not reach back to.
    """
    keys = [c for c in ("arm", "step", "app", "target", "cause", "dropped_at") if c in drops]
    rows = drops.assign(
        dropped_at=drops["dropped_at"].fillna("-"), without_drops=drops["drops"].eq(0).fillna(value=False),
        not_known=drops["drops"].isna(),
    )  # fmt: skip
    groups = rows.groupby(keys, sort=False)
    sums = groups[["drops", "without_drops", "not_known"]].sum().rename(columns={"drops": "dropped_packets"})
    sums.insert(0, "probes", groups.size())
    return sums.reset_index()


def drop_pairs(probes: pd.DataFrame, flows: pd.DataFrame) -> pd.DataFrame:
    """Denied packets of each step by source and destination, from the begin of its first probe to the end of
    its last: `drops` are events of kind drop, `verdicts` the policy verdicts beside them, one each a packet.
    """
    by = [c for c in ("arm", "step") if c in flows]
    window = probes.groupby(by).agg(first=("started_at", "min"), last=("ended_at", "max")).reset_index()
    mine = flows[flows["drop_reason"] == DENIED].merge(window, on=by, how="inner")
    mine = mine[mine["time"].between(mine["first"], mine["last"])]
    keys = [*by, "src_app", "src_pod", "dst_app", "dst_pod", "protocol", "dst_port", "direction"]
    events = mine.assign(drops=mine["event"].eq("drop"), verdicts=mine["event"].eq("policy-verdict"))
    sums = events.groupby(keys, dropna=False, sort=False)[["drops", "verdicts"]].sum().astype("int64")
    return sums.reset_index().sort_values(keys, ignore_index=True)


def policy_entries(
    maps: pd.DataFrame, endpoints: pd.DataFrame, identities: pd.DataFrame, namespaces: Iterable[str]
) -> pd.DataFrame:
    """Policy maps of the pods of these namespaces in words: who may, and whom they may reach.

    One row a step, pod and entry: `peer` is the app of the entry's identity (or its reserved label), `any`
    for identity 0; `enforced` says whether the pod drops what no entry allows. A pod that is enforced and
    has no entry in a direction has a row without a peer. Numbers of identities and endpoints are looked up
    on the node and in the step that they are from.
    """
    here = endpoints[endpoints["namespace"].isin(list(namespaces))]
    keys = [c for c in ("arm", "step", "node") if c in maps]
    sides = pd.concat([
        here[[*keys, "endpoint", "pod", "labels"]].assign(direction=d, enforced=here[f"{d}_enforced"])
        for d in ("ingress", "egress")
    ])  # fmt: skip
    sides["app"] = sides["labels"].str.extract(r"(?:^|,)k8s:app=([^,]*)", expand=False)
    rows = sides.merge(maps, on=[*keys, "endpoint", "direction"], how="left", validate="one_to_many")
    named = _named(identities)
    on = [c for c in ("arm", "node", "identity") if c in named]
    rows = rows.merge(named, on=on, how="left", validate="many_to_one")
    rows["peer"] = rows["peer"].mask(rows["identity"].eq(0).fillna(value=False), "any").astype("str")
    columns = [*keys, "app", "pod", "direction", "enforced", "peer", "protocol", "dest_port", "verdict",
               "packets", "reply"]  # fmt: skip
    steps = {step: n for n, step in enumerate(dict.fromkeys(maps["step"]))}
    order = [c for c in ("arm", "app", "pod", "direction", "n", "peer", "dest_port") if c in {*rows, "n"}]
    return rows.assign(n=rows["step"].map(steps)).sort_values(order, ignore_index=True)[columns]


def _named(identities: pd.DataFrame) -> pd.DataFrame:
    keys = [c for c in ("arm", "node", "identity") if c in identities]
    reserved = identities["labels"].str.extract(r"(?:^|,)reserved:([\w-]+)", expand=False)
    return identities[keys].assign(peer=identities["app"].fillna(reserved).astype("str"))


def policy_words(entries: pd.DataFrame) -> pd.DataFrame:
    """Who may, by app and direction (rows) and step (columns), of rows of `policy_entries`.

    `everything` where the pods drop nothing, `nothing` where they drop what no entry allows and there is
    none; else the ports with their peers. Pods of an app that differ are both said.
    """
    by = [c for c in ("arm", "app", "direction") if c in entries]
    keys = [*by, "step", "pod"]
    cells = [(*key, _words(pod)) for key, pod in entries.groupby(keys, sort=False)]
    words = pd.DataFrame(cells, columns=[*keys, "words"]).drop_duplicates([*by, "step", "words"])
    joined = words.groupby([*by, "step"], sort=False)["words"].agg(" | ".join).reset_index()
    wide = joined.pivot_table(index=by, columns="step", values="words", aggfunc="first", sort=False)
    wide.columns.name = None
    return wide.reset_index()[[*by, *dict.fromkeys(entries["step"])]]


def _words(pod: pd.DataFrame) -> str:
    if not pod["enforced"].all():
        return "everything"
    ports: dict[str, set[str]] = {}
    for entry in records(pod[pod["verdict"].notna()]):
        port = "any port" if entry["dest_port"] is None else f"{entry['protocol']}/{entry['dest_port']}"
        peer = entry["peer"] if entry["verdict"] == "allow" else f"not {entry['peer']}"
        ports.setdefault(peer, set()).add(port)
    peers: dict[str, list[str]] = {}
    for peer, mine in sorted(ports.items()):
        peers.setdefault(", ".join(sorted(mine)), []).append(peer)
    return "; ".join(f"{where}: {_few(names)}" for where, names in sorted(peers.items())) or "nothing"


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} peers"


def counted(
    counters: pd.DataFrame, flows: pd.DataFrame, monitored: pd.DataFrame, before: str, after: str
) -> pd.DataFrame:
    """Counts of the same drops that do not know of each other, by node, of the step `after`.

    `counted` is the growth of `Policy denied` from the step `before` (frame METRICS by step and node), `flows`
    the drop events of policy in the flow log. They agree where nothing was denied in steps between and the
    log has lost nothing. `monitored` is how many the monitor printed, which ran for a part of the step only.
    """
    keys = [c for c in ("arm", "node") if c in counters]
    denied = counters[counters["reason"] == "Policy denied"]
    logged = flows[(flows["step"] == after) & (flows["event"] == "drop") & (flows["drop_reason"] == DENIED)]
    printed = monitored[(monitored["step"] == after) & (monitored["reason"] == "Policy denied")]
    counts = {
        "before": denied[denied["step"] == before].groupby(keys)["packets"].sum(),
        "after": denied[denied["step"] == after].groupby(keys)["packets"].sum(),
        "flows": logged.groupby(keys).size(),
        "monitored": printed.groupby(keys).size(),
    }
    nodes = counters[keys].drop_duplicates().set_index(keys)
    for name, count in counts.items():
        nodes[name] = count.reindex(nodes.index).fillna(0).astype("Int64")
    nodes.insert(0, "counted", nodes["after"] - nodes["before"])
    return nodes.drop(columns=["before", "after"]).reset_index()


def rules_changed(rules: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    """How iptables differs between two steps, by node: rules before and after, added and removed.

    `rules` is frame RULES of iptables by step and node; rules are compared as they are printed, without
    their counters and their place.
    """
    keys = [c for c in ("arm", "node") if c in rules]
    rows = []
    for key, mine in rules.groupby(keys, sort=False):
        old, new = (mine[mine["step"] == step] for step in (before, after))
        had, has = (set(zip(f["table"], f["rule"], strict=True)) for f in (old, new))
        replies = ",".join(dict.fromkeys(mine["reply"]))
        rows.append([*key, len(old), len(new), len(has - had), len(had - has), replies])
    columns = [*keys, "rules_before", "rules_after", "added", "removed", "replies"]
    return pd.DataFrame(rows, columns=columns).convert_dtypes()
