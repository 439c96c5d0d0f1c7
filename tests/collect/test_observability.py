"""Hubble, the monitor, logs, counters and the lab's own requests, asked of the recorded arms."""

import pandas as pd
import pytest

from labkit.collect import hubble, logs, monitor
from labkit.collect.commands import as_written
from labkit.collect.fetches import fetches
from labkit.errors import MissingFeature

OF_AGENTS = [
    hubble.flows,
    hubble.lost,
    hubble.dropped,
    hubble.status,
    monitor.monitor,
    monitor.traced_pings,
    as_written,
]


@pytest.mark.parametrize("collect", OF_AGENTS)
def test_an_arm_without_agents_says_so(vxlan, collect):
    with pytest.raises(MissingFeature, match="no Cilium agent"):
        collect(vxlan)


def test_flows_are_of_the_node_that_was_asked(cilium):
    frame = hubble.flows(cilium.at("load-balancing"))
    assert list(frame.columns) == hubble.flows.schema.names
    assert frame.groupby("node").size().to_dict() == {"cilium-node-0": 1000, "cilium-node-1": 1000}
    assert (frame["node_name"].str.split("/").str[1] == frame["node"]).all()


def test_nothing_was_lost_and_the_frame_still_has_its_columns(cilium):
    frame = hubble.lost(cilium.at("load-balancing"))
    assert frame.empty
    assert list(frame.columns) == hubble.lost.schema.names


def test_drops_are_read_where_they_were_asked_for(cilium):
    frame = hubble.dropped(cilium.at("policy-deny-all"))
    assert (frame["verdict"] == "DROPPED").all()
    assert set(frame["reply"]) == {"r00972", "r00979"}


def test_the_ring_is_full_after_the_requests(cilium):
    frame = hubble.status(cilium.at("load-balancing"))
    assert (frame["flows"] == frame["max_flows"]).all()
    assert (frame["seen_flows"] > frame["flows"]).all()


@pytest.mark.parametrize(
    ("kind", "step", "events"),
    [
        ("trace", "monitor", 284),
        ("drop", "policy-deny-all", 8),
        ("policy-verdict", "policy-deny-all", 8),
        ("capture", "monitor", 0),
    ],
)
def test_events_of_both_nodes(cilium, kind, step, events):
    frame = monitor.monitor(cilium.at(step), type=kind)
    assert len(frame) == events
    assert set(frame["type"]) <= {kind}
    assert list(frame.columns) == monitor.monitor.schema.names


def test_one_of_two_echo_requests_is_shown(cilium):
    frame = monitor.traced_pings(cilium.at("monitor"))
    assert frame[["sent", "received", "shown"]].to_numpy().tolist() == [[2, 2, 1]] * 4


def test_backends_log_what_the_frontends_fetched(cluster):
    log = logs.backend_log(cluster.at("load-balancing"), tail=1000)
    made = fetches(cluster.at("load-balancing"))
    assert made.groupby("pod", sort=False)["requests"].sum().tolist() == [700, 700]
    assert (made["answered"] == made["requests"]).all()
    assert made["started_at"].is_monotonic_increasing
    start, end = made["started_at"].min().floor("s"), made["ended_at"].max()
    requests = log[(log["kind"] == "request") & log["time"].between(start, end)]
    assert len(requests) >= 1400


def test_counters_of_every_node(cluster):
    frame = logs.kernel_counters(cluster)
    assert frame["node"].nunique() == 2
    assert frame["value"].dtype == pd.UInt64Dtype()


def test_commands_as_the_run_book_writes_them(cilium):
    frame = as_written(cilium).set_index(["command", "node"])
    nodes = frame.loc["hubble list nodes"]
    assert (nodes["exit_code"] == 1).all()
    assert nodes["said"].str.contains("GetNodes not implemented").all()
    assert (frame.loc["cilium-dbg config | grep -i envoy", "lines"] == 0).all()
    assert frame.loc["cilium-dbg config | grep -i envoy", "said"].isna().all()
    assert (frame.loc["cilium-dbg config --all | grep -i envoy", "lines"] == 2).all()
