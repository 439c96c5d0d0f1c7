import pandas as pd
import pytest

from labkit.errors import ParseError
from labkit.parse import dissect
from tests.conftest import recorded
from tests.parse.capture import framed, pcap


@pytest.fixture(scope="module")
def node() -> bytes:
    (reply,) = recorded("overlay-vxlan", "timeout", step="capture", subject="node/vxlan-node-0")
    return reply.stdout


def test_a_vxlan_packet_layer_by_layer(node):
    frame = dissect.fields(node, 11)
    layers = frame.drop_duplicates("depth")
    assert layers["layer"].tolist() == [
        "cooked linux v2",
        "IP",
        "UDP",
        "VXLAN",
        "Ethernet",
        "IP",
        "ICMP",
        "Raw",
    ]
    assert layers["layer_bytes"].tolist() == [20, 20, 8, 8, 14, 20, 8, 56]
    said = frame.set_index(["depth", "field"])["value"]
    assert (said[1, "src"], said[1, "dst"]) == ("10.240.0.4", "10.240.0.5")
    assert (said[2, "dport"], said[3, "flags"], said[3, "vni"]) == ("8472", "Instance", "0x1")
    assert (said[5, "src"], said[5, "dst"], said[5, "ttl"]) == ("10.244.0.4", "10.244.1.3", "63")
    assert said[6, "type"] == "echo-request"
    assert said[7, "load"].endswith("… 56 bytes")


def test_fields_that_the_packet_does_not_have_are_not_made_up(node):
    """scapy would fill in the time of day for an echo request's time stamps."""
    assert "ts_ori" not in set(dissect.fields(node, 11)["field"])
    pd.testing.assert_frame_equal(dissect.fields(node, 11), dissect.fields(node, 11))


@pytest.mark.parametrize(
    ("link", "kind", "first"), [(101, "echo", "IP"), (101, "ipv6", "IPv6"), (1, "arp", "Ethernet")]
)
def test_other_link_types(link, kind, first):
    raw = framed(kind)[14:] if link == 101 else framed(kind)
    assert dissect.fields(pcap([raw], link=link), 0)["layer"].iloc[0] == first


@pytest.mark.parametrize(
    ("data", "n"),
    [(b"", 0), (pcap([]), 0), (pcap([b"x"]), 1), (pcap([b"x"]), -1), (pcap([b"x"], link=147), 0)],
)
def test_what_is_not_there_is_refused(data, n):
    with pytest.raises(ParseError, match="tcpdump"):
        dissect.fields(data, n)
