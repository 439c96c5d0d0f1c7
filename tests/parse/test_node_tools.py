"""nft, sysctl, ethtool and /sys: tools with few columns."""

from pathlib import Path

import pytest

from labkit.errors import ParseError
from labkit.parse import ethtool, nft, sysctl, sysfs
from tests.conftest import RECORDINGS, arm, recorded

CASES = Path(__file__).parents[1] / "cases"
PARSERS = {
    "nft -j list ruleset": nft.chains,
    "sysctl ": sysctl.settings,
    "ethtool -k": ethtool.features,
    "ethtool -i": ethtool.driver,
    "cat /sys/class/net/eth0/iflink": sysfs.iflink,
}


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("words", PARSERS)
def test_every_recorded_reply_is_read(name, words):
    recording = arm(name).executor.recording
    replies = [recording.find(r) for r in recording.requests() if r.words.startswith(words)]
    assert replies
    for reply in replies:
        assert len(PARSERS[words](reply.stdout))


@pytest.mark.parametrize("words", PARSERS)
@pytest.mark.parametrize("data", [b"sh: command not found\n", b"\xff\xfe", b"{\n"])
def test_what_is_no_answer_is_refused(words, data):
    with pytest.raises(ParseError):
        PARSERS[words](data)


@pytest.mark.parametrize("words", [words for words in PARSERS if words != "sysctl "])
def test_no_output_is_no_answer(words):
    with pytest.raises(ParseError):
        PARSERS[words](b"")


def test_chains_that_iptables_wrote_and_others():
    frame = nft.chains((CASES / "nft" / "1.0.6-iptables-and-own-table.json").read_bytes())
    chains = frame.set_index(["family", "table", "chain"])
    own = chains.loc[("inet", "t", "c")]
    assert own[["hook", "priority", "policy", "rules"]].tolist() == ["input", 0, "drop", 1]
    assert chains.loc[("ip", "nat", "KUBE-SVC-2CMXP7HKUVJN7L6M"), "rules"] == 4
    assert chains.loc[("ip", "nat", "KUBE-SERVICES")].isna()[["hook", "priority", "policy"]].all()


@pytest.mark.parametrize("data", [b"{}", b'{"nftables": 1}', b'{"nftables": [{"chain": {"family": "ip"}}]}'])
def test_other_json_is_refused(data):
    with pytest.raises(ParseError, match="nft"):
        nft.chains(data)


def test_settings():
    frame = sysctl.settings(recorded("cilium", "sysctl ")[0].stdout).set_index("name")
    assert frame.loc["net.ipv4.ip_forward", "value"] == "1"
    assert frame.loc["net.netfilter.nf_conntrack_max", "value"] == "262144"


def test_several_values_stay_together():
    frame = sysctl.settings((CASES / "sysctl" / "4.0.2-with-tabs.txt").read_bytes()).set_index("name")
    assert frame.loc["net.ipv4.ip_local_port_range", "value"] == "32768 60999"
    assert len(frame.loc["net.ipv4.tcp_rmem", "value"].split()) == 3


def test_features_and_their_groups():
    frame = ethtool.features(recorded("overlay-vxlan", "ethtool -k")[0].stdout).set_index("feature")
    assert frame.loc["tx-tcp-segmentation", "group"] == "tcp-segmentation-offload"
    assert frame.loc["tcp-segmentation-offload"].isna()["group"]
    assert bool(frame.loc["tcp-segmentation-offload", "on"])
    assert bool(frame.loc["large-receive-offload", "fixed"])


@pytest.mark.parametrize("device", ["lo", "eth0"])
def test_features_of_other_devices(device):
    data = (CASES / "ethtool" / f"6.1-features-{device}.txt").read_bytes()
    assert len(ethtool.features(data)) == len(data.splitlines()) - 1


def test_a_feature_that_was_asked_for_and_not_had():
    frame = ethtool.features(b"Features for eth0:\ntx-checksumming: off [requested on]\n")
    assert frame[["on", "fixed"]].values.tolist() == [[False, False]]


def test_driver_of_a_virtual_device_has_no_bus():
    frame = ethtool.driver(recorded("cilium", "ethtool -i")[0].stdout)
    assert frame["driver"].tolist() == ["veth"]
    assert frame["bus"].isna().all()


def test_the_other_end_of_a_pods_device():
    (reply,) = recorded("cilium", "cat /sys/class/net/eth0/iflink", subject="tmbh6")
    assert sysfs.iflink(reply.stdout)["peer_ifindex"].tolist() == [14]
