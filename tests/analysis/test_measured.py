from labkit.analysis.measured import overview
from labkit.collect import performance


def test_what_the_numbers_rest_on(lab):
    trials, runs = lab.each(performance.trials, repetitions=1), lab.each(performance.runs, repetitions=1)
    times = lab.each(performance.cpu_times, repetitions=1)
    found = overview(trials, runs, times).set_index("arm")
    assert found.index.tolist() == ["overlay", "cilium"]
    assert found["commands"].tolist() == [69, 69]
    assert found["failed"].tolist() == [1, 0]  # UDP through the Service
    assert found["same_time_as"].tolist() == ["", ""]  # one after the other
    assert found["counted"].unique().tolist() == ["nodes share a kernel: once"]
    assert found["congestion"].unique().tolist() == ["bbr"]


def test_arms_that_were_measured_together_are_named(lab):
    trials, runs = lab.each(performance.trials, repetitions=1), lab.each(performance.runs, repetitions=1)
    times = lab.each(performance.cpu_times, repetitions=1)
    first = trials.loc[trials["arm"] == "overlay", "started_at"].reset_index(drop=True)
    both = trials.assign(started_at=[*first, *first])
    assert overview(both, runs, times)["same_time_as"].tolist() == ["cilium", "overlay"]
