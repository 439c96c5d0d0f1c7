from labkit.claims import CLAIMS
from labkit.findings import judge
from labkit.on_aks import beside, on_aks
from tests.conftest import arm

GRADES = {"documented", "source code", "test manifest"}


def test_every_row_is_about_a_claim_and_says_where_it_is_written():
    known = on_aks()
    assert set(known["claim"]) <= {claim.id for claim in CLAIMS}
    assert set(known["dataplane"]) == {"overlay", "cilium"}
    assert set(known["verdict"]) <= {"supported", "refuted", "inconclusive"}
    assert set(known["grade"]) <= GRADES
    assert (known[["because", "source"]] != "").all(axis=None)
    assert not known.duplicated(["claim", "dataplane"]).any()


def test_what_differs_from_aks_comes_first():
    wanted = {"vxlan-between-nodes", "cilium-faster-throughput"}
    arms = [arm("overlay-vxlan"), arm("overlay-routed"), arm("cilium")]
    table = beside(judge(arms, [c for c in CLAIMS if c.id in wanted]).frame(), arms)
    verdicts = {(row.claim, row.arm): (row.here, row.on_aks) for row in table.itertuples()}
    assert verdicts["vxlan-between-nodes", "overlay-vxlan"] == ("supported", "refuted")
    assert verdicts["vxlan-between-nodes", "overlay-routed"] == ("refuted", "refuted")
    assert ("cilium-faster-throughput", "cilium vs overlay-vxlan") in verdicts
    differs = (table["here"] != table["on_aks"]).tolist()
    assert differs == sorted(differs, reverse=True)
