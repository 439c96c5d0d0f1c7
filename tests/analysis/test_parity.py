"""The gate on facts of any source."""

import pandas as pd
import pytest

from labkit.analysis.parity import blocking, gate, require
from labkit.errors import ParameterError, ParityError


def facts(*rows):
    columns = ["arm", "fact", "value", "expected", "why_it_matters"]
    frame = pd.DataFrame([(*row, "why") for row in rows], columns=columns)
    return frame.astype({"expected": "boolean", **dict.fromkeys(columns[:3], "str"), "why_it_matters": "str"})


FACTS = facts(
    ("a", "zones", "1", False),
    ("a", "VM size", "D4", False),
    ("a", "dataplane", "azure", True),
    ("b", "zones", "1", False),
    ("b", "VM size", "D8", False),
    ("b", "dataplane", "cilium", True),
)


def test_every_fact_is_the_same_allowed_or_blocking():
    gated = gate(FACTS)
    assert gated.columns.tolist() == ["fact", "status", "a", "b", "allowed_by", "why_it_matters"]
    assert gated[["fact", "status", "allowed_by"]].to_numpy().tolist() == [
        ["VM size", "blocking", ""],
        ["dataplane", "allowed", "the arms differ in it"],
        ["zones", "same", ""],
    ]
    with pytest.raises(ParityError, match="differ in VM size") as caught:
        require(gated)
    assert caught.value.fields == ["VM size"]


@pytest.mark.parametrize("name", ["VM size", "vm-size", "vm_size"])
def test_what_is_allowed_does_not_block(name):
    assert blocking(gate(FACTS, [name])) == []


def test_allowing_what_is_the_same_anyway_is_no_difference():
    assert gate(FACTS, ["zones"]).set_index("fact").loc["zones", "status"] == "same"


def test_allowing_what_is_no_fact_would_allow_nothing():
    with pytest.raises(ParameterError, match="those are: zones, vm-size, dataplane"):
        gate(FACTS, ["vmsize"])


def test_a_fact_that_one_arm_lacks_is_a_difference():
    assert blocking(gate(FACTS.head(4))) == ["VM size"]


def test_one_arm_differs_from_nothing():
    assert set(gate(FACTS[FACTS["arm"] == "a"])["status"]) == {"same"}


def test_three_arms():
    third = FACTS[FACTS["arm"] == "b"].assign(arm="c")
    gated = gate(pd.concat([FACTS, third], ignore_index=True))
    assert blocking(gated) == ["VM size"]
    assert gated.columns.tolist()[2:5] == ["a", "b", "c"]


def test_no_facts():
    assert gate(FACTS.head(0)).empty
