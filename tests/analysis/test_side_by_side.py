import pandas as pd

from labkit.analysis.side_by_side import parity, side_by_side


def facts(*rows):
    return pd.DataFrame(rows, columns=["arm", "fact", "value", "expected", "why_it_matters"])


def test_arms_become_columns_in_their_order():
    frame = facts(
        ("b", "kernel", "6.1", False, "w"), ("a", "kernel", "6.2", False, "w"), ("a", "zone", None, False, "")
    )
    wide = side_by_side(frame, "fact", "value")
    assert list(wide.columns) == ["fact", "b", "a"]
    assert wide["fact"].tolist() == ["kernel", "zone"]


def test_parity_tells_a_threat_from_what_is_meant_to_differ():
    table = parity(
        facts(
            ("a", "same", "1", False, ""),
            ("b", "same", "1", False, ""),
            ("a", "range", "10.0", True, ""),
            ("b", "range", "10.1", True, ""),
            ("a", "kernel", "6.1", False, "w"),
            ("b", "kernel", "6.2", False, "w"),
        )
    )
    assert dict(zip(table["fact"], table["status"], strict=True)) == {
        "kernel": "DIFFERS", "range": "expected", "same": "same",
    }  # fmt: skip
    assert table.loc[0, "fact"] == "kernel"  # threats come first


def test_a_fact_that_one_arm_lacks_differs():
    table = parity(facts(("a", "zone", "1", False, ""), ("b", "zone", None, False, "")))
    assert table["status"].tolist() == ["DIFFERS"]


def test_one_arm_has_nothing_to_differ_from():
    assert parity(facts(("a", "kernel", "6.1", False, "")))["status"].tolist() == ["same"]
