"""What a lab needs of the machine, and how to get what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.exec.netns import UNSHARE
from labkit.netns.containers import ENVIRONMENT

if TYPE_CHECKING:
    from labkit.netns.topology import Topology

__all__ = ["Need", "missing"]


@dataclass(frozen=True, slots=True)
class Need:
    """Something that is missing: what, what it is for, and how to get it."""

    what: str
    why: str
    remedy: str


#: Where programs must be: a container has the machine's /usr, with a /usr/local of its own.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
#: Programs by Debian's package, and what the lab does with them.
PACKAGES = {
    "util-linux": (("unshare", "nsenter"), "make and enter namespaces"),
    "mount": (("mount", "umount"), "make the roots of containers"),
    "iproute2": (("ip", "tc", "ss", "bridge", "nstat"), "look at links, routes and sockets"),
    "iptables": (("iptables", "iptables-save", "iptables-restore"), "program and read Services"),
    "nftables": (("nft",), "read the rules in the kernel's own form"),
    "conntrack": (("conntrack",), "read tracked connections"),
    "tcpdump": (("tcpdump",), "capture packets"),
    "iperf3": (("iperf3",), "measure throughput"),
    "nginx": (("nginx",), "be the frontend"),
    "apache2-bin": (("apache2",), "be the backend"),
    "dnsmasq-base": (("dnsmasq",), "answer the names of Services"),
    "bind9-dnsutils": (("dig", "nslookup"), "ask for names"),
    "curl": (("curl",), "fetch pages"),
    "iputils-ping": (("ping",), "probe paths"),
    "iputils-tracepath": (("tracepath",), "find the MTU of a path"),
    "traceroute": (("traceroute",), "find the hops of a path"),
    "ethtool": (("ethtool",), "read what devices offload"),
    "bridge-utils": (("brctl",), "list bridges as the run-book does"),
    "procps": (("sysctl",), "read kernel settings"),
    "python3": (("python3",), "run the probe in pods"),
}
EBPF_PACKAGES = {
    "clang": (("clang",), "compile the eBPF programs"),
    "bpftool": (("bpftool",), "load programs and read maps"),
}
#: Files by Debian's package.
FILES = {"apache2-bin": ("/usr/lib/apache2/modules/mod_mpm_event.so", "be the backend")}
EBPF_FILES = {
    "libbpf-dev": ("/usr/include/bpf/bpf_helpers.h", "compile the eBPF programs"),
    "linux-libc-dev": ("/usr/include/linux/bpf.h", "compile the eBPF programs"),
}

#: Each is tried in namespaces that end with the trial: a command, and what it is for.
FEATURES = {
    "veth": ("ip link add l0 type veth peer name l1", "the wires of nodes and pods"),
    "bridge": ("ip link add l2 type bridge", "the fabric between the nodes"),
    "overlay": (
        "cd /mnt && mount -t tmpfs l . && cd . && mkdir u w o && mount -t overlay -o lowerdir=/etc,upperdir=u,workdir=w l o",
        "the /etc of containers",
    ),
    "device files": (
        "cd /mnt && mount -t tmpfs l . && cd . && mknod n c 1 3 && : >n",
        "the /dev of containers",
    ),
    "iptables nat": (
        "iptables -t nat -A POSTROUTING -m comment --comment x -m mark --mark 1 -j MASQUERADE",
        "Services",
    ),
    "iptables statistic": (
        "iptables -t nat -A OUTPUT -m statistic --mode random --probability 0.5 -j RETURN",
        "the choice of a backend",
    ),
    "iptables conntrack": ("iptables -A FORWARD -m conntrack --ctstate NEW -j ACCEPT", "Services"),
    "iptables recent": ("iptables -A INPUT -m recent --name x --set", "the client affinity of Services"),
}
VXLAN_FEATURES = {
    "vxlan": ("ip link add l3 type vxlan id 1 dstport 8472", "the tunnel between the nodes"),
    "br_netfilter": (
        "test -e /proc/sys/net/bridge/bridge-nf-call-iptables",
        "Services between pods on one bridge",
    ),
}
EBPF_FEATURES = {
    "bpf": ("mount -t bpf bpf /mnt", "maps that commands can read"),
    "clsact": (
        "ip link add l4 type veth peer name l5 && tc qdisc add dev l4 clsact",
        "programs on the pods' wires",
    ),
}
#: Where a module has to be loaded by hand.
MODULES = ("vxlan", "br_netfilter", "overlay")
#: Feature by feature, so that one look tells all that is missing.
TRIAL = 'while [ $# -gt 0 ]; do sh -c "$2" >/dev/null 2>&1 || echo "$1"; shift 2; done'


def missing(topology: Topology) -> list[Need]:
    """What this machine lacks for a lab of this topology; nothing where it can run. Changes nothing."""
    if sys.platform != "linux":
        return [
            Need("Linux", "a lab is made of Linux network namespaces", "run it on Linux, or in a Linux VM")
        ]
    programs = _programs(topology)
    if os.geteuid() != 0:
        return [
            Need(
                "root", "namespaces, devices and rules are the administrator's", "run labkit as root (sudo)"
            ),
            *programs,
        ]
    return programs or _features(topology)


def _programs(topology: Topology) -> list[Need]:
    ebpf = topology.services == "ebpf"
    found = []
    for package, (names, why) in {**PACKAGES, **(EBPF_PACKAGES if ebpf else {})}.items():
        lacking = [name for name in names if shutil.which(name, path=PATH) is None]
        if lacking:
            found.append(Need(f"the program {', '.join(lacking)}", f"to {why}", f"apt-get install {package}"))
    for package, (file, why) in {**FILES, **(EBPF_FILES if ebpf else {})}.items():
        if not Path(file).exists():
            found.append(Need(f"the file {file}", f"to {why}", f"apt-get install {package}"))
    return found


def _features(topology: Topology) -> list[Need]:
    wanted = {
        **FEATURES,
        **(VXLAN_FEATURES if topology.wiring == "vxlan" else {}),
        **(EBPF_FEATURES if topology.services == "ebpf" else {}),
    }
    pairs = [word for name, (command, _) in wanted.items() for word in (name, command)]
    tried = subprocess.run(  # noqa: S603  (argv lists of constants)
        [*UNSHARE, "sh", "-c", TRIAL, "sh", *pairs],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        said = tried.stderr.decode(errors="replace").strip()
        what, remedy = (
            f"the right to make namespaces ({said})",
            "run it outside of a container, or in a privileged one",
        )
        return [Need(what, "a lab is made of them", remedy)]
    return [_feature(name, *wanted[name]) for name in tried.stdout.decode().splitlines()]


def _feature(name: str, command: str, why: str) -> Need:
    remedy = f"modprobe {name}" if name in MODULES else f"this must work as root: {command}"
    return Need(f"the kernel feature {name}", f"for {why}", remedy)
