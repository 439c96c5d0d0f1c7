import pytest

from labkit.analysis.measured import overview
from labkit.collect import performance
from labkit.schema import concat
from tests.conftest import arm
from tests.measured import each


@pytest.fixture(scope="module")
def frames():
    """The first repetition in two arms."""
    times = [performance.cpu_times(arm(name), 1).assign(arm=name) for name in ("overlay-vxlan", "cilium")]
    trials, runs = (each(collector) for collector in (performance.trials, performance.runs))
    return *(
        frame[(frame["repetition"] == 0) & (frame["arm"] != "overlay-routed")] for frame in (trials, runs)
    ), concat(times)


def test_what_the_numbers_rest_on(frames):
    found = overview(*frames).set_index("arm")
    assert found.index.tolist() == ["overlay-vxlan", "cilium"]
    assert found["commands"].tolist() == [69, 69]
    assert found["failed"].tolist() == [1, 0]  # UDP through the Service
    assert found["same_time_as"].tolist() == ["", ""]  # one after the other
    assert found["counted"].unique().tolist() == ["nodes share a kernel: once"]
    assert found["congestion"].unique().tolist() == ["bbr"]


def test_arms_that_were_measured_together_are_named(frames):
    trials, runs, times = frames
    first = trials.loc[trials["arm"] == "cilium", "started_at"].tolist()
    both = trials.assign(started_at=[*first, *first])
    assert overview(both, runs, times)["same_time_as"].tolist() == ["cilium", "overlay-vxlan"]
