import pandas as pd
import pytest

from labkit.analysis import cpu
from labkit.collect import performance
from tests.conftest import RECORDINGS, arm

ZERO = dict.fromkeys([*cpu.STATES, "guest_s", "guest_nice_s"], 0.0)


def reading(node, boot, when, cpus=2, **seconds):
    known = {
        "arm": "a",
        "repetition": 0,
        "path": "other-node",
        "mode": "tcp",
        "when": when,
        "node": node,
        "boot_id": boot,
    }
    whole = {**known, "cpu": "all", **ZERO, **seconds}
    return [whole, *({**known, "cpu": f"cpu{n}", **ZERO} for n in range(cpus))]


def frame(*readings):
    return pd.DataFrame([row for rows in readings for row in rows])


def test_nodes_with_one_kernel_are_counted_once():
    times = frame(
        reading("n0", "same", "before", idle_s=100, softirq_s=10),
        reading("n1", "same", "before", idle_s=101, softirq_s=10),  # read later, nearer to the run
        reading("n0", "same", "after", idle_s=105, softirq_s=12, system_s=2),  # read first, nearer to the run
        reading("n1", "same", "after", idle_s=109, softirq_s=12, system_s=2),
    )
    (row,) = cpu.busy(times).to_dict("records")
    assert row["window_s"] == pytest.approx(4)  # 8 s of two CPUs
    assert row["busy_s"] == pytest.approx(4)
    assert row["busy_cores"] == pytest.approx(1)
    assert row["softirq_cores"] == pytest.approx(0.5)
    assert cpu.kernels(times)[["nodes", "kernels", "cpus", "counted"]].to_dict("records") == [
        {"nodes": 2, "kernels": 1, "cpus": 2, "counted": "nodes share a kernel: once"}
    ]


def test_nodes_with_kernels_of_their_own_add_up():
    times = frame(
        reading("n0", "one", "before"),
        reading("n1", "two", "before"),
        reading("n0", "one", "after", idle_s=4, system_s=4),
        reading("n1", "two", "after", idle_s=6, user_s=1, nice_s=1),
    )
    (row,) = cpu.busy(times).to_dict("records")
    assert row["busy_s"] == pytest.approx(6)
    assert row["busy_cores"] == pytest.approx(1 + 0.5)
    assert row["user_cores"] == pytest.approx(0.5)
    assert cpu.kernels(times)["counted"].item() == "each node"


def test_time_that_the_hypervisor_took_is_not_busy():
    times = frame(
        reading("n0", "k", "before"), reading("n0", "k", "after", idle_s=4, iowait_s=1, steal_s=2, user_s=1)
    )
    (row,) = cpu.busy(times).to_dict("records")
    assert (row["busy_s"], row["steal_cores"]) == (pytest.approx(1), pytest.approx(0.5))


def test_cost_is_cpu_seconds_a_gigabit():
    times = frame(
        reading("n0", "k", "before"), reading("n0", "k", "after", idle_s=4, system_s=3, softirq_s=1)
    )
    run = {"arm": "a", "repetition": 0, "path": "other-node", "mode": "tcp", "error": None, "received_bps": 8e9,
           "moved_bytes": 4_000_000_000, "reply": "r1"}  # fmt: skip
    (row,) = cpu.cost(cpu.busy(times), pd.DataFrame([run])).to_dict("records")
    assert row["cores_per_gbps"] == pytest.approx(4 / 32)
    assert row["softirq_pct"] == pytest.approx(25)
    assert cpu.cost(cpu.busy(times), pd.DataFrame([{**run, "error": "refused"}])).empty


@pytest.mark.parametrize("name", RECORDINGS)
def test_recorded_nodes_share_one_kernel_of_two_cpus(name):
    times = performance.cpu_times(arm(name), 2, path="other-node").assign(arm=name)
    (row,) = cpu.kernels(times).to_dict("records")
    assert (row["nodes"], row["kernels"], row["cpus"]) == (2, 1, 2)
    # what both nodes show at nearly the same time is the same
    every = times[times["cpu"] == "all"].groupby(["repetition", "mode", "when"])["idle_s"]
    assert (every.max() - every.min()).max() < 1
    busy = cpu.busy(times)
    assert busy["busy_cores"].between(0.5, 2).all()
    assert busy["window_s"].between(2.5, 6).all()
