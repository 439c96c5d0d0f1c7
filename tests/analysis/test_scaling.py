import pandas as pd
import pytest

from labkit.analysis import scaling as analysis
from labkit.collect import scaling
from tests.conftest import RECORDINGS
from tests.measured import read

START = pd.Timestamp("2026-01-01T00:00:00Z")


def tried(*codes, started=10.0, total=1.0, duration=10.0, repetition=0):
    rows = [
        {"arm": "a", "services": 100, "position": "last", "repetition": repetition, "n": n, "exit_code": code,
         "total_us": total * 1e6, "connect_us": None if code else 100.0,
         "started_at": START + pd.Timedelta(seconds=started), "duration_s": duration}
        for n, code in enumerate(codes)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def slices(slice_at=None):
    return pd.DataFrame({"arm": ["a"], "services": [100], "service": ["scale-00000"], "created_at": [START],
                         "slice_at": [slice_at], "read_at": [START + pd.Timedelta(seconds=5)]})  # fmt: skip


def test_bounds_of_the_lag():
    # asked for at 10 s, ten seconds long; fetches of 1 s each: two fail, two succeed
    (row,) = analysis.lag(tried(7, 7, 0, 0), slices()).to_dict("records")
    assert row["at_least_s"] == pytest.approx(
        10 + 2 - 1
    )  # the second was over no sooner; creation in whole seconds
    assert row["at_most_s"] == pytest.approx(10 + 10 - 1)  # the third was over no later
    assert (row["failed"], row["without_slice"], row["no_slice_for_s"]) == (2, 1, pytest.approx(4))


def test_no_failure_and_no_success():
    (row,) = analysis.lag(tried(0, 0), slices(START)).to_dict("records")
    assert (row["at_least_s"], row["at_most_s"]) == (0, pytest.approx(19))
    assert pd.isna(row["no_slice_for_s"])
    (row,) = analysis.lag(tried(7, 7), slices()).to_dict("records")
    assert pd.isna(row["at_least_s"])
    assert pd.isna(row["at_most_s"])


def test_failures_and_slow_connections_are_counted():
    frame = tried(7, 28, 0, 0)
    frame.loc[2, "connect_us"] = 1.02e6
    (row,) = analysis.failures(frame).to_dict("records")
    assert (row["asked"], row["failed"], row["slow"], row["exit_codes"]) == (4, 2, 1, "7,28")


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_lag_is_mostly_the_control_planes_in_every_arm(name):
    connections, found = (read(name, c).assign(arm=name) for c in (scaling.connections, scaling.slices))
    row = analysis.lag(connections, found).iloc[-1]
    assert 25 < row["at_least_s"] < row["at_most_s"] < 30
    assert 19 < row["no_slice_for_s"] < 21


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_failed_was_refused_or_ran_out_of_time(name):
    found = analysis.failures(read(name, scaling.connections).assign(arm=name))
    assert found["asked"].eq(600).all()
    assert set(found["exit_codes"].dropna()) <= {"7", "7,28"}
