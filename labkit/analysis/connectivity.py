"""Probes beside what the policies say of them: expected against observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.analysis.policy_model import Decision, Flow, Peer, decide, labels_of, records

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["causes", "compare", "differences", "flow_names", "summary"]

#: The model's answers as words.
WORDS = {True: "allowed", False: "blocked", None: None}


def compare(
    probes: pd.DataFrame,
    rules: pd.DataFrame,
    pods: pd.DataFrame,
    services: pd.DataFrame,
    endpoints: pd.DataFrame,
    namespaces: pd.DataFrame,
) -> pd.DataFrame:
    """Probes (frame PROBES) beside what the policies of their step say of them.

    Adds `expected` (allowed, blocked, or NA where the model cannot say), `expected_by` (the policies that
    decide), `blocked_at` (name lookup, egress, ingress), `because`, `by_the_api` (False where the API leaves
    the protocol open and the model follows Cilium) and `verdict`: agrees, differs, or unknown where nothing
    is expected. With a column `arm`, each arm by itself.

    A probe of a Service is one of the pods behind it: policies see the packet with the pod's address. It is
    expected to pass if it may reach every ready one, to fail if it may reach none, and unknown in between.
    A probe by name first needs the name server. Pods, Services and endpoints are those of the frames given:
    a pod that has moved since counts as what it was then.
    """
    frames = [
        _expect(mine, *(_of_arm(frame, arm) for frame in (rules, pods, services, endpoints, namespaces)))
        for arm, mine in _by_arm(probes)
    ]
    found = pd.concat(frames, ignore_index=True)
    verdict = pd.Series("differs", index=found.index, dtype="str")
    verdict = verdict.mask(found["expected"] == found["outcome"], "agrees")
    return found.assign(verdict=verdict.mask(found["expected"].isna(), "unknown"))


def _by_arm(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if "arm" not in frame or frame.empty:
        return [("", frame)]
    return [(str(arm), mine) for arm, mine in frame.groupby("arm", sort=False)]


def _of_arm(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    return frame[frame["arm"] == arm] if arm else frame


class _Cluster:
    """Who has which address: the peers of one arm."""

    def __init__(
        self, pods: pd.DataFrame, services: pd.DataFrame, endpoints: pd.DataFrame, namespaces: pd.DataFrame
    ) -> None:
        labels = {row["namespace"]: labels_of(row["labels"]) for row in records(namespaces)}
        self.peers = {
            row["pod_ip"]: Peer(
                row["pod_ip"], row["namespace"], labels_of(row["labels"]), labels.get(row["namespace"], {})
            )
            for row in records(pods)
            if row["pod_ip"] and not row["host_network"]
        }
        self.nodes = set(pods.loc[pods["host_network"], "pod_ip"].dropna())
        self.services = records(services)
        self.endpoints = records(endpoints)

    def peer(self, ip: str) -> Peer:
        return self.peers.get(ip) or Peer(ip, host_network=ip in self.nodes)

    def behind(self, ip: str, protocol: str, port: int | None) -> list[tuple[Peer, int | None]]:
        """The ends of a connection to this address: the ready endpoints of a Service, or the address itself."""
        for s in self.services:
            if (s["cluster_ip"], s["protocol"], s["port"]) == (ip, protocol, port):
                key = (s["namespace"], s["service"], protocol, s["port_name"])
                return [
                    (self.peer(e["address"]), e["port"])
                    for e in self.endpoints
                    if (e["namespace"], e["service"], e["protocol"], e["port_name"]) == key
                    and e["ready"] is not False
                ]
        return [(self.peer(ip), port)]


def _expect(
    probes: pd.DataFrame, rules: pd.DataFrame, pods: pd.DataFrame, services: pd.DataFrame,
    endpoints: pd.DataFrame, namespaces: pd.DataFrame,
) -> pd.DataFrame:  # fmt: skip
    cluster = _Cluster(pods, services, endpoints, namespaces)
    by_step = {step: records(rules[rules["step"] == step]) for step in probes["step"].unique()}
    found = [_decide(by_step[probe["step"]], probe, cluster) for probe in records(probes)]
    return probes.assign(
        expected=pd.array([WORDS[d.allowed] for d in found], dtype="str"),
        expected_by=pd.array([",".join(d.by) or None for d in found], dtype="str"),
        blocked_at=pd.array([",".join(d.blocked_at) or None for d in found], dtype="str"),
        because=pd.array([d.because for d in found], dtype="str"),
        by_the_api=pd.array([d.by_the_api for d in found], dtype="boolean"),
    )


def _decide(rules: list[dict[str, Any]], probe: dict[str, Any], cluster: _Cluster) -> Decision:
    source = cluster.peer(probe["src_ip"])
    if not source.namespace:
        return Decision(None, because="the pod that asked is not among the pods")
    if probe["dst_ip"] is None:
        return Decision(None, because="the address of the destination is not known")
    if probe["kind"] == "service-name":
        if probe["dns_ip"] is None:
            return Decision(None, because="the name server is not known")
        lookup = _all(rules, source, cluster.behind(probe["dns_ip"], "UDP", 53), "UDP")
        if lookup.allowed is not True:
            where = ("name lookup",) if lookup.allowed is False else ()
            return Decision(lookup.allowed, lookup.by, f"name lookup: {lookup.because}", where)
    ends = cluster.behind(probe["dst_ip"], probe["protocol"], probe["dst_port"])
    return _all(rules, source, ends, probe["protocol"])


def _all(
    rules: list[dict[str, Any]], source: Peer, ends: Iterable[tuple[Peer, int | None]], protocol: str
) -> Decision:
    """One decision for all ends that a connection can have; None where they differ."""
    found = [decide(rules, Flow(source, peer, protocol, port)) for peer, port in ends]
    if not found:
        return Decision(None, because="the Service has no ready endpoint")
    if len({d.allowed for d in found}) > 1:
        return Decision(None, because="some endpoints of the Service may be reached and some may not")
    return found[0]


def differences(compared: pd.DataFrame) -> pd.DataFrame:
    """The probes that went otherwise than the policies say, with the policies that decide."""
    columns = ["arm", "step", "app", "pod", "kind", "destination", "protocol", "expected", "outcome", "cause",
               "expected_by", "because", "reply"]  # fmt: skip
    found = compared[compared["expected"].notna() & (compared["expected"] != compared["outcome"])]
    return found[[c for c in columns if c in found]].reset_index(drop=True)


def summary(compared: pd.DataFrame) -> pd.DataFrame:
    """Per arm and step: probes, how many are expected to pass and did, and how many verdicts of each kind."""
    by = [c for c in ("arm", "step") if c in compared]
    flags = compared[by].assign(
        probes=1,
        expected_allowed=compared["expected"].eq("allowed"),
        allowed=compared["outcome"].eq("allowed"),
        **{
            v.replace(" ", "_"): compared["verdict"].eq(v)
            for v in ("agrees", "differs", "unknown", "not enforced")
        },
    )
    return flags.groupby(by, sort=False).sum().reset_index()


def causes(probes: pd.DataFrame) -> pd.DataFrame:
    """How the probes ended, by arm, kind of destination and protocol (rows) and step (columns)."""
    by = [c for c in ("arm", "kind", "protocol") if c in probes]
    counts = probes.groupby([*by, "step", "cause"], sort=False).size().reset_index(name="n")
    words = counts.assign(words=counts["n"].astype("str") + " " + counts["cause"])
    cells = words.groupby([*by, "step"], sort=False)["words"].agg(", ".join).reset_index()
    wide = cells.pivot_table(index=by, columns="step", values="words", aggfunc="first", sort=False)
    wide.columns.name = None
    return wide.reset_index()[[*by, *dict.fromkeys(probes["step"])]]


PROTOCOLS = {"TCP": "HTTP", "ICMP": "ping", "UDP": "DNS"}


def flow_names(probes: pd.DataFrame) -> pd.DataFrame:
    """Adds `source` and `target` in words that are the same on every arm, where pods have other names.

    A pod is called after its app, with a number (by node) where there are several, a destination pod by
    whether it runs on the source's node.
    """
    apps = probes.drop_duplicates([c for c in ("arm", "pod") if c in probes]).sort_values(
        ["app", "node", "pod"]
    )
    by = [c for c in ("arm", "app") if c in probes]
    number = apps.groupby(by, sort=False).cumcount() + 1
    several = apps.groupby(by, sort=False)["pod"].transform("size") > 1
    apps = apps.assign(source=apps["app"].where(~several, apps["app"] + " " + number.astype("str")))
    keys = [c for c in ("arm", "pod") if c in probes]
    named = probes.merge(apps[[*keys, "source"]], on=keys, how="left", validate="many_to_one")
    place = named["dst_node"].eq(named["node"]).map({True: "pod, own node", False: "pod, other node"})
    words = {"service-ip": "Service IP", "service-name": "Service name", "dns": "name server"}
    target = named["protocol"].map(PROTOCOLS) + " " + named["kind"].map(words).fillna(place)
    same = named.assign(target=target).groupby([*keys, "step", "target"], sort=False).cumcount()
    return named.assign(
        target=target.where(same == 0, target + " #" + (same + 1).astype("str")).astype("str")
    )
