"""What changed between two readings, with names that mean the same on both."""

from labkit import Lab
from labkit.analysis.state_diff import KEYS, STATE_DIFF, aliases, diff, diff_states, summary
from labkit.collect import services
from labkit.explain import diff_arms, diff_steps
from tests.analysis.paths.states import state
from tests.conftest import arm

KEY = ("node", "table", "chain", "rule")


def of(name, frame="routes"):
    rows = state(name).frames[frame]
    return rows[(rows["table"] == "main") & (rows["family"] == "inet")]


def test_equal_readings_differ_in_nothing():
    rows = state("overlay-vxlan").frames["rules"]
    found = diff(rows, rows, KEY)
    assert found.empty
    assert list(found.columns) == STATE_DIFF.names


def test_rows_that_came_went_and_changed():
    rows = of("overlay-vxlan")
    other = rows[rows["prefix"] != "10.244.1.0/24"].copy()
    other.loc[other["prefix"] == "default", "next_hop"] = "10.240.0.99"
    key = ("node", "table", "prefix")
    found = diff(rows, other, key)
    assert set(found["change"]) == {"removed", "changed"}
    changed = found[found["change"] == "changed"].iloc[0]
    assert (changed["column"], changed["before"], changed["after"]) == (
        "next_hop",
        "10.240.0.1",
        "10.240.0.99",
    )
    assert diff(other, rows, key)["change"].value_counts().to_dict() == {"changed": 2, "added": 2}


def test_two_times_of_one_arm():
    cluster = arm("overlay-vxlan")
    found = diff(services.rules(cluster), services.rules(cluster.at("services-100")), KEY, ignore=("reply", "packets", "matched_bytes", "position"))  # fmt: skip
    assert set(found["change"]) == {"added"}
    assert found["entry"].str.contains("scale-").mean() > 0.9


def test_two_arms_line_up_by_names():
    names = tuple(aliases(state(name)) for name in ("overlay-vxlan", "overlay-routed"))
    found = diff(of("overlay-vxlan"), of("overlay-routed"), ("node", "table", "prefix"), names=names)
    entries = found.set_index("entry")
    assert entries.loc["node 0 main backend on node 0/32", "change"] == "added"
    assert entries.loc["node 0 main pods of node 1", "change"] == "removed"
    assert (
        "interface device of frontend on node 0" in entries.loc["node 0 main frontend on node 0/32", "after"]
    )
    assert "node 0 main default" not in entries.index


def test_addresses_are_named_whole_only():
    found = aliases(state("cilium"))
    assert found["10.0.234.81"] == "cni-lab/backend-service"
    assert found["10.245.1.206"] == found["app-backend-7b798cd7cb-7zdlm"] == "backend on node 1"
    assert found["lxc4525b1f92a91"] == "device of backend on node 1"
    rows = of("overlay-vxlan").head(1).assign(next_hop="10.244.0.44")
    other = rows.assign(next_hop="10.244.0.4")
    names = aliases(state("overlay-vxlan"))
    (row,) = diff(rows, other, ("node", "prefix"), names=(names, names)).to_dict("records")
    assert (row["before"], row["after"]) == ("10.244.0.44", "frontend on node 0")


def test_every_frame_of_a_state_is_compared_by_columns_that_it_has():
    for name in ("overlay-vxlan", "cilium"):
        found = state(name)
        assert diff_states(found, found).empty
        for frame, (key, ignored) in KEYS.items():
            if frame in found.frames:
                assert {*key, *ignored} <= set(found.frames[frame].columns), frame
                assert not found.frames[frame].duplicated([*key, "reply"]).any() or frame in (
                    "rules",
                    "routes",
                ), frame


def test_steps_of_every_arm_differ_in_what_was_done_to_them():
    lab = Lab({"routed": "replay:overlay-routed", "cilium": "replay:cilium"})
    found = lab.each(diff_steps, after="policy-deny-all")
    counted = summary(found).set_index(["arm", "frame"])
    assert (
        counted.loc[("routed", "policy_rules"), "added"]
        == counted.loc[("cilium", "policy_rules"), "added"]
        == 2
    )
    assert counted.loc[("cilium", "policy_map")].tolist() == [14, 0, 0]
    gone = found[found["frame"].eq("policy_map")]
    assert "node 0 frontend on node 0 egress any ANY" in set(gone["entry"])
    assert gone["reply_before"].notna().all()
    assert gone["reply"].isna().all()
    assert lab.each(diff_steps, after="load-balancing").empty


def test_a_step_that_was_not_read_is_a_gap_and_no_difference():
    lab = Lab({"routed": "replay:overlay-routed"})
    assert lab.each(diff_steps, after="nonsense").empty
    assert [gap.reason for gap in lab.gaps] == ["nothing was read in step nonsense"]


def test_arms_differ_under_names_that_both_have():
    lab = Lab({"vxlan": "replay:overlay-vxlan", "routed": "replay:overlay-routed"})
    found = diff_arms(lab.arms.values())
    rows = found.set_index(["frame", "entry"])
    assert rows.loc[("links", "node 0 flannel.1"), "change"] == "removed"
    assert ("routes", "node 0 inet main default") not in rows.index  # by the gateway of the nodes, on both
    nat = found[found["frame"].eq("rules")]
    assert not nat["entry"].str.contains("backend-service").any()  # the same rules, for other addresses
    assert nat["entry"].str.contains("FLANNEL-FWD").any()
    assert not found["entry"].str.contains("fe80::|33:33:").any()
    assert {"routes", "rules", "neighbours"} <= set(summary(found)["frame"])
    assert found[["before_arm", "arm"]].drop_duplicates().to_numpy().tolist() == [["vxlan", "routed"]]
    assert diff_arms([lab.arms["vxlan"]]).columns.tolist() == ["before_arm", "arm", *STATE_DIFF.names]
    changed = found[found["change"] == "changed"]
    assert changed[["reply_before", "reply"]].notna().all(axis=None)


def test_macs_and_chains_of_endpoints_are_named():
    found = aliases(state("overlay-vxlan"))
    assert found["KUBE-SEP-7LFAJJI5DVLPUKRP"] == "KUBE-SEP of cni-lab/backend-service to backend on node 0:80"
    assert found["02:42:0a:f4:00:02"] == "MAC of flannel.1 on node 1"
    assert "00:00:00:00:00:00" not in found
    assert found["10.240.0.1"] == "gateway of the nodes"
    assert "lxc_health" not in aliases(state("cilium"))  # a device of each node
    assert found["10.244.0.1"] == "address of cni0 on node 0"
    assert (found["10.240.0.0/24"], found["10.244.0.0/16"]) == ("network of the nodes", "pods of all nodes")
