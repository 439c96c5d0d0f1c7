import json
from dataclasses import dataclass, replace

import pytest
from scapy.layers.inet import UDP
from scapy.layers.vxlan import VXLAN

from labkit.collect import captures
from labkit.errors import CommandError, MissingFeature, ParseError, TimeLimit
from tests.conftest import recorded
from tests.parse.capture import FRAME, OUT, POD, SYN, pcap


def test_packets_know_where_they_were_seen(cluster):
    frame = captures.packets(cluster)
    assert list(frame.columns) == captures.CAPTURED.names
    assert not frame.duplicated(["tap", "node", "pod", "n"]).any()
    assert frame["interface"].notna().all()
    on_nodes, in_pods = (frame[frame["tap"] == tap] for tap in ("node", "pod"))
    assert on_nodes["node"].nunique() == 2
    assert on_nodes["pod"].isna().all()
    assert set(in_pods["device"]) == {"pod"}
    assert in_pods["pod"].str.startswith("app-frontend").all()
    assert set(frame.loc[frame["device"] == "nic", "interface"]) == {"eth0"}


def test_interfaces_are_named_by_their_own_node(vxlan):
    frame = captures.packets(vxlan).set_index(["node", "n"])
    assert frame.loc[("vxlan-node-0", 11), "interface"].tolist()[0] == "eth0"
    seven = frame[frame["ifindex"] == 7].groupby("node")["interface"].unique()
    assert {node: list(names) for node, names in seven.items()} == {
        "vxlan-node-0": ["veth7ea013b9"],
        "vxlan-node-1": ["veth567ae3b8"],
    }


def test_dtypes_are_as_declared(cilium):
    for collector in (captures.packets, captures.taps, captures.asked):
        frame = collector(cilium)
        assert {n: str(t) for n, t in frame.dtypes.items()} == {
            c.name: c.dtype for c in collector.schema.columns
        }


def test_taps_say_whether_they_lost_anything(cluster):
    taps = captures.taps(cluster)
    assert taps["listened_on"].tolist() == ["any", "any", "eth0", "eth0"]
    assert (taps["packets"] == taps["captured"]).all()
    assert taps["dropped"].sum() == taps["problems"].sum() == taps["cut"].sum() == 0
    assert set(taps["reply"]) == set(captures.packets(cluster)["reply"])


def test_what_was_asked_meanwhile(cluster):
    asked = captures.asked(cluster)
    assert asked.groupby("kind").size().to_dict() == {"http": 8, "ping": 4}
    assert (asked["sent"] == asked["answered"]).all()
    http = asked[asked["kind"] == "http"]
    assert http["remote_ip"].nunique() == 1  # what curl is told is the ClusterIP, in every arm
    assert http["local_port"].nunique() == 8


def test_one_packet_field_by_field(vxlan, routed):
    frame = captures.packets(vxlan)
    first = frame[(frame["device"] == "nic") & (frame["node"] == "vxlan-node-1")].iloc[0]
    wanted = ((vxlan.arm, first["reply"], first["n"]),)
    found = captures.dissected(vxlan, of=wanted)
    assert set(found["reply"]) == {first["reply"]}
    assert "VXLAN" in set(found["layer"])
    assert list(found.columns) == captures.DISSECTED.names
    with pytest.raises(MissingFeature, match="none of its captures"):
        captures.dissected(vxlan, of=((vxlan.arm, "r00001", 0),))
    with pytest.raises(MissingFeature, match="network card"):
        captures.dissected(routed, of=wanted)


@dataclass(frozen=True)
class Altered:
    """An executor whose captures end differently; a second one, not a patched one."""

    executor: object
    changes: dict
    command: str = "tcpdump"

    def run(self, request):
        reply = self.executor.run(request)
        return replace(reply, **self.changes) if self.command in request.words else reply

    @property
    def about(self):
        return self.executor.about

    def wait(self, seconds):
        self.executor.wait(seconds)


def test_a_card_behind_the_card_is_a_card(routed):
    """Accelerated networking on AKS: a virtual function, port of eth0, sees each packet too."""
    (links,) = recorded("overlay-routed", "ip -j -d -s link show", subject="node/routed-node-0")
    entries = json.loads(links.stdout)
    other = next(entry for entry in entries if entry["ifname"] == "vethb3a97e2c")
    other["master"] = "eth0"
    changes = {"output": json.dumps(entries).encode()}
    frame = captures.packets(altered(routed, changes, "ip -j -d -s link"))
    assert set(frame.loc[frame["interface"] == "vethb3a97e2c", "device"]) == {"nic"}


def test_vxlan_is_found_on_the_port_of_the_arms_own_device(vxlan):
    """Docker, OpenStack and others may send it to ports that nothing else would tell."""
    (links,) = recorded("overlay-vxlan", "ip -j -d -s link show", subject="node/vxlan-node-0")
    other = {"output": links.stdout.replace(b'"port":8472', b'"port":9999')}
    assert other["output"] != links.stdout
    frame = VXLAN(vni=7, flags="Instance") / FRAME / POD / SYN
    sent = {
        "output": pcap(
            [bytes(FRAME / OUT / UDP(sport=50000, dport=port) / frame) for port in (9999, 8472, 9998)]
        )
    }
    assert captures.vxlan_ports(vxlan) == (4789, 8472)
    moved = altered(altered(vxlan, other, "ip -j -d -s link"), sent)
    assert captures.vxlan_ports(moved) == (4789, 8472, 9999)
    tunnels = [captures.packets(arm).drop_duplicates(["n"])["encap"] for arm in (moved, altered(vxlan, sent))]
    assert [found.fillna("none").tolist() for found in tunnels] == [
        ["vxlan", "vxlan", "none"],
        ["none", "vxlan", "none"],
    ]


def altered(cluster, changes, command="tcpdump"):
    """The arm with other replies, and no memory of the true ones."""
    return replace(cluster, executor=Altered(cluster.executor, changes, command), memo={})


@pytest.mark.parametrize(("changes", "error"), [
    ({"exit_code": 1}, CommandError),
    ({"exit_code": None}, TimeLimit),
    ({"output": b""}, ParseError),
    ({"output": b"sh: tcpdump: not found"}, ParseError),
])  # fmt: skip
def test_a_capture_that_failed_is_not_a_capture_of_nothing(routed, changes, error):
    with pytest.raises(error):
        captures.packets(altered(routed, changes))


def test_a_capture_that_was_cut_off_keeps_its_packets(routed):
    whole = captures.packets(routed)
    (one,) = recorded("overlay-routed", "timeout", step="capture", subject="node/routed-node-0")
    cut = altered(routed, {"output": one.stdout[:-10]})
    assert captures.taps(cut)["cut"].all()
    assert len(captures.packets(cut)) == 4 * (whole["reply"].eq(one.id).sum() - 1)
