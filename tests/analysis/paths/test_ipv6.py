"""IPv6: the recorded states with every IPv4 address made one of IPv6 are explained hop by hop as they were."""

import re
from functools import cache
from ipaddress import IPv4Address, IPv6Address

import pandas as pd
import pytest

from labkit.analysis.paths import Model
from tests.analysis.paths.states import leaves, model, of_way, state

ADDRESS = re.compile(r"(?<![\w.])(\d+\.\d+\.\d+\.\d+)(?:/(\d+))?(:\d+)?(?![\w.])")
OF_IPV4 = {"rules": "rules6", "chains": "chains6"}
#: Hops by which the ways of both families must be the same.
SAME = ["branch", "probability", "way", "hop", "node", "place", "device", "direction", "tap", "dst_port", "ttl", "encap",
        "rules_walked", "verdict"]  # fmt: skip
ENDS = [("app=frontend", "app=backend/same-node"), ("app=frontend", "app=backend/other-node"), ("app=frontend", "backend-service"),
        ("app=frontend", "1.1.1.1"), ("app=backend", "backend-service"), ("app=frontend", "app=frontend")]  # fmt: skip


def sixth(text):
    """The text with each IPv4 address in it as one of IPv6; ranges and ports go with it."""

    def one(found):
        ip, length, port = found.groups()
        if ip.startswith("127."):
            return "::1/128" if length else "::1"
        new = str(IPv6Address((0xFD << 120) | int(IPv4Address(ip))))
        return f"[{new}]{port}" if port else f"{new}/{96 + int(length)}" if length else new

    return ADDRESS.sub(one, text)


def translated(frame):
    """A frame of state, for IPv6; rows that were IPv6 are left out."""
    if "family" in frame:
        frame = frame[frame["family"] != "inet6"]
    texts = {name: frame[name].map(sixth, na_action="ignore").astype("str") for name in frame.columns
             if frame[name].dtype == "str"}  # fmt: skip
    found = frame.assign(**texts)
    if "prefix_length" in found:
        found["prefix_length"] += 96
    return found.replace({"family": {"inet": "inet6"}}) if "family" in found else found


@cache
def of_ipv6(name):
    frames = {
        OF_IPV4.get(key, key): translated(frame)
        for key, frame in state(name).frames.items()
        if not key.endswith("6")
    }
    return Model(
        state(name).changed(**frames, rules=frames["rules6"].iloc[:0], chains=frames["chains6"].iloc[:0])
    )


@pytest.mark.parametrize("name", ["overlay-vxlan", "overlay-routed", "cilium"])
@pytest.mark.parametrize(("src", "dst"), ENDS)
def test_the_same_state_of_ipv6_gives_the_same_ways(name, src, dst):
    before = model(name).explain(src, dst)
    after = of_ipv6(name).explain(src, sixth(dst))
    pd.testing.assert_frame_equal(before[SAME], after[SAME])
    for column in ("src_ip", "dst_ip", "outer_src_ip", "outer_dst_ip"):
        assert before[column].map(sixth, na_action="ignore").tolist() == pytest.approx(
            after[column].tolist(), nan_ok=True
        )


def test_policy_rules_of_ipv6_are_said_to_be_unread():
    hops = of_ipv6("overlay-vxlan").explain("app=frontend", "app=backend/other-node:80")
    decisions = of_way(hops).set_index("place").loc["routing", "decision"]
    assert decisions.str.contains("rules of IPv6 are not read").any()


def test_rules_that_were_not_read_are_not_taken_for_none():
    found = of_ipv6("overlay-routed").world.state
    frames = {key: frame for key, frame in found.frames.items() if key != "rules6"}
    last = of_way(Model(type(found)(frames)).explain("app=frontend", "app=backend/same-node")).iloc[-1]
    assert (last["verdict"], last["note"]) == (
        "inconclusive",
        "the rules of iptables of family inet6 were not read",
    )


def test_a_drop_in_ip6tables_drops():
    found = of_ipv6("overlay-vxlan").world.state
    rules = found.frames["rules6"]
    first = rules[(rules["node"] == "vxlan-node-0") & (rules["chain"] == "FORWARD")].head(1)
    drop = first.assign(
        position=0,
        rule="-A FORWARD -p icmpv6 -m icmp6 --icmpv6-type 128 -j DROP",
        src=None,
        dst=None,
        target="DROP",
    )
    dropped = Model(found.changed(rules6=pd.concat([drop.astype(rules.dtypes), rules])))
    assert leaves(dropped.explain("app=frontend", "app=backend/other-node")) == [(1.0, "dropped")]
    assert leaves(dropped.explain("app=frontend", "app=backend/other-node:80")) == [(1.0, "delivered")]
