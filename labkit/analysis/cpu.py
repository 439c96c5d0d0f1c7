"""CPU time that a test took, from readings of `/proc/stat` around it.

A reading counts what the whole machine did, not one test: API server, kubelets, agents and the commands
that took the readings are in it, and so is iperf3's warm-up. So costs here are upper bounds, to be compared
between tests that were measured alike, not to be read as the price of a packet. Under a hypervisor the counters may
account for a little less than the time that passed (94 % of it in the recordings of this project).

Nodes with one boot id share a kernel and show the same counters. They are counted once, between the last
reading before the test and the first one after it.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["busy", "cost", "kernels"]

TEST = ["arm", "repetition", "path", "mode"]
STATES = ["user_s", "nice_s", "system_s", "idle_s", "iowait_s", "irq_s", "softirq_s", "steal_s"]


def kernels(times: pd.DataFrame) -> pd.DataFrame:
    """How many machines there really are: columns `arm`, `nodes`, `kernels`, `cpus`, `counted`."""
    arms = times.groupby("arm", sort=False)
    cpus = times[times["cpu"] != "all"].drop_duplicates(["arm", "boot_id", "cpu"]).groupby("arm", sort=False)
    frame = pd.DataFrame({
        "nodes": arms["node"].nunique(),
        "kernels": arms["boot_id"].nunique(),
        "cpus": cpus.size(),
    })  # fmt: skip
    shared = frame["kernels"] < frame["nodes"]
    return frame.assign(
        counted=shared.map({True: "nodes share a kernel: once", False: "each node"})
    ).reset_index()


def busy(times: pd.DataFrame) -> pd.DataFrame:
    """CPU time of all machines together during each test.

    Columns: `arm`, `repetition`, `path`, `mode`, `window_s` between the readings, `busy_s` of CPU time in it,
    and as a mean over the window `busy_cores`, `user_cores`, `system_cores`, `softirq_cores`, `steal_cores`
    (taken away by the hypervisor; not part of busy).
    """
    every = times[times["cpu"] == "all"].assign(total=times[STATES].sum(axis=1))
    kernel = [*TEST, "boot_id"]
    before = every.loc[every[every["when"] == "before"].groupby(kernel, sort=False)["total"].idxmax()]
    after = every.loc[every[every["when"] == "after"].groupby(kernel, sort=False)["total"].idxmin()]
    counters = [*STATES, "total"]
    earlier = before.set_index(kernel)[counters].reindex(pd.MultiIndex.from_frame(after[kernel]))
    used = (after.set_index(kernel)[counters] - earlier).dropna().reset_index()
    cpus = (
        times[times["cpu"] != "all"].groupby(["arm", "boot_id"])["cpu"].nunique().rename("cpus").reset_index()
    )
    used = used.merge(cpus, on=["arm", "boot_id"])
    used["window_s"] = used["total"] / used["cpus"]
    used["busy_s"] = used["total"] - used[["idle_s", "iowait_s", "steal_s"]].sum(axis=1)
    used["user_s"] += used["nice_s"]
    for state in ("busy", "user", "system", "softirq", "steal"):
        used[f"{state}_cores"] = used[f"{state}_s"] / used["window_s"]
    how = {column: "sum" for column in used.columns if column.endswith("_cores")}
    return used.groupby(TEST, as_index=False, sort=False).agg({"window_s": "mean", "busy_s": "sum", **how})


def cost(busy: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`busy` with what was moved: adds `received_bps`, `moved_bytes`, the run's `reply`, `softirq_pct` of busy,
    and `cores_per_gbps`.

    `cores_per_gbps` is CPU seconds a gigabit moved, which is the cores that one Gbit/s keeps busy. The
    warm-up is in both. Runs that failed have no row.
    """
    done = runs.loc[runs["error"].isna(), [*TEST, "received_bps", "moved_bytes", "reply"]]
    frame = busy.merge(done, on=TEST)
    frame["softirq_pct"] = 100 * frame["softirq_cores"] / frame["busy_cores"]
    frame["cores_per_gbps"] = frame["busy_s"] / (frame["moved_bytes"].astype(float) * 8 / 1e9)
    return frame
