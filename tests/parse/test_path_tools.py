"""resolv.conf and `tc qdisc`: recorded replies, and what is none."""

import pytest

from labkit.errors import ParseError
from labkit.parse import qdisc, resolv_conf
from tests.conftest import RECORDINGS, recorded


@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_resolvers(name):
    for reply in recorded(name, "cat /etc/resolv.conf"):
        (row,) = resolv_conf.resolver(reply.stdout).to_dict("records")
        assert row == {
            "nameservers": "10.0.0.10",
            "search": "cni-lab.svc.cluster.local,svc.cluster.local,cluster.local",
            "ndots": 5,
        }


def test_comments_several_servers_and_defaults():
    text = b"# by hand\nnameserver 10.0.0.1 ; first\nnameserver fd00::1\noptions timeout:2 rotate\nsortlist 10.0.0.0\n\n"
    (row,) = resolv_conf.resolver(text).to_dict("records")
    assert (row["nameservers"], row["ndots"]) == ("10.0.0.1,fd00::1", 1)
    assert resolv_conf.resolver(text).isna()["search"].all()


@pytest.mark.parametrize("text", [b"", b"search a.b\n", b"nameserver\n", b"cat: no such file\n", b"\xff"])
def test_what_names_no_server_is_refused(text):
    with pytest.raises(ParseError, match=r"resolv\.conf"):
        resolv_conf.resolver(text)


@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_qdiscs(name):
    for reply in recorded(name, "tc -s -j qdisc show", subject="node"):
        frame = qdisc.qdiscs(reply.stdout)
        assert {"lo", "eth0"} <= set(frame["interface"])
        assert not frame["kind"].eq("clsact").any()


def test_clsact_and_a_child_have_their_parent():
    text = b'[{"kind":"clsact","handle":"ffff:","dev":"eth0","parent":"ffff:fff1","options":{}},{"kind":"mq","handle":"0:","dev":"eth0","root":true,"options":{}}]'
    frame = qdisc.qdiscs(text).set_index("kind")
    assert frame.loc["clsact", "parent"] == "ffff:fff1"
    assert frame.isna().loc["mq", "parent"]
    with pytest.raises(ParseError, match="tc qdisc"):
        qdisc.qdiscs(b'[{"kind":"mq"}]')
