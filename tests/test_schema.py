import pytest

from labkit.errors import SchemaError
from labkit.schema import Column, Schema

THINGS = Schema(
    "things", "Things.", key=("name", "n"),
    columns=(Column("name", "str", "a name"), Column("n", "Int64", "a count"), Column("took_us", "float64", "a time")),
)  # fmt: skip


def test_an_empty_frame_keeps_columns_order_and_dtypes():
    empty = THINGS.empty()
    assert list(empty.columns) == ["name", "n", "took_us"]
    assert [str(dtype) for dtype in empty.dtypes] == ["str", "Int64", "float64"]


def test_rows_are_sorted_by_key_with_a_plain_index():
    frame = THINGS.frame([{"name": "b", "n": 1, "took_us": 1}, {"name": "a", "n": None, "took_us": 0.0}])
    assert frame["name"].tolist() == ["a", "b"]
    assert frame.index.tolist() == [0, 1]


def test_missing_is_na_and_zero_is_a_measurement():
    frame = THINGS.frame([{"name": None, "n": None, "took_us": None}, {"name": "a", "n": 0, "took_us": 0.0}])
    assert frame.isna().sum().tolist() == [1, 1, 1]
    assert frame.loc[0, "n"] == 0


@pytest.mark.parametrize("row", [
    {"name": "a", "n": 1},
    {"name": "a", "n": 1, "took_us": 1, "more": 2},
    {"name": "a", "n": "many", "took_us": 1},
    {"name": "a", "n": 1.5, "took_us": 1},
])  # fmt: skip
def test_rows_that_do_not_fit_are_refused(row):
    with pytest.raises(SchemaError, match="things"):
        THINGS.frame([row])


def test_the_unit_follows_from_the_name():
    assert [column.unit for column in THINGS.columns] == ["", "", "microseconds"]
