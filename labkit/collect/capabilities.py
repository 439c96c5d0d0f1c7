"""What an arm can do: who forwards, who load-balances, who enforces, who observes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect import cilium
from labkit.collect.gather import collects, first_reply
from labkit.collect.kubernetes import daemonsets, is_cilium, nodes
from labkit.collect.kubernetes import version as api_version
from labkit.errors import LabError
from labkit.parse import kubernetes as parse
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["CAPABILITIES", "ENGINES", "capabilities", "policy_engine"]

CAPABILITIES = Schema("capabilities", "What an arm has and has not.", key=(), columns=(
    Column("capability", "str", "what it is about"),
    Column("value", "str", "what the arm has; NA where it cannot be told"),
    Column("why_it_matters", "str", "what depends on it"),
))  # fmt: skip

#: DaemonSets that enforce NetworkPolicy, by what Kubernetes calls them on AKS (docs: use-network-policies); the last
#: one is that of a lab's `ebpf` topology.
ENGINES = {
    "cilium": "Cilium", "azure-npm": "Azure NPM", "calico-node": "Calico", "labkit-ebpf": "eBPF maps of labkit",
}  # fmt: skip
CONFIG_MAPS = "/api/v1/namespaces/kube-system/configmaps"


def policy_engine(cluster: Cluster) -> str:
    """Name of the engine that enforces NetworkPolicy, or `none`: told by the DaemonSets that run."""
    running = daemonsets(cluster.at("baseline"))["daemonset"]
    return next((name for daemonset, name in ENGINES.items() if daemonset in set(running)), "none")


@collects(CAPABILITIES)
def capabilities(cluster: Cluster) -> pd.DataFrame:
    """Capabilities, in reading order; `reply` is where each was read."""
    rows = [*_of_kubernetes(cluster), *(_of_cilium(cluster) if is_cilium(cluster) else _without_cilium())]
    frame = CAPABILITIES.frame(
        {"capability": name, "value": value, "why_it_matters": why} for name, value, why, _ in rows
    )
    frame["reply"] = [reply for *_, reply in rows]
    return frame.astype({"reply": "str"})


Row = tuple[str, str | None, str, str | None]


def _of_kubernetes(cluster: Cluster) -> Iterator[Row]:
    running = daemonsets(cluster)
    reply = first_reply(running)
    proxied = "kube-proxy" in set(running["daemonset"])
    version = cluster.read("/version")
    configs = cluster.read(CONFIG_MAPS)
    yield "Kubernetes", api_version(cluster), "must be equal in all arms", version.id
    yield "nodes", str(len(nodes(cluster))), "must be equal in all arms", first_reply(nodes(cluster))
    yield (
        "kube-proxy",
        _kube_proxy_mode(configs) if proxied else "none",
        "who turns a Service into an endpoint",
        reply,
    )
    yield (
        "policy engine",
        policy_engine(cluster),
        "without one, every NetworkPolicy is accepted and ignored",
        reply,
    )
    crds = cluster.read("/apis")
    has = b'"cilium.io"' in crds.stdout
    yield (
        "CiliumNetworkPolicy",
        "API served" if has else "API not served",
        "policies beyond NetworkPolicy",
        crds.id,
    )


def _kube_proxy_mode(configs: Reply) -> str:
    """`mode` of kube-proxy's configuration; empty means iptables on Linux (KubeProxyConfiguration, v1alpha1)."""
    import yaml  # noqa: PLC0415  (slow to import, and only asked where kube-proxy runs)

    data = parse.config_map(configs.stdout, "kube-proxy") or {}
    try:
        config = yaml.safe_load(data.get("config.conf", "")) or {}
    except yaml.YAMLError as error:
        raise LabError(f"ConfigMap kube-proxy does not hold YAML (reply {configs.id}): {error}") from None
    return str(config.get("mode") or "iptables")


#: Capability, column of cilium_status, and what depends on it.
OF_STATUS = (
    ("Cilium", "version", "coupled to the Kubernetes version on AKS"),
    ("routing between nodes", "routing", "Native: no tunnel; Tunnel: encapsulated"),
    ("host routing", "host_routing", "Legacy (the AKS default) passes netfilter; BPF needs ACNS on AKS"),
    ("masquerading", "masquerading", "who rewrites the source of what leaves the cluster"),
    ("kube-proxy replacement", "kube_proxy_replacement", "Services in eBPF maps"),
    ("socket load balancing", "socket_lb", "translates at connect(): the ClusterIP is never on the wire"),
    ("socket LB coverage", "socket_lb_coverage", "whether pods are translated so too"),
    ("load-balancing algorithm", "lb_algorithm", "Random or Maglev; fixed on AKS"),
    ("Maglev table size", "lb_table_size", "slots that backends share"),
    ("attach mode", "attach_mode", "tcx programs do not show in `tc filter`"),
    ("Hubble", "hubble", "flows; needs ACNS on AKS"),
    ("encryption", "encryption", "WireGuard or IPsec between nodes"),
)
#: The same for cilium-config.
OF_CONFIG = (
    ("L7 proxy", "enable-l7-proxy", "HTTP, gRPC and FQDN rules; needs ACNS on AKS"),
    ("Envoy as a DaemonSet", "external-envoy-proxy", "where L7 traffic is parsed"),
    ("IPAM", "ipam", "delegated-plugin on AKS: azure-ipam assigns the addresses"),
    ("LB map size", "bpf-lb-map-max", "Services times (1 + endpoints) must fit; fixed on AKS"),
    ("monitor aggregation", "monitor-aggregation", "medium: few events a flow"),
)


def _of_cilium(cluster: Cluster) -> Iterator[Row]:
    status = cilium.status(cluster).iloc[0]
    for name, column, why in OF_STATUS:
        yield name, _said(status[column]), why, status["reply"]
    configs = cluster.read(CONFIG_MAPS)
    config = parse.config_map(configs.stdout, "cilium-config") or {}
    for name, key, why in OF_CONFIG:
        yield name, config.get(key), why, configs.id


def _without_cilium() -> Iterator[Row]:
    for name, _, why in (*OF_STATUS, *OF_CONFIG):
        yield name, "no Cilium", why, None


def _said(value: object) -> str | None:
    """A cell as text; NA stays NA."""
    import pandas as pd  # noqa: PLC0415

    return None if pd.isna(value) else str(value)  # type: ignore[call-overload]
