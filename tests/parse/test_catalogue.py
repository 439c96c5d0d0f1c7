"""Every reply of every recording is read by its parser, or stands here with the reason why none reads it."""

from functools import partial

import pytest

from labkit.collect.cleanup import KINDS
from labkit.parse import (
    access_log,
    answers,
    bridge,
    cilium_monitor,
    conntrack,
    curl,
    dig,
    ethtool,
    hubble,
    iperf3,
    iproute,
    iproute_routes,
    iptables,
    kubernetes,
    network_policy,
    nft,
    nstat,
    objects,
    pcap,
    ping,
    proc_info,
    proc_stat,
    sysctl,
    sysfs,
    traceroute,
)  # fmt: skip
from tests.conftest import RECORDINGS, arm
from tests.parse.test_cilium import READERS as CILIUM

#: How a request begins, and who reads its reply. The longest that fits counts, here and in UNREAD.
READ = {
    "GET /version": [kubernetes.version],
    "GET /api/v1/nodes": [kubernetes.nodes],
    "GET /api/v1/namespaces/kube-system/configmaps": [partial(kubernetes.config_map, name="coredns")],
    "GET /api/v1/namespaces/cni-lab/events": [kubernetes.items],
    "GET /api/v1/namespaces": [network_policy.namespaces, partial(objects.objects, kind="Namespace")],
    "GET /api/v1/pods": [kubernetes.pods, kubernetes.containers],
    "GET /api/v1/services": [kubernetes.services],
    "GET /apis/discovery.k8s.io/v1/endpointslices": [kubernetes.endpoints],
    "GET /apis/apps/v1/daemonsets": [kubernetes.daemonsets],
    "GET /apis/apps/v1/deployments": [partial(objects.objects, kind="Deployment")],
    "GET /apis/networking.k8s.io/v1/networkpolicies": [network_policy.policies, network_policy.rules],
    "GET /apis/cilium.io/v2/": [kubernetes.items],
    "cat /proc/cpuinfo": [proc_info.cpuinfo],
    "cat /proc/meminfo": [proc_info.meminfo],
    "cat /proc/stat": [proc_stat.cpu_times],
    "cat /etc/resolv.conf": [proc_info.resolv_conf],
    "cat /host/etc/os-release": [proc_info.os_release],
    "cat /sys/class/net/eth0/iflink": [sysfs.iflink],
    "ip -j -d -s link show": [iproute.links],
    "ip -j -d link show": [iproute.links],
    "ip -j link show": [iproute.links],
    "ip -j addr show": [iproute.addresses],
    "ip -j neigh show": [iproute.neighbours],
    "ip -j route show": [iproute_routes.routes],
    "ip -j rule show": [iproute_routes.rules],
    "bridge -j fdb show": [bridge.forwarding],
    "bridge -j -d link show": [bridge.ports],
    "brctl show": [bridge.brctl],
    "iptables --version": [iptables.backend],
    "iptables-save -c": [iptables.rules, iptables.chains],
    "ip6tables-save -c": [iptables.rules, iptables.chains],
    "nft -j list ruleset": [nft.chains],
    "conntrack -L": [conntrack.entries],
    "conntrack -S": [conntrack.counters],
    "sysctl": [sysctl.settings],
    "ethtool -k": [ethtool.features],
    "ethtool -i": [ethtool.driver],
    "nstat -az": [nstat.counters],
    "ping": [ping.summary, ping.echoes],
    "traceroute": [traceroute.traceroute],
    "tracepath": [traceroute.tracepath, traceroute.path_mtu],
    "dig": [dig.answer],
    "nslookup": [dig.nslookup],
    "iperf3": [iperf3.run, iperf3.intervals],
    "sh -c for i": [answers.answers],
    "logs": [access_log.lines],
    "timeout -s INT 8 tcpdump": [pcap.packets],
    "timeout -s INT 8 cilium-dbg monitor -j": [cilium_monitor.events],
    "hubble observe --last 1000 -o jsonpb": [hubble.flows, hubble.lost],
    "hubble observe --verdict DROPPED --last 500 -o jsonpb": [hubble.flows, hubble.lost],
    "hubble status -o json": [hubble.status],
    **CILIUM,
}  # fmt: skip

TEXT = "its JSON form is read"
#: What no parser reads, and why.
UNREAD = {
    "ip addr show": TEXT, "ip route show": TEXT, "ip rule show": TEXT, "ip link show": TEXT,
    "cilium-dbg status": TEXT,
    "cilium-dbg config --all": TEXT,  "cilium-dbg endpoint list": TEXT,
    "cilium-dbg service list": TEXT, "cilium-dbg bpf lb list": TEXT, "cilium-dbg bpf lb maglev list": TEXT,
     "cilium-dbg bpf nat list": TEXT, "cilium-dbg bpf policy get": TEXT,
    "cilium-dbg bpf ipcache list": TEXT, "cilium-dbg bpf endpoint list": TEXT,
    "cilium-dbg bpf metrics list": TEXT, "cilium-dbg map list": TEXT, "cilium-dbg identity list": TEXT,
    "cilium-dbg node list": TEXT, "hubble status": TEXT, "hubble observe --last 50": TEXT,
    "timeout -s INT 8 cilium-dbg monitor --type": TEXT, "bpftool net show": TEXT,
    "iptables -t nat -L -n": "iptables-save -c says the same with counters",
    "cilium-dbg endpoint get": "endpoint list has the same objects",
    "cilium-dbg bpf tunnel list": "1.20 has no such command; tested in test_cilium_tunnel",
    "cilium-dbg bpf config list": "the agent's clock and liveness", "cilium-dbg bpf fs show": "where bpffs is mounted",
    "cilium-dbg ip list": "the ipcache map says the same", "cilium-dbg policy": "the policy map is what is enforced",
    "cilium-dbg metrics list": "the agent's own Prometheus metrics", "cilium-dbg statedb dump": "the agent's insides",
    "cilium-dbg shell": "the agent's insides", "hubble list nodes": "not implemented by an agent's socket",
    "cat /proc/net/dev": "ip -s link says the same", "nproc": "cpuinfo says the same", "uname -a": "the Node object says the same",
    "ss -tulpn": "listening sockets, asked by no question yet", "tc -s -j qdisc": "queues, asked by no question yet",
    "tc filter": "empty: TCX programs do not show there", "GET /apis": "searched for an API group",
    "curl -sS -i": "the answer's headers; timings come from -w",
    "apply": "kubectl's words", "delete": "kubectl's words",
}  # fmt: skip

#: Tools whose output says what went wrong when they exit with another code than 0.
TELLING = ("curl", "ping", "dig", "iperf3", "timeout", "tracepath", "traceroute")


def replies():
    for name in RECORDINGS:
        recording = arm(name).executor.recording
        for request in recording.requests():
            yield name, recording.find(request)


def reader(words):
    """The entry that says who reads this, and the parsers; none where UNREAD has the reason."""
    if words.startswith("curl") and "%{json}" in words:
        return "curl -w %{json}", [curl.transfers]
    fits = [head for head in (*READ, *UNREAD) if words.startswith(head)]
    assert fits, f"nobody reads {words[:100]!r}"
    head = max(fits, key=len)
    return head, READ.get(head, [])


def test_every_reply_has_a_reader_or_a_reason():
    heads = {reader(reply.request.words)[0] for _, reply in replies()}
    assert not READ.keys() & UNREAD.keys()
    assert {*READ, *UNREAD} - heads == set(), "names what no recording holds"


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_reply_is_read(name):
    read = 0
    for where, reply in replies():
        words = reply.request.words
        if where != name or (reply.exit_code != 0 and not words.startswith(TELLING)):
            continue
        _, parsers = reader(words)
        for parse in parsers:
            parse(reply.stdout)
            read += 1
    assert read > 500


def test_cleanup_lists_only_kinds_that_are_read():
    assert all(f"GET {path}" in READ for path in KINDS.values())
