"""What the journeys of packets prove: how pod traffic crosses the node network, and where it is translated.

A flow is one ping, one connection or one DNS question with both its directions. Flows are counted, not
lines of a capture: on `any`, one packet is captured once for each device it crosses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["completeness", "encapsulation", "interfaces", "on_the_wire", "translations"]

ENDS = ("protocol", "client_pod", "client_node", "server_pod", "server_node", "cross_node")

#: Columns of `translations`: what is known of the fetch, and what its packets say.
FETCH = {"pod": "str", "asked": "str", "sample": "Int64", "local_port": "Int64", "believed_ip": "str"}
TRANSLATION = {
    "first_ip": "str", "last_ip": "str", "translated": "str", "server_pod": "str", "cross_node": "boolean",
    "source_rewritten": "boolean", "encap": "str",
}  # fmt: skip


def interfaces(journeys: pd.DataFrame) -> pd.DataFrame:
    """Each flow at each interface that saw it, in the order of the way of its first packet.

    `packets` counts both directions; `encap` is `none` or the tunnel; `server_ip` is the server's address as
    it was there (a ClusterIP before the translation, the pod's behind it); `ttl_request` and `ttl_reply` are
    the time to live of the innermost packets; `overhead_bytes` is what the tunnel adds.
    """
    seen = _of_pods(journeys)
    seen = seen.assign(
        encap=seen["encap"].fillna("none"),
        client_ip=seen["src_ip"].where(seen["request"], seen["dst_ip"]),
        server_ip=seen["dst_ip"].where(seen["request"], seen["src_ip"]),
        ttl_request=seen["ttl"].where(seen["request"]),
        ttl_reply=seen["ttl"].where(~seen["request"]),
    )
    by = [*_arm(seen), "flow", *ENDS, "tap", "node", "pod", "interface", "device"]
    return seen.groupby(by, sort=False, dropna=False, as_index=False).agg(
        packets=("packet", "nunique"),
        client_ip=("client_ip", _distinct),
        server_ip=("server_ip", _distinct),
        encap=("encap", _distinct),
        outer_port=("outer_port", "first"),
        vni=("vni", "first"),
        overhead_bytes=("overhead_bytes", "max"),
        ttl_request=("ttl_request", "first"),
        ttl_reply=("ttl_reply", "first"),
    )


def on_the_wire(journeys: pd.DataFrame) -> pd.DataFrame:
    """Each flow between pods on different nodes, as the network cards of the nodes saw it.

    `nics` counts the nodes whose network card saw it, 0 where none did; `packets` is how many different
    packets it had, `packets_on_the_wire` how many of them a card saw. `encap` is `none`, the tunnel, or both
    where packets differ; NA where no card saw it. `client_ip` and `server_ip` are the addresses of the packet
    itself (inside a tunnel, if any), `source_rewritten` says that the client's is not its pod's.
    """
    seen = _of_pods(journeys)
    seen = seen[seen["cross_node"].astype(bool)]
    seen = seen.assign(client_ip=seen["src_ip"].where(seen["request"], seen["dst_ip"]))
    seen = seen.assign(server_ip=seen["dst_ip"].where(seen["request"], seen["src_ip"]))
    by = [*_arm(seen), "flow"]
    first = seen.groupby(by, sort=False)["client_ip"].transform("first")
    wire = seen[seen["device"] == "nic"].assign(encap=seen["encap"].fillna("none"), own_ip=first)
    whole = seen.groupby([*by, *ENDS[:-1]], sort=False, as_index=False).agg(
        packets=("packet", "nunique"), service=("service", "first")
    )
    there = wire.groupby(by, sort=False, as_index=False).agg(
        nics=("node", "nunique"),
        packets_on_the_wire=("packet", "nunique"),
        encap=("encap", _distinct),
        outer_port=("outer_port", "first"),
        vni=("vni", "first"),
        overhead_bytes=("overhead_bytes", "max"),
        outer_ips=("outer_src_ip", _distinct),
        client_ip=("client_ip", _distinct),
        server_ip=("server_ip", _distinct),
        own_ip=("own_ip", "first"),
    )
    found = whole.merge(there, on=by, how="left")
    rewritten = (found["client_ip"] != found["own_ip"]).astype("boolean").where(found["nics"].notna())
    counts = {name: found[name].fillna(0).astype("Int64") for name in ("nics", "packets_on_the_wire")}
    return found.assign(**counts, source_rewritten=rewritten).drop(columns="own_ip")


def encapsulation(wire: pd.DataFrame) -> pd.DataFrame:
    """`on_the_wire` in short: how many flows of each protocol crossed between nodes, and how."""
    by = [*_arm(wire), "protocol", "encap"]
    found = wire.assign(encap=wire["encap"].fillna("not seen")).groupby(by, sort=False, as_index=False)
    return found.agg(
        flows=("flow", "nunique"),
        packets=("packets_on_the_wire", "sum"),
        outer_port=("outer_port", "first"),
        vni=("vni", "first"),
        overhead_bytes=("overhead_bytes", "max"),
        sources_rewritten=("source_rewritten", "sum"),
    )


def translations(journeys: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Each HTTP fetch of `captures.asked`: which address the client believes in, and which it sent to.

    `believed_ip` is what curl was told it is connected to, `first_ip` what its first SYN carried on the
    pod's own interface, `last_ip` what it carried where it was last seen. `translated` says between which
    two interfaces the one became the other: `inside the pod, before its first packet` where no packet ever
    carried what the client believes in, `nowhere` where they are the same; NA where the SYN was not
    captured. `source_rewritten` says that the client's own address changed on the way.
    """
    arm = _arm(journeys)
    fetches = asked[(asked["kind"] == "http") & asked["local_port"].notna()]
    fetches = fetches.rename(columns={"remote_ip": "believed_ip", "remote_port": "believed_port"})
    syns = journeys[(journeys["tcp_flags"] == "SYN") & journeys["request"].fillna(value=False)]
    rows = []
    for fetch in fetches.to_dict("records"):
        mine = syns[(syns["client_pod"] == fetch["pod"]) & (syns["client_port"] == fetch["local_port"])]
        for name in arm:
            mine = mine[mine[name] == fetch[name]]
        kept = {name: fetch[name] for name in (*arm, *FETCH)}
        rows.append(kept | _translation(mine.to_dict("records"), str(fetch["believed_ip"])))
    found = pd.DataFrame(rows, columns=[*arm, *FETCH, *TRANSLATION])
    return found.astype(FETCH | TRANSLATION | dict.fromkeys(arm, "str"))


def _translation(steps: Sequence[dict[Any, Any]], believed: str) -> dict[str, Any]:
    if not steps:
        return dict.fromkeys(TRANSLATION)
    first, last = steps[0], steps[-1]
    before = [step for step in steps if step["dst_ip"] == believed]
    behind = [step for step in steps if step["dst_ip"] != believed]
    place: str | None
    if not behind:
        place = "nowhere"
    elif not before:
        place = "inside the pod, before its first packet" if first["tap"] == "pod" else None
    else:
        place = _between(before[-1], behind[0])
    return {
        "first_ip": first["dst_ip"] if first["tap"] == "pod" else None,
        "last_ip": last["dst_ip"],
        "translated": place,
        "server_pod": first["server_pod"],
        "cross_node": first["cross_node"],
        "source_rewritten": len({step["src_ip"] for step in steps}) > 1,
        "encap": ",".join(dict.fromkeys(s["encap"] for s in steps if isinstance(s["encap"], str))) or "none",
    }


def _between(before: dict[Any, Any], behind: dict[Any, Any]) -> str:
    if (before["tap"], before["node"]) == (behind["tap"], behind["node"]):
        return f"on {before['node']}, {before['interface']} to {behind['interface']}"
    places = (
        f"{step['pod'] if step['tap'] == 'pod' else step['node']} {step['interface']}"
        for step in (before, behind)
    )
    return " to ".join(places)


def completeness(journeys: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """What each pod was seen to send on its own interface, beside what ping and curl say it sent.

    A row for each pod and kind: `sent` by ping or curl, `captured` echo requests or SYNs in the pod.
    """
    arm = _arm(journeys)
    own = journeys[(journeys["tap"] == "pod") & (journeys["pod"] == journeys["client_pod"])]
    own = own[own["request"].fillna(value=False)]
    pings, syns = own["icmp_type"].isin([8, 128]), (own["tcp_flags"] == "SYN") & (own["dst_port"] == 80)
    own = own.assign(kind=pd.Series("other", index=own.index).mask(pings, "ping").mask(syns, "http"))
    captured = own.groupby([*arm, "pod", "kind"], sort=False)["packet"].nunique().rename("captured")
    sent = asked.groupby([*arm, "pod", "kind"], sort=False, as_index=False)[["sent", "answered"]].sum()
    found = sent.merge(captured.reset_index(), on=[*arm, "pod", "kind"], how="left")
    return found.assign(captured=found["captured"].fillna(0).astype("Int64"))


def _of_pods(journeys: pd.DataFrame) -> pd.DataFrame:
    return journeys[journeys["flow"].notna()]


def _arm(frame: pd.DataFrame) -> list[str]:
    return ["arm"] if "arm" in frame else []


def _distinct(values: pd.Series) -> str | None:
    return ",".join(values.dropna().unique()) or None
