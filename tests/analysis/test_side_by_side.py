import pandas as pd

from labkit.analysis.side_by_side import side_by_side


def facts(*rows):
    return pd.DataFrame(rows, columns=["arm", "fact", "value", "expected", "why_it_matters"])


def test_arms_become_columns_in_their_order():
    frame = facts(
        ("b", "kernel", "6.1", False, "w"), ("a", "kernel", "6.2", False, "w"), ("a", "zone", None, False, "")
    )
    wide = side_by_side(frame, "fact", "value")
    assert list(wide.columns) == ["fact", "b", "a"]
    assert wide["fact"].tolist() == ["kernel", "zone"]
