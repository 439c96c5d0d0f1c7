"""The canary decides what a verdict is worth."""

import pandas as pd
import pytest

from labkit.analysis.enforcement import canary, gate


def probes(*outcomes, expected=("allowed", "blocked"), kind="pod", protocol="TCP", arm="a"):
    """One flow a pair of outcomes: in policy-none and in policy-deny-all; and one probe after them."""
    rows = [
        (arm, step, f"pod{n}", kind, protocol, "10.0.0.1", want, got, f"r{n}{step[-1]}")
        for n, pair in enumerate(outcomes)
        for step, want, got in zip(("policy-none", "policy-deny-all"), expected, pair, strict=True)
    ]
    rows.append((arm, "policy-removed", "pod0", kind, protocol, "10.0.0.1", "allowed", "allowed", "r9"))
    columns = ["arm", "step", "pod", "kind", "protocol", "dst_ip", "expected", "outcome", "reply"]
    frame = pd.DataFrame(rows, columns=columns).astype("str")
    return frame.assign(
        verdict=(frame["expected"] == frame["outcome"]).map({True: "agrees", False: "differs"})
    )


STOPPED, PASSED, BROKEN = ("allowed", "blocked"), ("allowed", "allowed"), ("blocked", "blocked")


@pytest.mark.parametrize(
    ("outcomes", "word"),
    [
        ((STOPPED, STOPPED), "enforced"),
        ((PASSED, PASSED), "not enforced"),
        ((STOPPED, PASSED), "partly enforced"),
        ((BROKEN, STOPPED), "enforced"),
        ((BROKEN, PASSED), "not enforced"),
        ((BROKEN, BROKEN), "inconclusive"),
    ],
)
def test_the_canary(outcomes, word):
    row = canary(probes(*outcomes)).iloc[0]
    assert row["canary"] == word
    assert row["canaries"] == 2
    assert row["replies"] == "r0e,r1e,r0l,r1l"


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "service-name"},
        {"protocol": "ICMP"},
        {"expected": ("allowed", "allowed")},
        {"expected": ("blocked", "blocked")},
    ],
)
def test_what_is_no_canary(other):
    row = canary(probes(STOPPED, **other)).iloc[0]
    assert (row["canaries"], row["canary"]) == (0, "inconclusive")


@pytest.mark.parametrize(
    ("outcomes", "before", "after"),
    [
        ((STOPPED,), "agrees", ["agrees", "agrees"]),
        ((PASSED,), "agrees", ["not enforced", "not enforced"]),
        ((BROKEN,), "differs", ["unknown", "unknown"]),
        ((STOPPED, PASSED), "agrees", ["agrees", "differs", "agrees"]),
    ],
)
def test_the_gate_is_shut_where_the_canary_got_through(outcomes, before, after):
    frame = probes(*outcomes)
    gated = gate(frame, canary(frame))
    first = gated["step"] == "policy-none"
    assert set(gated.loc[first, "verdict"]) == {before}
    assert gated.loc[~first, "verdict"].tolist() == after


def test_each_arm_has_its_own_canary():
    frame = pd.concat([probes(PASSED, arm="x"), probes(STOPPED, arm="y")], ignore_index=True)
    found = canary(frame)
    assert found[["arm", "canary"]].to_numpy().tolist() == [["x", "not enforced"], ["y", "enforced"]]
    gated = gate(frame, found)
    assert set(gated.loc[gated["arm"] == "y", "verdict"]) == {"agrees"}
    assert "not enforced" in set(gated.loc[gated["arm"] == "x", "verdict"])


def test_one_arm_needs_no_column():
    frame = probes(PASSED).drop(columns="arm")
    found = canary(frame)
    assert found["canary"].tolist() == ["not enforced"]
    assert gate(frame, found)["verdict"].tolist() == ["agrees", "not enforced", "not enforced"]


def test_nothing_gives_nothing():
    frame = probes(PASSED)[:0]
    found = canary(frame)
    assert found.empty
    assert gate(frame, found).empty
