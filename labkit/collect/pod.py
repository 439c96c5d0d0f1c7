"""What a frontend pod sees and reaches: devices, routes, pings, paths, names, the Service.

All of it is asked in the container `toolbox`, which shares the network of the nginx container beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import POD, collects, gather
from labkit.collect.kubernetes import pod_targets, pods
from labkit.collect.plan import service_address
from labkit.errors import MissingFeature
from labkit.parse import curl, dig, iproute, iproute_routes, ping, sysfs, traceroute
from labkit.schema import Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = [
    "PROBES", "SERVICE", "addresses", "hops", "iflinks", "links", "lookups", "mtu_probes", "neighbours",
    "path_mtus", "pings", "routes", "tracepaths", "transfers",
]  # fmt: skip

APP, CONTAINER = "frontend", "toolbox"
SERVICE = "backend-service"
#: ICMP payloads that make packets of 1500, 1450 (1500 less VXLAN) and 1400 bytes, with 28 bytes of headers.
PROBES = (1472, 1422, 1372)
DST = Column("dst_ip", "str", "the address that was asked for")


def _ask(
    cluster: Cluster, argv: Sequence[str], parse: Callable[[bytes], pd.DataFrame], *, check: bool = True
) -> pd.DataFrame:
    """The parser's frame of every frontend, with `pod` in front and `reply` behind."""
    targets = pod_targets(cluster, APP, CONTAINER)
    return gather(cluster.run_each(targets, argv, check=check), parse, "pod", targets)


def _ask_each(
    cluster: Cluster, argv: Callable[[str], Sequence[str]], parse: Callable[[bytes], pd.DataFrame]
) -> pd.DataFrame:
    """The same towards every backend, with `dst_ip` behind `pod`."""
    frames = []
    for ip in backend_ips(cluster):
        frame = _ask(cluster, argv(ip), parse, check=False)
        if "dst_ip" not in frame:
            frame.insert(1, "dst_ip", ip)
        frames.append(frame.astype({"dst_ip": "str"}))
    return concat(frames).sort_values(["pod", "dst_ip"], kind="stable", ignore_index=True)


def backend_ips(cluster: Cluster) -> list[str]:
    """Addresses of the backend pods, in the order of their text."""
    found = pods(cluster.at("baseline"))
    mine = found[(found["namespace"] == cluster.namespace) & (found["app"] == "backend")]
    if mine.empty:
        raise MissingFeature(cluster.arm, f"no pod with app=backend in namespace {cluster.namespace}")
    return sorted(mine["pod_ip"].dropna())


def _towards(schema: Schema) -> Schema:
    """A schema whose rows also say which address they are about."""
    return Schema(schema.name, schema.meaning, (DST.name, *schema.key), (DST, *schema.columns))


@collects(iproute.LINKS, POD)
def links(cluster: Cluster) -> pd.DataFrame:
    """Devices of each frontend: frame LINKS by pod."""
    return _ask(cluster, ("ip", "-j", "-d", "link", "show"), iproute.links)


@collects(sysfs.IFLINK, POD)
def iflinks(cluster: Cluster) -> pd.DataFrame:
    """The number of the host's end of each frontend's eth0: frame IFLINK by pod."""
    return _ask(cluster, ("cat", "/sys/class/net/eth0/iflink"), sysfs.iflink)


@collects(iproute.ADDRESSES, POD)
def addresses(cluster: Cluster) -> pd.DataFrame:
    """Addresses of each frontend: frame ADDRESSES by pod."""
    return _ask(cluster, ("ip", "-j", "addr", "show"), iproute.addresses)


@collects(iproute_routes.ROUTES, POD)
def routes(cluster: Cluster) -> pd.DataFrame:
    """Routes of each frontend, of IPv4 and table main: frame ROUTES by pod."""
    return _ask(cluster, ("ip", "-j", "route", "show"), iproute_routes.routes)


@collects(iproute.NEIGHBOURS, POD)
def neighbours(cluster: Cluster) -> pd.DataFrame:
    """Neighbour table of each frontend: frame NEIGHBOURS by pod."""
    return _ask(cluster, ("ip", "-j", "neigh", "show"), iproute.neighbours)


@collects(ping.SUMMARY, POD)
def pings(cluster: Cluster) -> pd.DataFrame:
    """Three echoes from each frontend to each backend: frame SUMMARY of ping by pod."""
    return _ask_each(cluster, lambda ip: ("ping", "-c", "3", "-i", "0.2", "-W", "2", ip), ping.summary)


@collects(ping.SUMMARY, POD)
def mtu_probes(cluster: Cluster) -> pd.DataFrame:
    """One echo of each size of PROBES that may not be fragmented, to each backend: frame SUMMARY by pod.

    One that is too large for the pod's own device counts as an error of ping.
    """
    return concat(
        _ask_each(
            cluster,
            lambda ip, size=size: ("ping", "-c", "1", "-M", "do", "-s", str(size), "-W", "2", ip),  # type: ignore[misc]
            ping.summary,
        )
        for size in PROBES
    ).sort_values(["pod", "dst_ip", "payload_bytes"], kind="stable", ignore_index=True)


@collects(_towards(traceroute.HOPS), POD)
def hops(cluster: Cluster) -> pd.DataFrame:
    """Who answers `traceroute` from each frontend to each backend: frame HOPS by pod and destination."""
    return _ask_each(
        cluster, lambda ip: ("traceroute", "-n", "-w", "1", "-q", "1", "-m", "6", ip), traceroute.traceroute
    )


@collects(_towards(traceroute.HOPS), POD)
def tracepaths(cluster: Cluster) -> pd.DataFrame:
    """Who answers `tracepath` from each frontend to each backend: frame HOPS by pod and destination."""
    return _ask_each(cluster, _tracepath, traceroute.tracepath)


@collects(_towards(traceroute.PATH_MTU), POD)
def path_mtus(cluster: Cluster) -> pd.DataFrame:
    """The MTU that `tracepath` found to each backend: frame PATH_MTU by pod and destination."""
    return _ask_each(cluster, _tracepath, traceroute.path_mtu)


def _tracepath(ip: str) -> Sequence[str]:
    return ("tracepath", "-n", "-m", "6", ip)


@collects(dig.LOOKUPS, POD)
def lookups(cluster: Cluster) -> pd.DataFrame:
    """The Service's name, looked up in each frontend: frame LOOKUPS by pod."""
    return _ask(cluster, ("dig", "+noall", "+answer", "+stats", _name(cluster)), dig.answer, check=False)


@collects(curl.TRANSFERS, POD)
def transfers(cluster: Cluster) -> pd.DataFrame:
    """The Service, fetched by each frontend once by name and once by address: frame TRANSFERS by pod."""
    hosts = (_name(cluster), service_address(cluster, SERVICE))
    return concat(
        _ask(
            cluster,
            ("curl", "-sS", "-o", "/dev/null", "--connect-timeout", "5", "-w", "%{json}", f"http://{host}/"),
            curl.transfers,
            check=False,
        )
        for host in hosts
    ).sort_values(["pod"], kind="stable", ignore_index=True)


def _name(cluster: Cluster) -> str:
    return f"{SERVICE}.{cluster.namespace}.svc.cluster.local"
