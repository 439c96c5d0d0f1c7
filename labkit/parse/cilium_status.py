"""What an agent says it does, of `cilium-dbg status --verbose -o json` and `cilium-dbg version`.

Shape: cilium `api/v1/models/status_response.go`. The text form derives `Socket LB Coverage` from
`bpfSocketLBHostnsOnly` (`pkg/client/client.go`): absent means every namespace, pods included.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.cilium import frame_of
from labkit.parse.decode import json_object, text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ADDRESSES", "AGENTS", "MAP_SIZES", "STATUS", "addresses", "map_sizes", "status", "version"]

TOOL = "cilium-dbg status"

STATUS = Schema("cilium_status", "What an agent says of itself.", key=(), columns=(
    Column("version", "str", "version of the agent"),
    Column("state", "str", "Ok, Warning, Failure or Disabled"),
    Column("routing", "str", "between nodes: Native or Tunnel"),
    Column("host_routing", "str", "on the node: BPF, or Legacy for the kernel's stack and netfilter"),
    Column("masquerading", "str", "BPF, IPTables or Disabled"),
    Column("no_masquerade_prefix", "str", "destinations that keep the pod's source address; NA where not told"),
    Column("attach_mode", "str", "how programs are attached: tcx or tc; NA in versions that do not tell"),
    Column("datapath_mode", "str", "veth, netkit or netkit-l2; NA in versions that do not tell"),
    Column("kube_proxy_replacement", "str", "True, False or a partial mode of older versions"),
    Column("device", "str", "device of direct routing; NA where Services need none"),
    Column("socket_lb", "boolean", "Service addresses are translated in connect(), before there is a packet"),
    Column("socket_lb_coverage", "str", "Full, or Hostns-only: not in pods; NA without socket LB"),
    Column("lb_mode", "str", "SNAT, DSR or Hybrid: how replies of external clients return"),
    Column("lb_algorithm", "str", "Maglev or Random: how a backend is chosen"),
    Column("lb_table_size", "Int64", "slots of a Maglev table; NA without Maglev"),
    Column("lb_acceleration", "str", "XDP acceleration: Disabled, Native, …"),
    Column("ipam_pool", "str", "range that IPv4 addresses are allocated from; NA where the agent allocates none"),
    Column("ipam_used", "Int64", "addresses allocated, the agent's own included"),
    Column("ipam_size", "Int64", "addresses that can be allocated"),
    Column("hubble", "str", "Ok, Warning, Failure or Disabled"),
    Column("hubble_flows", "Int64", "flows in the ring buffer"),
    Column("hubble_max_flows", "Int64", "flows that the ring buffer holds"),
    Column("envoy", "str", "how the L7 proxy is deployed: embedded or external; NA where not told"),
    Column("redirects", "Int64", "traffic redirects to the L7 proxy that are active"),
    Column("encryption", "str", "Disabled, Wireguard, IPsec, …"),
    Column("host_firewall", "str", "Enabled or Disabled"),
    Column("cni_chaining", "str", "none, or the plugin that Cilium is chained behind"),
    Column("clock_source", "str", "clock of time-outs in the maps: ktime or jiffies"),
    Column("controllers", "Int64", "background tasks"),
    Column("controllers_failing", "Int64", "background tasks whose last run failed"),
))  # fmt: skip

MAP_SIZES = Schema("map_sizes", "Sizes that an agent gives its maps.", key=("map",), columns=(
    Column("map", "str", "name in the agent's words"),
    Column("max_entries", "Int64", "entries it can hold"),
))  # fmt: skip

ADDRESSES = Schema("ipam_addresses", "Addresses that an agent allocated.", key=("ip",), columns=(
    Column("ip", "str", "address"),
    Column("owner", "str", "namespace/pod, or the agent's use: router, health, …"),
))  # fmt: skip

AGENTS = Schema("agents", "The program of an agent.", key=(), columns=(
    Column("version", "str", "version"),
    Column("commit", "str", "git commit it was built from"),
    Column("architecture", "str", "operating system and CPU it was built for"),
))  # fmt: skip

IPAM = re.compile(r"IPv4: (?P<used>\d+)/(?P<size>\d+) allocated(?: from (?P<pool>[\d./]+))?")
DAEMON = re.compile(
    r"^Daemon: (?P<version>\S+) (?P<commit>\S+) \S+ go version \S+ (?P<arch>\S+)\n", re.MULTILINE
)


def version(data: bytes) -> pd.DataFrame:
    """The daemon's version, of `cilium-dbg version`: frame AGENTS, one row."""
    tool = "cilium-dbg version"
    text = text_of(tool, data)
    found = DAEMON.search(text)
    if found is None:
        raise ParseError(tool, "no line `Daemon: …`", excerpt=text)
    return AGENTS.frame(
        [{"version": found["version"], "commit": found["commit"], "architecture": found["arch"]}]
    )


def map_sizes(data: bytes) -> pd.DataFrame:
    """Sizes of the maps, of `status --verbose -o json`: frame MAP_SIZES."""
    value = json_object(TOOL, data)
    return frame_of(
        TOOL,
        MAP_SIZES,
        ({"map": m["name"], "max_entries": m["size"]} for m in _part(value, "bpf-maps")["maps"]),
    )


def addresses(data: bytes) -> pd.DataFrame:
    """Addresses that the agent's IPAM allocated, of `status --verbose -o json`: frame ADDRESSES."""
    held = _part(json_object(TOOL, data), "ipam").get("allocations") or {}
    return frame_of(TOOL, ADDRESSES, ({"ip": ip, "owner": owner} for ip, owner in held.items()))


def status(data: bytes) -> pd.DataFrame:
    """What the agent says of itself: frame STATUS, one row."""
    value = json_object(TOOL, data)
    for part in ("cilium", "routing", "masquerading", "kube-proxy-replacement", "ipam", "hubble"):
        _part(value, part)
    return frame_of(TOOL, STATUS, map(_status, [value]))


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        raise ParseError(TOOL, f"no object {name}", excerpt=", ".join(value))
    return found


def _status(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": value["cilium"]["msg"].partition(" ")[0],
        "state": value["cilium"]["state"],
        "attach_mode": value.get("attach-mode"),
        "datapath_mode": value.get("datapath-mode"),
        "encryption": value["encryption"]["mode"],
        "host_firewall": value["host-firewall"]["mode"],
        "cni_chaining": value["cni-chaining"]["mode"],
        "clock_source": value["clock-source"]["mode"],
        **_forwarding(value["routing"], value["masquerading"]),
        **_services(value["kube-proxy-replacement"]),
        **_ipam(value["ipam"]["status"]),
        **_hubble(value["hubble"], value.get("proxy") or {}),
        **_controllers(value["controllers"]),
    }


def _forwarding(routing: dict[str, Any], masquerading: dict[str, Any]) -> dict[str, Any]:
    return {
        "routing": routing["inter-host-routing-mode"],
        "host_routing": routing["intra-host-routing-mode"],
        "masquerading": masquerading["mode"] if masquerading.get("enabled") else "Disabled",
        "no_masquerade_prefix": masquerading.get("snat-exclusion-cidr-v4"),
    }


def _services(replacement: dict[str, Any]) -> dict[str, Any]:
    features = replacement.get("features") or {}
    node_port, socket = features.get("nodePort") or {}, (features.get("socketLB") or {}).get("enabled", False)
    coverage = "Hostns-only" if features.get("bpfSocketLBHostnsOnly") else "Full"
    return {
        "kube_proxy_replacement": replacement["mode"],
        "device": replacement.get("directRoutingDevice"),
        "socket_lb": socket,
        "socket_lb_coverage": coverage if socket else None,
        "lb_mode": node_port.get("mode"),
        "lb_algorithm": node_port.get("algorithm"),
        "lb_table_size": node_port.get("lutSize"),
        "lb_acceleration": node_port.get("acceleration"),
    }


def _ipam(sentence: str) -> dict[str, Any]:
    found = IPAM.search(sentence)
    if found is None:
        return {"ipam_pool": None, "ipam_used": None, "ipam_size": None}
    return {
        "ipam_pool": found["pool"],
        "ipam_used": int(found["used"]),
        "ipam_size": int(found["size"]),
    }


def _hubble(hubble: dict[str, Any], proxy: dict[str, Any]) -> dict[str, Any]:
    observer = hubble.get("observer") or {}
    return {
        "hubble": hubble["state"],
        "hubble_flows": observer.get("current-flows"),
        "hubble_max_flows": observer.get("max-flows"),
        "envoy": proxy.get("envoy-deployment-mode"),
        "redirects": len(proxy.get("redirects") or ()),
    }


def _controllers(controllers: list[dict[str, Any]]) -> dict[str, Any]:
    failing = [c for c in controllers if c["status"].get("consecutive-failure-count", 0) > 0]
    return {"controllers": len(controllers), "controllers_failing": len(failing)}
