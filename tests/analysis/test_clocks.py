"""How far clocks are apart: planted, bounded from both sides, and unknown where nothing tells."""

import random

import pandas as pd
import pytest

from labkit.analysis.clocks import CLOCKS, clocks
from labkit.analysis.packets import journeys
from labkit.collect import captures, kubernetes
from tests.analysis.wire import PODS, SERVICES, answer, at, seen, syn

APART = pd.DataFrame([("n0", "boot-0"), ("n1", "boot-1")], columns=["node", "boot_id"])
TOGETHER = APART.assign(boot_id="boot")
AHEAD_US = 250_000


def crossed(
    there_us: float, back_us: float, ahead_us: float = AHEAD_US, *, answered: bool = True
) -> pd.DataFrame:
    """A SYN that is on the way for `there_us`, and its answer; n1's clock is ahead."""
    sightings = [("n0 eth0", "nic", syn()), ("n1 eth0", "nic", syn())]
    times = [0, there_us + ahead_us]
    if answered:
        sightings += [("n1 eth0", "nic", answer()), ("n0 eth0", "nic", answer())]
        times += [there_us + 30 + ahead_us, there_us + 30 + back_us]
    return journeys(at(seen(*sightings), times), PODS, SERVICES)


def test_an_offset_is_found_between_its_bounds():
    (row,) = clocks(crossed(7, 9), APART).to_dict("records")
    assert (row["low_us"], row["high_us"]) == (AHEAD_US - 9, AHEAD_US + 7)
    assert (row["node"], row["other"], row["offset_us"]) == ("n0", "n1", AHEAD_US - 1)
    assert (row["basis"], row["packets"]) == ("packets both ways", 2)


def test_it_is_exact_where_both_ways_take_as_long():
    assert clocks(crossed(12, 12, -3_600e6), APART)["offset_us"].tolist() == [-3_600e6]


@pytest.mark.parametrize("seed", range(20))
def test_the_true_offset_is_always_between_the_bounds(seed):
    chance = random.Random(seed)  # noqa: S311
    ahead = chance.randrange(-(10**9), 10**9)
    found = clocks(crossed(chance.randrange(500), chance.randrange(500), ahead), APART).iloc[0]
    assert found["low_us"] <= ahead <= found["high_us"]
    assert abs(found["offset_us"] - ahead) <= (found["high_us"] - found["low_us"]) / 2


def test_the_quickest_packet_of_each_way_counts():
    slow, quick = crossed(400, 300), crossed(7, 9)
    both = pd.concat([slow.assign(packet=slow["packet"] + " slow"), quick], ignore_index=True)
    (row,) = clocks(both, APART).to_dict("records")
    assert (row["low_us"], row["high_us"], row["packets"]) == (AHEAD_US - 9, AHEAD_US + 7, 4)


def test_one_way_alone_tells_no_offset():
    (row,) = clocks(crossed(7, 9, answered=False), APART).to_dict("records")
    assert row["high_us"] == AHEAD_US + 7
    assert pd.isna(row["low_us"])
    assert pd.isna(row["offset_us"])
    assert row["basis"] == "unknown"


def test_nodes_of_one_kernel_have_one_clock():
    (row,) = clocks(crossed(7, 9, 0), TOGETHER).to_dict("records")
    assert (row["basis"], row["offset_us"], row["low_us"], row["high_us"]) == ("same kernel", 0, -9, 7)


def test_a_boot_id_that_is_not_told_is_not_the_same():
    assert clocks(crossed(7, 9), APART.assign(boot_id=""))["basis"].tolist() == ["packets both ways"]


def test_nothing_captured_says_unknown_of_each_pair():
    three = pd.DataFrame([(f"n{n}", f"boot-{n}") for n in range(3)], columns=["node", "boot_id"])
    found = clocks(crossed(7, 9).head(0), three)
    assert found["basis"].tolist() == ["unknown"] * 3
    assert found["packets"].tolist() == [0, 0, 0]


def test_arms_have_their_own_clocks():
    both = pd.concat([crossed(7, 9).assign(arm="a"), crossed(7, 9, 40).assign(arm="b")], ignore_index=True)
    nodes = pd.concat([APART.assign(arm=arm) for arm in "ab"], ignore_index=True)
    found = clocks(both, nodes)
    assert list(found.columns) == ["arm", *CLOCKS.names]
    assert found[["arm", "offset_us"]].to_numpy().tolist() == [["a", AHEAD_US - 1], ["b", 39]]


def test_recorded_nodes_share_a_kernel_and_their_packets_agree(cluster):
    """The method's own check: where the offset is known to be 0, the bounds hold 0, some microseconds apart."""
    ways = journeys(captures.packets(cluster), kubernetes.pods(cluster), kubernetes.services(cluster))
    (row,) = clocks(ways, kubernetes.nodes(cluster)).to_dict("records")
    assert row["basis"] == "same kernel"
    assert -10 < row["low_us"] <= 0 <= row["high_us"] < 10
    assert row["packets"] > 80
