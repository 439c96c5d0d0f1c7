import pytest

from labkit.errors import ParseError
from labkit.parse import proc_stat
from tests.conftest import RECORDINGS, recorded

SMALL = b"""cpu  10 1 20 300 4 0 5 6 7 8
cpu0 10 1 20 300 4 0 5 6 7 8
intr 5 0 1
ctxt 7
btime 1795390847
processes 3
procs_running 1
procs_blocked 0
softirq 4 0 1
"""


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_reading_is_read(name):
    replies = recorded(name, "cat /proc/stat", step="performance")
    assert len(replies) == 288
    for reply in replies[:: len(replies) // 24]:
        frame = proc_stat.cpu_times(reply.stdout).set_index("cpu")
        assert frame.index.tolist() == ["all", "cpu0", "cpu1"]
        apart = frame.loc["all"] - frame.loc["cpu0"] - frame.loc["cpu1"]
        assert apart.abs().max() <= 0.02  # each line is rounded for itself


def test_ticks_become_seconds():
    reply = recorded("cilium", "cat /proc/stat", step="performance", subject="cilium-node-0")[0]
    row = proc_stat.cpu_times(reply.stdout).set_index("cpu").loc["all"]
    assert (row["user_s"], row["system_s"], row["idle_s"], row["softirq_s"]) == (
        4828.48,
        1954.59,
        5875.52,
        265.30,
    )
    assert row["steal_s"] == 267.60


def test_states_are_in_the_order_of_the_kernel():
    frame = proc_stat.cpu_times(SMALL)
    assert frame.iloc[0].tolist()[1:] == [0.10, 0.01, 0.20, 3.00, 0.04, 0, 0.05, 0.06, 0.07, 0.08]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "begins with no line cpu"),
        (SMALL[:-15], "ends with no line softirq"),
        (SMALL.replace(b" 7 8\n", b"\n"), "8 states of cpu, not 10"),
        (SMALL.replace(b"ctxt 7", b"cat: /proc/stat"), "not a line of this file"),
        (SMALL.replace(b"cpu  10", b"cpu  ten"), "not a line of this file"),
        (SMALL.split(b"\n", 1)[1], "begins with no line cpu"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_what_is_not_the_whole_file_is_refused(data, problem):
    with pytest.raises(ParseError, match=problem):
        proc_stat.cpu_times(data)
