"""Captured flows against predictions: on the recordings they agree; what is altered is found and named."""

from functools import cache

import pandas as pd
import pytest

from labkit.analysis.paths import Model
from labkit.analysis.paths.differences import differences as compare
from labkit.analysis.paths.differences import example, summary
from labkit.analysis.paths.observed import flows
from labkit.collect import captures, kubernetes
from labkit.explain import differences
from labkit.explain.verify import _fetches, _questions
from tests.analysis.paths.states import state, with_rules, without
from tests.conftest import RECORDINGS, arm


@cache
def captured(name):
    cluster = arm(name)
    packets = captures.packets(cluster)
    asked = {**_questions(cluster, packets), **_fetches(cluster)}
    return packets, kubernetes.pods(cluster), captures.taps(cluster), asked


def held_against(name, found):
    """The captures of an arm against what another state predicts."""
    return compare(Model(found), *captured(name))


def wrong(found):
    return found[found["agrees"].eq(other=False).fillna(value=False)]


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_captured_flow_goes_as_predicted(name):
    found = differences(arm(name))
    assert wrong(found).empty
    assert found["agrees"].all()
    counted = summary(found).set_index("protocol")
    assert counted["agreeing"].tolist() == counted["flows"].tolist()
    assert counted.loc["tcp", "flows"] == 8
    assert counted.loc["udp", "flows"] == 32
    answered = found[found["way"] == "2 answer"]["flow"].nunique()
    assert answered == counted["flows"].sum()


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_sighting_of_a_flow_is_compared(name):
    packets, pods, *_ = captured(name)
    seen = {
        (flow.name, way, s.tap, s.node, s.device, s.direction)
        for flow in flows(packets, pods)
        for way, sightings in enumerate((flow.requests, flow.answers))
        for s in sightings
    }
    found = differences(arm(name))
    assert len(found[found["packets"] > 0]) == len(seen)
    assert found["packets"].sum() > 0.95 * len(packets)


def test_the_reason_and_the_replies_stand_beside_each_hop():
    found = differences(arm("overlay-vxlan"))
    row = found[
        (found["device"] == "flannel.1") & (found["observed"].str.startswith("out by flannel.1"))
    ].iloc[0]
    assert row["predicted"] == row["observed"]
    assert "10.244.1.0/24 via 10.244.1.0 dev flannel.1" in row["rests_on"]
    assert row["state_replies"]
    assert row["reply"] not in row["state_replies"].split()


def first(found):
    bad = wrong(found)
    assert len(bad)
    return bad.iloc[0]


def test_a_removed_route_is_named():
    found = held_against(
        "overlay-vxlan",
        without(state("overlay-vxlan"), "routes", node="vxlan-node-0", prefix="10.244.1.0/24"),
    )
    bad = wrong(found)
    assert bad["flow"].nunique() > 5
    unseen = bad[bad["observed"].fillna("").str.startswith("out by flannel.1")]
    assert unseen["differs_in"].eq("not predicted").any()
    other = bad[bad["rests_on"].str.contains("default", na=False)]  # what the packet would do instead
    assert len(other)


def test_a_wrong_forwarding_entry_is_named():
    entries = state("overlay-vxlan").frames["forwarding"].copy()
    mine = (entries["interface"] == "flannel.1") & (entries["node"] == "vxlan-node-0")
    entries.loc[mine, "dst_ip"] = "10.240.0.77"
    bad = wrong(held_against("overlay-vxlan", state("overlay-vxlan").changed(forwarding=entries)))
    wire = bad[
        (bad["device"] == "eth0") & (bad["node"] == "vxlan-node-0") & bad["differs_in"].eq("outer_dst_ip")
    ]
    assert len(wire)
    assert "10.240.0.77" in wire.iloc[0]["predicted"]
    assert "in vxlan 10.240.0.4 to 10.240.0.5" in wire.iloc[0]["observed"]
    dropped = bad[bad["rests_on"].str.contains("10.240.0.77, which is no node", na=False)]
    assert len(dropped)


def test_a_backend_that_rules_do_not_hold_is_named():
    changed = with_rules(
        "overlay-vxlan", "vxlan-node-0", ("--to-destination 10.244.1.3:80", "--to-destination 10.244.1.77:80")
    )
    bad = wrong(held_against("overlay-vxlan", changed))
    row = bad[bad["differs_in"].eq("backend")].iloc[0]
    assert row["predicted"] == "to one of 10.244.0.3, 10.244.1.77"
    assert row["observed"] == "to 10.244.1.3"
    assert "KUBE-SVC-4K57BTWY6C4HU7BK" in row["rests_on"]
    assert row["state_replies"] == "r00034"


def test_a_stale_slot_of_the_service_map_is_named():
    slots = state("cilium").frames["lb_map"].copy()
    slots.loc[(slots["backend_ip"] == "10.245.1.206") & (slots["node"] == "cilium-node-0"), "backend_ip"] = (
        "10.245.1.77"
    )
    row = wrong(held_against("cilium", state("cilium").changed(lb_map=slots)))
    row = row[row["differs_in"].eq("backend")].iloc[0]
    assert (row["predicted"], row["observed"]) == ("to one of 10.245.0.165, 10.245.1.77", "to 10.245.1.206")
    assert "10.0.234.81:80/TCP" in row["rests_on"]


def test_a_policy_that_would_drop_is_named():
    entries = state("cilium").frames["policy_map"]
    gone = (
        (entries["endpoint"] == 3998)
        & (entries["node"] == "cilium-node-0")
        & (entries["direction"] == "egress")
    )
    bad = wrong(held_against("cilium", state("cilium").changed(policy_map=entries[~gone])))
    assert (
        bad["rests_on"]
        .str.contains("egress policy of endpoint 3998 .*: no entry lets it pass", na=False)
        .any()
    )


def test_another_ttl_source_or_order_of_hops_is_a_difference():
    settings = state("overlay-vxlan").frames["sysctls"]
    found = state("overlay-vxlan").changed(sysctls=settings.assign(value="0"))  # no bridge-nf, no forwarding
    bad = wrong(held_against("overlay-vxlan", found))
    assert bad["rests_on"].str.contains("net.ipv4.ip_forward = 0", na=False).any()


def test_a_flow_of_nobody_known_is_not_modelled_and_not_wrong():
    packets, pods, taps, asked = captured("overlay-routed")
    cluster = state("overlay-routed")
    gone = pods["pod"] == "app-frontend-7674669fd8-6lhlr"
    found = compare(Model(cluster.changed(pods=cluster.frames["pods"][~gone])), packets, pods, taps, asked)
    unknown = found[found["agrees"].isna()]
    assert unknown["rests_on"].eq("no pod and no node has the client's address 10.246.0.6").any()
    assert summary(found)["not_modelled"].sum() > 0


def test_two_ports_that_could_be_the_one_are_not_both():
    packets, pods, taps, asked = captured("overlay-vxlan")
    port = packets[(packets["interface"] == "vethc229e748") & (packets["direction"] == "out")]
    flooded = pd.concat([packets, port.assign(interface="vethf282ec69", n=port["n"] + 100000)])
    bad = wrong(compare(Model(state("overlay-vxlan")), flooded, pods, taps, asked))
    assert set(bad["differs_in"]) == {"device"}


def test_where_nothing_was_captured_nothing_is_counted():
    assert summary(differences(arm("cilium")).iloc[:0]).empty


def test_an_example_is_a_flow_that_differs_or_the_longest_of_each_arm():
    whole = pd.concat(
        [differences(arm(name)).assign(arm=name) for name in ("overlay-vxlan", "cilium")], ignore_index=True
    )
    shown = example(whole)
    assert shown.groupby("arm")["flow"].nunique().tolist() == [1, 1]
    sizes = whole[whole["flow"].str.startswith("tcp")].groupby(["arm", "flow"]).size().groupby("arm").max()
    assert shown.groupby("arm").size().to_dict() == sizes.to_dict()
    planted = whole.copy()
    first = planted.index[planted["arm"] == "cilium"][0]
    planted.loc[first, "agrees"] = False
    assert planted.loc[first, "flow"] in set(example(planted)["flow"])
    assert example(whole.iloc[:0]).empty
