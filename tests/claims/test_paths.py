"""Verdicts on paths: what the recordings show, and that a fault in an arm's state turns them."""

import pytest

from labkit.claims import paths
from labkit.cluster import Cluster
from labkit.exec.request import Reply
from labkit.findings import judge
from tests.conftest import RECORDINGS, arm

EXPLAINED, PROGRAMMED, WITHOUT_RULES = paths.CLAIMS


@pytest.mark.parametrize("name", RECORDINGS)
def test_on_the_recordings(name):
    verdicts = {f.claim: f for f in judge([arm(name)], paths.CLAIMS).findings}
    explained = verdicts["packets-go-as-explained"]
    assert explained.verdict == "supported"
    assert explained.numbers["agreeing"] == explained.numbers["flows"] >= 44
    assert len(explained.evidence) > 8  # captures and state
    assert verdicts["nodes-hold-what-the-api-wants"].verdict == "supported"
    assert verdicts["nodes-hold-what-the-api-wants"].numbers["matching"] > 40
    bypassed = verdicts["services-without-iptables"]
    assert bypassed.verdict == ("supported" if name == "cilium" else "refuted")
    assert (bypassed.numbers["most_rules"] == 0) is (name == "cilium")


class Altered:
    """A replay that answers one command otherwise."""

    def __init__(self, inner, words, old, new):
        self.inner, self.words, self.old, self.new = inner, words, old, new
        self.about = inner.about

    def run(self, request):
        reply = self.inner.run(request)
        if request.words == self.words and request.subject == "node/vxlan-node-0":
            assert self.old in reply.stdout
            return Reply(
                **{f: getattr(reply, f) for f in reply.__slots__}
                | {"output": reply.stdout.replace(self.old, self.new)}
            )
        return reply

    def wait(self, seconds):
        self.inner.wait(seconds)

    def close(self):
        self.inner.close()


@pytest.mark.parametrize(("words", "old", "new", "names"), [
    ("bridge -j fdb show", b'"dst":"10.240.0.5"', b'"dst":"10.240.0.77"', ("forwarding entry 02:42:0a:f4:00:02 dst 10.240.0.77", "1 missing in tunnel")),
    ("ip -j route show table all", b'"dst":"10.244.1.0/24"', b'"dst":"10.254.1.0/24"', ("default via 10.240.0.1", "wrong in route")),
    ("iptables-save -c", b"DNAT --to-destination 10.244.1.3:80", b"DNAT --to-destination 10.244.1.77:80", ("10.244.1.77", "1 stale in iptables")),
])  # fmt: skip
def test_a_fault_is_found_and_named(words, old, new, names):
    real = arm("overlay-vxlan")
    altered = Cluster("altered", real.source, Altered(real.executor, words, old, new))
    explained, programmed = (f for f in judge([altered], (EXPLAINED, PROGRAMMED)).findings)
    assert explained.verdict == programmed.verdict == "refuted"
    assert names[0] in explained.reason
    assert names[1] in programmed.reason
