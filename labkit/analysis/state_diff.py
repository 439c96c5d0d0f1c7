"""What changed between two readings of the same kind of state: of two times, or of two arms.

Addresses, pods and devices have other names on another arm. `aliases` gives them names that do not depend on
it (`backend on node 0`), so that rows of the same meaning stand beside each other.
"""

from __future__ import annotations

import re
from functools import cache
from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from labkit.analysis.paths.packet import family_of
from labkit.analysis.paths.rows import rows_of
from labkit.analysis.paths.state import World
from labkit.schema import REPLY, Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pandas as pd

    from labkit.analysis.paths.state import State

__all__ = ["KEYS", "STATE_DIFF", "aliases", "diff", "diff_states", "summary"]

STATE_DIFF = Schema("state_diff", "Rows that two readings do not share.", key=("frame", "entry", "column"), columns=(
    Column("frame", "str", "which part of the state, as `labkit.explain.read` names it"),
    Column("entry", "str", "the row: the values of its key"),
    Column("change", "str", "added, removed or changed"),
    Column("column", "str", "the column that changed; NA for a row that was added or removed"),
    Column("before", "str", "its value before, or all values of the row; NA where it was not there"),
    Column("after", "str", "its value after, or all values of the row; NA where it is not there"),
    Column("reply_before", "str", "id of the reply that it was read from before; NA where it was not there"),
    REPLY,
))  # fmt: skip

#: What tells a row of each frame, and columns that follow from others or from the order of things.
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "services": (("namespace", "service", "protocol", "port"), ()),
    "endpoints": (("namespace", "service", "protocol", "port", "address"), ()),
    "policy_rules": (("namespace", "policy", "direction", "rule", "peer_pods", "cidr", "protocol", "port"), ()),
    "links": (("node", "interface"), ()),
    "addresses": (("node", "interface", "ip"), ()),
    "routes": (("node", "family", "table", "prefix"), ()),
    "ip_rules": (("node", "priority", "src", "dst", "mark"), ()),
    "neighbours": (("node", "interface", "dst_ip"), ("state",)),
    "forwarding": (("node", "interface", "mac", "dst_ip"), ("state",)),
    "qdiscs": (("node", "interface", "kind"), ("handle",)),
    "sysctls": (("node", "name"), ()),
    "rules": (("node", "table", "chain", "rule"), ("position",)),
    "rules6": (("node", "table", "chain", "rule"), ("position",)),
    "pod_routes": (("pod", "family", "table", "prefix"), ()),
    "endpoint_map": (("node", "ip"), ()),
    "ipcache": (("node", "prefix"), ()),
    "lb_map": (("node", "frontend_ip", "port", "protocol", "scope", "backend_ip", "backend_port"), ("slot", "service_id")),
    "policy_map": (("node", "endpoint", "direction", "identity", "protocol", "dest_port"), ()),
    "lab_frontends": (("node", "vip", "protocol", "port"), ("service",)),
    "lab_isolated": (("node", "pod_ip", "direction"), ()),
    "lab_peers": (("node", "pod_ip", "direction", "prefix"), ("ports",)),
}  # fmt: skip

#: Columns that differ between any two readings: provenance, counters, and what only counts down.
PASSED_BY = (
    "arm", "reply", "step", "packets", "matched_bytes", "timeout_s", "expires_s", "seen_bytes", "reply_packets",
    "reply_bytes", "counted_bytes", "rx_packets", "rx_bytes", "rx_errors", "rx_dropped", "tx_packets", "tx_bytes",
    "tx_errors", "tx_dropped", "ifindex", "peer_ifindex", "peer_netns",
)  # fmt: skip
#: What the kernel makes of MACs by itself, on every machine anew: link-local and multicast addresses.
DERIVED = re.compile(r"\b(fe80::|ff00::|33:33:|01:00:5e:)")
#: An address, a MAC, a name of a pod, node, device or chain; of a range with its length.
WORD = re.compile(r"(?P<word>\w(?:[\w.:-]*\w)?)(?P<length>/\d+)?")
#: A setting that is none.
COUNTER = "net.netfilter.nf_conntrack_count"
Row = dict[str, Any]


def aliases(state: State) -> dict[str, str]:
    """Names that mean the same on every arm, by node name, address, range, pod, device, MAC and cluster address.

    Pods are called by their label and node, and numbered where that is not enough; nodes by their order; the
    chains of kube-proxy for an endpoint by its pod.
    """
    world = World(state)
    found: dict[str, str] = {}
    nodes = sorted(world.nodes, key=lambda row: row["node"])
    numbers = {row["node"]: f"node {n}" for n, row in enumerate(nodes)}
    for row in nodes:
        found[row["node"]] = found[row["node_ip"]] = numbers[row["node"]]
        if row["pod_cidr"]:
            found[row["pod_cidr"]] = f"pods of {numbers[row['node']]}"
    seen: dict[str, int] = {}
    for pod in sorted(world.pods.values(), key=lambda row: (row["node"], row["pod"])):
        if pod["host_network"] or not pod["pod_ip"]:
            continue
        name = f"{pod['app'] or pod['pod'].partition(' of ')[0]} on {numbers[pod['node']]}"
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name} ({seen[name]})"
        found[pod["pod"]] = found[pod["pod_ip"]] = name
        end = world.host_ends.get(pod["pod"])
        if end and sum(end[0] in machine.links for machine in world.machines.values()) == 1:
            found[end[0]] = f"device of {name}"
    for row in world.services:
        if row["cluster_ip"]:
            found[row["cluster_ip"]] = f"{row['namespace']}/{row['service']}"
    return (
        _addresses(world, found) | _ranges(state, world) | found | _macs(world, found) | _chains(state, found)
    )


def _addresses(world: World, names: Mapping[str, str]) -> dict[str, str]:
    """The other addresses of the nodes, by their devices; their network, and their gateway."""
    found = {}
    for machine in world.machines.values():
        for ip, row in machine.addresses.items():
            if row["scope"] == "global":
                device = names.get(row["interface"]) or f"{row['interface']} on {names[machine.name]}"
                found[ip] = f"address of {device}"
            if ip == machine.ip:
                found[str(ip_interface(f"{ip}/{row['prefix_length']}").network)] = "network of the nodes"
        for route in machine.routes.of_table(family_of(machine.ip), "main"):
            if route["prefix"] == "default" and route["next_hop"]:
                found.setdefault(route["next_hop"], "gateway of the nodes")
    return found


def _ranges(state: State, world: World) -> dict[str, str]:
    """Ranges in rules and routes that hold the pods of all nodes."""
    pods = [ip_network(row["pod_cidr"]) for row in world.nodes if row["pod_cidr"]]
    cells = {cell for name, columns in (("rules", ("src", "dst")), ("routes", ("prefix",)), ("pod_routes", ("prefix",)))
             if (frame := state.get(name)) is not None for column in columns for cell in frame[column].dropna()}  # fmt: skip
    prefixes = {
        cell.removeprefix("! ") for cell in cells if "/" in cell and not cell.endswith(("/32", "/128"))
    }
    whole = (prefix for prefix in sorted(prefixes) if len(pods) > 1 and not prefix.endswith("/0"))
    return {
        prefix: "pods of all nodes"
        for prefix in whole
        if all(_within(own, ip_network(prefix)) for own in pods)
    }


def _within(inner: Any, outer: Any) -> bool:  # noqa: ANN401  (networks of either family)
    return bool(inner.version == outer.version and inner.subnet_of(outer))


def _macs(world: World, names: Mapping[str, str]) -> dict[str, str]:
    found = {row["mac"]: f"MAC of {names.get(pod, pod)}" for pod, rows in world.pod_links.items()
             for row in rows if row["mac"] and row["peer_ifindex"] is not None}  # fmt: skip
    for machine in world.machines.values():
        for mac, row in machine.by_mac.items():
            own = names.get(row["interface"]) or f"{row['interface']} on {names[machine.name]}"
            found.setdefault(mac, f"MAC of {own}")
    return {mac: name for mac, name in found.items() if mac != "00:00:00:00:00:00"}


def _chains(state: State, names: Mapping[str, str]) -> dict[str, str]:
    """KUBE-SEP-…: a hash of the Service and the endpoint's address."""
    if (rules := state.get("rules")) is None:
        return {}
    ends = rules[rules["chain"].str.startswith("KUBE-SEP-") & rules["to_destination"].notna()]
    found = {}
    for chain, to, comment in zip(ends["chain"], ends["to_destination"], ends["comment"], strict=True):
        ip, _, port = to.rpartition(":")
        found[chain] = f"KUBE-SEP of {comment} to {names.get(ip, ip)}:{port}"
    return found


def diff(
    before: pd.DataFrame,
    after: pd.DataFrame,
    key: Sequence[str],
    *,
    names: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    ignore: Sequence[str] = PASSED_BY,
    frame: str = "",
) -> pd.DataFrame:
    """Rows added, removed and changed from `before` to `after`, two frames with this key: frame STATE_DIFF.

    `frame` is what they are called in it. Rows for addresses that the kernel makes by itself are left out.

    `names` are the aliases of each side, put in place of what they stand for; `ignore` are columns that are
    not compared. Rows of the same key are compared in the order they come.
    """
    columns = [name for name in after.columns if name not in ignore and name not in key]
    old = _keyed(before, key, columns, _renamer(names[0]))
    new = _keyed(after, key, columns, _renamer(names[1]))
    return STATE_DIFF.frame({"frame": frame, **row} for row in _changes(old, new))


def diff_states(before: State, after: State, known: tuple[State, State] | None = None) -> pd.DataFrame:
    """Every frame of KEYS that both states hold, one after the other: frame STATE_DIFF.

    `known` are states that say who is who before and after, where that is not read each time.
    """
    who = known or (before, after)
    names = (aliases(who[0]), aliases(who[1]))
    both = [name for name in KEYS if before.get(name) is not None and after.get(name) is not None]
    return concat([STATE_DIFF.empty(), *(
        diff(_called(before, who[0], name), _called(after, who[1], name), KEYS[name][0], names=names,
             ignore=(*PASSED_BY, *KEYS[name][1]), frame=name)
        for name in both
    )])  # fmt: skip


def _called(state: State, known: State, name: str) -> pd.DataFrame:
    """A frame without counters, with pods in place of the numbers of Cilium's endpoints, and labels in place of identities."""
    frame, endpoints, identities = state.frames[name], known.get("cilium_endpoints"), known.get("identities")
    if name == "sysctls":
        frame = frame[frame["name"] != COUNTER]
    if "endpoint" in frame and endpoints is not None:
        pods = {
            (row["node"], row["endpoint"]): row["pod"] or row["interface"] or "host"
            for row in rows_of(endpoints)
        }
        numbers = zip(frame["node"], frame["endpoint"].astype(object), strict=True)
        frame = frame.assign(endpoint=[pods.get(key, key[1]) for key in numbers])
    if "identity" in frame and identities is not None:
        labels = {row["identity"]: row["app"] or row["labels"] for row in rows_of(identities)} | {0: "any"}
        frame = frame.assign(
            identity=[labels.get(number) or number for number in frame["identity"].astype(object)]
        )
    return frame


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Rows by frame: `frame`, `removed`, `added`, `changed` (rows, not columns of them); with `arm` if there is one."""
    keys = [*(["arm"] if "arm" in found else []), "frame"]
    rows = found.drop_duplicates([*keys, "entry", "change"])
    kinds = ("removed", "added", "changed")
    each = rows[keys].assign(**{kind: (rows["change"] == kind).astype("Int64") for kind in kinds})
    return each.groupby(keys, sort=False, as_index=False)[list(kinds)].sum()


def _keyed(
    frame: pd.DataFrame, key: Sequence[str], columns: Sequence[str], rename: Callable[[str], str]
) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows_of(frame):
        plain = " ".join(filter(None, (_text(row[name]) for name in key if name in row)))
        if DERIVED.search(plain):
            continue
        own = rename(plain)
        entry, again = own, 1
        while entry in found:
            again += 1
            entry = f"{own} ({again})"
        found[entry] = {name: rename(_text(row.get(name))) for name in columns} | {"reply": row.get("reply")}
    return found


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _renamer(names: Mapping[str, str]) -> Callable[[str], str]:
    """Puts names in place of the words that they stand for, whatever prefix length or port is behind those.

    Word by word, for there may be thousands of names. Cells are much the same, and kept.
    """

    def one(found: re.Match[str]) -> str:
        word, length = found["word"], found["length"] or ""
        if word + length in names:
            return names[word + length]
        ip, colon, port = word.rpartition(":")
        if word not in names and ip in names:
            return f"{names[ip]}{colon}{port}{length}"
        return names.get(word, word) + length

    return cache(lambda text: WORD.sub(one, text))


def _changes(old: Mapping[str, Row], new: Mapping[str, Row]) -> Iterator[Row]:
    for entry, row in old.items():
        if entry not in new:
            yield _row(entry, "removed", (row, {}), None, _whole(row), None)
    for entry, row in new.items():
        was = old.get(entry)
        if was is None:
            yield _row(entry, "added", ({}, row), None, None, _whole(row))
            continue
        for name, value in row.items():
            if name != "reply" and was.get(name) != value:
                yield _row(entry, "changed", (was, row), name, was.get(name), value)


def _row(
    entry: str, change: str, rows: tuple[Row, Row], column: str | None, before: str | None, after: str | None
) -> Row:
    return {"entry": entry, "change": change, "column": column, "before": before, "after": after,
            "reply_before": rows[0].get("reply"), "reply": rows[1].get("reply")}  # fmt: skip


def _whole(row: Row) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if value and name != "reply")
