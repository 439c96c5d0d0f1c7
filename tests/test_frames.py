"""Every frame is declared well, and the page that lists them is current."""

import pytest

from labkit import frames
from labkit.schema import UNITS

BY_ID = {f"{home}:{schema.name}": schema for home, schema in frames.schemas()}
#: Words that say a column is a quantity with a unit, so that its name must end in the unit.
QUANTITIES = ("bytes", "seconds", "milliseconds", "latency", "duration", "rtt", "bandwidth", "throughput")


def test_the_page_is_current():
    assert frames.PAGE.read_text() == frames.page(), "run `make frames`"


def test_no_two_frames_of_a_module_share_a_name():
    assert len(BY_ID) == len(list(frames.schemas()))


@pytest.mark.parametrize("name", BY_ID)
def test_a_frame_is_declared_whole(name):
    schema = BY_ID[name]
    assert set(schema.key) <= set(schema.names)
    assert len(set(schema.names)) == len(schema.names)
    assert schema.meaning
    assert all(column.meaning for column in schema.columns)
    assert list(schema.empty().columns) == schema.names


@pytest.mark.parametrize("name", BY_ID)
def test_quantities_end_in_their_unit(name):
    for column in BY_ID[name].columns:
        if any(word in column.name.split("_") for word in QUANTITIES):
            assert any(column.name.endswith(unit) for unit in UNITS), column.name
