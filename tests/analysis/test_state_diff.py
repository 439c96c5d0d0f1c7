"""What changed between two readings, with names that mean the same on both."""

from labkit.analysis.state_diff import STATE_DIFF, aliases, diff
from labkit.collect import services
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
    assert entries.loc["node 0 main default", "column"] == "next_hop"


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
