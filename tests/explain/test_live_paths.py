"""Paths of live labs: predictions hold for real packets, and real faults are found and named."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cache

import pandas as pd
import pytest

from labkit.analysis.paths.differences import differences as compare
from labkit.analysis.paths.differences import summary
from labkit.chain import Terms, open_chain
from labkit.cluster import Cluster
from labkit.collect import kubernetes, node
from labkit.exec.request import Exec
from labkit.explain import audit, differences, explain, model
from labkit.parse import curl, pcap
from tests.netns.conftest import require

LABS = ("vxlan", "routed", "ebpf")


class Fresh:
    """What talks to a lab, with no recording between: it answers anew each time it is asked."""

    def __init__(self, chain):
        self.inner, self.about = chain._top._inner, chain.about

    def run(self, request):
        return self.inner.run(request)

    def wait(self, seconds):
        self.inner.wait(seconds)

    def close(self):
        """The chain ends it."""


class Lab:
    """A lab with the workload in it."""

    def __init__(self, topology, path):
        self.topology = topology
        self.chain = open_chain(f"netns:{topology}", topology, path, Terms())
        Cluster(topology, f"netns:{topology}", self.chain).read("/version")  # brings the workload

    def close(self):
        self.chain.close()

    @property
    def now(self):
        """The arm as it is now: nothing that it said before is remembered."""
        return Cluster(self.topology, f"netns:{self.topology}", Fresh(self.chain))

    def ask(self, target, *argv):
        """The reply of a command, whatever its exit code."""
        return self.chain._top._inner.run(Exec(step="baseline", target=target, argv=argv))

    def run(self, node, *argv):
        reply = self.ask(f"node/{node}", *argv)
        assert reply.exit_code == 0, (argv, reply.stderr)
        return reply.text

    def captured(self, traffic, seconds=4):
        """Frames of packets and taps of both nodes, while `traffic` goes on; and what it gave."""
        words = f"timeout -s INT {seconds} tcpdump -i any -n -U -s 192 -w - icmp or tcp or port 8472"
        links = node.links(self.now)
        with ThreadPoolExecutor(2) as pool:
            taps = {n: pool.submit(self.ask, f"node/{n}", *words.split()) for n in ("node-1", "node-2")}
            time.sleep(1)
            asked = traffic()
        frames = []
        for name, tap in taps.items():
            own = links.loc[links["node"] == name, ["ifindex", "interface"]]
            frame = pcap.packets(tap.result().stdout).merge(own, on="ifindex", how="left")
            frames.append(frame.assign(tap="node", node=name, pod=None, reply=tap.result().id))
        where = pd.DataFrame([{"tap": "node", "node": name, "pod": None} for name in taps])
        return pd.concat(frames, ignore_index=True), where, asked

    def pod(self, app, on):
        """Target and address of a pod with a label on a node."""
        pods = kubernetes.pods(self.now)
        row = pods[(pods["app"] == app) & (pods["node"] == on)].iloc[0]
        container = {"frontend": "toolbox"}.get(app, app)
        return f"pod/{row['namespace']}/{row['pod']}/{container}", row["pod_ip"]

    def ping(self, target, ip):
        return self.ask(target, "ping", "-c", "1", "-W", "1", ip).exit_code == 0

    def fetch(self, target, ip, port=80):
        """Who asked, and what for: as `differences` takes it; empty where no connection was made."""
        url = f"http://{ip}:{port}/"
        reply = self.ask(
            target, "curl", "-sS", "-o", "/dev/null", "-w", "%{json}", "--connect-timeout", "1", url
        )
        if reply.exit_code != 0:
            return {}
        made = curl.transfers(reply.stdout).iloc[0]
        return {("tcp", made["local_ip"], int(made["local_port"])): (ip, port)}


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    """The lab of a topology, started when it is first asked for."""
    with ExitStack() as held:

        @cache
        def lab(topology):
            require(topology)
            return held.enter_context(closing(Lab(topology, tmp_path_factory.mktemp("paths") / topology)))

        yield lab


def wrong(found):
    return found[found["agrees"].eq(other=False).fillna(value=False)]


@pytest.mark.parametrize("topology", LABS)
def test_every_flow_of_a_live_lab_goes_as_predicted(labs, topology):
    now = labs(topology).now
    found = differences(now)
    assert wrong(found).empty, wrong(found)[["flow", "predicted", "observed", "rests_on"]].head().to_string()
    counted = summary(found).set_index("protocol")
    assert counted["not_modelled"].sum() == 0
    assert counted.loc["tcp", "flows"] == counted.loc["tcp", "agreeing"] >= 8
    assert audit(now)["state"].eq("matching").all()


def services_address(lab):
    rows = model(lab.now).world.services
    return next(row["cluster_ip"] for row in rows if row["service"] == "backend-service")


def every_way(lab, service):
    """Pings and fetches between pods and nodes, to a Service, to a pod's own Service, to nobody."""
    (front, front_ip), (back, near), (_, far) = (
        lab.pod("frontend", "node-1"), lab.pod("backend", "node-1"), lab.pod("backend", "node-2")
    )  # fmt: skip
    here, other = "node/node-1", model(lab.now).world.machines["node-2"].ip
    for target, ip in (
        (here, near),
        (here, far),
        (here, other),
        (front, other),
        (front, near),
        (front, front_ip),
    ):
        assert lab.ping(target, ip), (target, ip)
    assert not lab.ping(front, "192.0.2.1")
    asked = {}
    for target, ip in (
        [(here, service)] * 3 + [(back, service)] * 4 + [(front, service)] * 2 + [(front, far), (here, near)]
    ):
        found = lab.fetch(target, ip)
        assert found, (target, ip)
        asked |= found
    lab.fetch(front, other, 9)
    return asked


@pytest.mark.parametrize("topology", LABS)
def test_every_kind_of_way_goes_as_predicted(labs, topology):
    lab = labs(topology)
    now, service = lab.now, services_address(lab)
    packets, taps, asked = lab.captured(lambda: every_way(lab, service), seconds=5)
    found = compare(model(now), packets, kubernetes.pods(now), taps, asked)
    assert found["agrees"].all(), found.loc[~found["agrees"].fillna(value=False)].iloc[0].to_dict()
    flows = found.drop_duplicates("flow")
    assert flows["flow"].str.startswith("tcp").sum() >= 12
    assert flows["flow"].str.startswith("icmp").sum() >= 6  # one that asks itself is seen nowhere
    assert flows["asked"].eq(f"{service}:80").sum() >= 6


def test_a_node_port_goes_as_predicted(labs):
    lab = labs("vxlan")
    chain = next(line.split()[-1] for line in lab.run("node-2", "iptables-save", "-t", "nat").splitlines()
                 if line.startswith("-A KUBE-SERVICES") and '"cni-lab/backend-service ' in line)  # fmt: skip
    match = ("-p", "tcp", "-m", "tcp", "--dport", "30080")
    rules = [("KUBE-NODEPORTS", *match, "-j", "KUBE-MARK-MASQ"), ("KUBE-NODEPORTS", *match, "-j", chain)]
    for rule in rules:
        lab.run("node-2", "iptables", "-t", "nat", "-A", *rule)
    try:
        now, (front, _) = lab.now, lab.pod("frontend", "node-1")
        other = model(now).world.machines["node-2"].ip

        def traffic():
            return (
                lab.fetch(front, other, 30080)
                | lab.fetch(front, other, 30080)
                | lab.fetch("node/node-1", other, 30080)
            )

        packets, taps, asked = lab.captured(traffic)
        found = compare(model(now), packets, kubernetes.pods(now), taps, asked)
        assert found["agrees"].all(), found.loc[~found["agrees"].fillna(value=False)].iloc[0].to_dict()
        assert set(found["asked"]) == {f"{other}:30080"}
        assert found["flow"].nunique() == len(asked) == 3
    finally:
        for rule in rules:
            lab.run("node-2", "iptables", "-t", "nat", "-D", *rule)


def route_to_other(lab):
    """Node, its route to the pods of the other, and how it is put back."""
    rows = json.loads(lab.run("node-1", "ip", "-j", "route", "show"))
    row = next(row for row in rows if row["dst"] == "10.244.1.0/24")
    return row["dst"], ("ip", "route", "add", row["dst"], "via", row["gateway"], "dev", row["dev"], "onlink")


def test_a_route_that_was_removed_is_found_and_named(labs):
    lab = labs("vxlan")
    before = lab.now
    explain(before, "app=frontend", "app=backend/other-node")
    prefix, back = route_to_other(lab)
    lab.run("node-1", "ip", "route", "del", prefix)
    try:
        broken = lab.now
        hops = explain(broken, "app=frontend", "app=backend/other-node")
        forth = hops[hops["way"].str.startswith("1")]
        assert "flannel.1" not in set(forth["device"].dropna())
        entries = audit(broken)
        bad = entries[entries["state"] != "matching"]
        assert set(zip(bad["node"], bad["kind"], bad["state"], strict=True)) == {("node-1", "route", "wrong")}
        # packets captured now do not go as the state of before predicted
        stale = pinged(lab, before)
        row = stale[stale["device"].eq("flannel.1")].iloc[0]
        assert (row["node"], row["differs_in"]) == ("node-1", "not seen")
        assert "10.244.1.0/24 via" in row["rests_on"]
    finally:
        lab.run("node-1", *back)
    assert audit(lab.now)["state"].eq("matching").all()


def pinged(lab, before):
    """A ping to the other node that is captured now, against what the state of another time predicts."""
    (front, _), (_, far) = lab.pod("frontend", "node-1"), lab.pod("backend", "node-2")
    packets, taps, answered = lab.captured(lambda: lab.ping(front, far), seconds=3)
    assert not answered
    return wrong(compare(model(before), packets, kubernetes.pods(before), taps))


def fetched(lab, before, times=16):
    """The same of fetches of a Service: so many that one comes to either backend."""
    (front, _), service = lab.pod("frontend", "node-1"), services_address(lab)

    def traffic():
        with ThreadPoolExecutor(times) as pool:
            list(pool.map(lambda _: lab.fetch(front, service), range(times)))

    packets, taps, _ = lab.captured(traffic)
    return wrong(compare(model(before), packets, kubernetes.pods(before), taps))


def test_a_forwarding_entry_that_leads_nowhere_is_found_and_named(labs):
    lab = labs("vxlan")
    before = lab.now
    explain(before, "app=frontend", "app=backend/other-node")
    rows = json.loads(lab.run("node-1", "bridge", "-j", "fdb", "show", "dev", "flannel.1"))
    row = next(row for row in rows if row.get("dst") == "10.224.0.5")
    entry = ("bridge", "fdb", "replace", row["mac"], "dev", "flannel.1", "dst")
    lab.run("node-1", *entry, "10.224.0.77")
    try:
        broken = lab.now
        hops = explain(broken, "app=frontend", "app=backend/other-node")
        last = hops.iloc[-1]
        assert (last["verdict"], last["outer_dst_ip"]) == ("dropped", "10.224.0.77")
        assert "dst 10.224.0.77" in hops.set_index("place").loc["tunnel", "rests_on"]
        entries = audit(broken)
        tunnels = entries[(entries["kind"] == "tunnel") & (entries["state"] != "matching")]
        assert set(tunnels["state"]) == {"missing", "stale"}
        assert tunnels["node"].eq("node-1").all()
        bad = pinged(lab, before)
        assert bad["rests_on"].str.contains("dst 10.224.0.5", na=False).any()
    finally:
        lab.run("node-1", *entry, "10.224.0.5")
    assert audit(lab.now)["state"].eq("matching").all()


def test_a_stale_backend_in_the_rules_is_found_and_named(labs):
    lab = labs("routed")
    before = lab.now
    explain(before, "app=frontend", "backend-service")
    chains = [line.split() for line in lab.run("node-1", "iptables-save", "-t", "nat").splitlines()
              if line.startswith("-A KUBE-SEP-") and '"cni-lab/backend-service"' in line and "DNAT" in line]  # fmt: skip
    chain, old = chains[0][1], chains[0][-1]
    stale = old.rpartition(":")[0].rpartition(".")[0] + ".199:80"
    rule = ("-p", "tcp", "-m", "tcp", "-j", "DNAT", "--to-destination", stale)
    lab.run("node-1", "iptables", "-t", "nat", "-I", chain, "1", *rule)
    try:
        broken = lab.now
        ends = explain(broken, "app=frontend", "backend-service").groupby("branch").tail(1)
        assert set(ends["verdict"]) == {"delivered", "dropped"}
        entries = audit(broken)
        bad = entries[entries["state"] != "matching"]
        assert ("node-1", "iptables", "stale") in set(
            zip(bad["node"], bad["kind"], bad["state"], strict=True)
        )
        assert bad["programmed"].eq(stale).any()
        row = fetched(lab, before)
        row = row[row["differs_in"].eq("backend")].iloc[0]
        assert stale.partition(":")[0] in row["observed"]
        assert "KUBE-SVC-" in row["rests_on"]
    finally:
        lab.run("node-1", "iptables", "-t", "nat", "-D", chain, *rule)
    assert audit(lab.now)["state"].eq("matching").all()


def test_a_stale_backend_in_a_map_is_found_and_named(labs):
    from labkit.collect import ebpf  # noqa: PLC0415
    from labkit.netns.ebpf.layout import pins  # noqa: PLC0415

    lab = labs("ebpf")
    before = lab.now
    explain(before, "app=frontend", "backend-service")
    fronts, backs = ebpf.frontends(before), ebpf.backends(before)
    front = fronts[(fronts["node"] == "node-1") & (fronts["port"] == 80)].iloc[0]
    back = backs[(backs["node"] == "node-1") & (backs["service"] == front["service"])].iloc[0]
    key = int(front["service"]).to_bytes(4, "little") + int(back["slot"]).to_bytes(4, "little")

    def write(ip):
        value = bytes(map(int, ip.split("."))) + (80).to_bytes(2, "little") + bytes(2 + 8)
        words = [f"{byte:#04x}" for byte in key], [f"{byte:#04x}" for byte in value]
        lab.run("node-1", "bpftool", "map", "update", "pinned", f"{pins('node-1')}/backends",
                "key", *words[0], "value", *words[1])  # fmt: skip

    stale = back["backend_ip"].rpartition(".")[0] + ".199"
    write(stale)
    try:
        broken = lab.now
        hops = explain(broken, "app=frontend", "backend-service")
        assert stale in set(hops["dst_ip"])
        assert "dropped" in set(hops.groupby("branch").tail(1)["verdict"])
        entries = audit(broken)
        bad = entries[entries["state"] != "matching"]
        assert set(zip(bad["node"], bad["kind"], bad["state"], strict=True)) == {
            ("node-1", "eBPF maps", "stale"), ("node-1", "eBPF maps", "missing")
        }  # fmt: skip
        row = fetched(lab, before)
        row = row[row["differs_in"].eq("backend")].iloc[0]
        assert stale in row["observed"]
        assert "service" in row["rests_on"]
    finally:
        write(back["backend_ip"])
    assert audit(lab.now)["state"].eq("matching").all()


def test_policies_that_are_in_force_are_what_nodes_hold(labs):
    lab = labs("ebpf")
    chain = lab.chain
    denied = Cluster("ebpf", "netns:ebpf", chain).at("policy-deny-all")
    entries = audit(denied)
    policies = entries[entries["kind"] == "policy map"]
    assert policies["state"].eq("matching").all()
    assert policies["intended"].eq("blocked").sum() > 20
    stopped = explain(denied, "app=frontend", "backend-service").groupby("branch").tail(1)
    assert set(stopped["verdict"]) == {"dropped"}
    assert stopped["rests_on"].str.contains("isolated").all()
