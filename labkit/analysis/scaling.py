"""What more Services do: failures, connection times, and how long a new Service takes to work."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["failures", "lag"]


def failures(connections: pd.DataFrame) -> pd.DataFrame:
    """Connections asked for and failed, and why: a failure has no connection time and is counted here.

    Columns `arm`, `services`, `position`, `asked`, `failed`, `exit_codes` (curl's, of the failures),
    `slow` (connected, but only after 0.9 s: a first packet was lost or refused and sent again).
    """
    by = ["arm", "services", "position"]
    failed = connections["exit_code"] != 0
    codes = (
        connections[failed].groupby(by)["exit_code"].agg(lambda c: ",".join(str(v) for v in sorted(set(c))))
    )
    counted = connections.assign(failed=failed, slow=connections["connect_us"] > 0.9e6).groupby(
        by, sort=False
    )
    frame = counted.agg(asked=("failed", "size"), failed=("failed", "sum"), slow=("slow", "sum"))
    return frame.join(codes.rename("exit_codes")).reset_index()


def lag(connections: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
    """How long the last Service took from its creation to its first connection, as bounds.

    A connection that fails shows that the lag is longer, one that succeeds that it is over; the time of a
    connection in its command is known only from the times of those before and after it, and the creation
    in whole seconds. Both widen the bounds. Where nothing failed, the lower bound is 0.

    Columns `arm`, `services`, `failed`, `at_least_s`, `at_most_s`; and of the API when it was asked for
    EndpointSlices, before the first connection: `without_slice` of `extra` Services, and
    `no_slice_for_s`, how long the last one had been without (NaN where it had one). As long as there is
    no EndpointSlice the dataplane has nothing to program: that part of the lag is the control plane's.
    """
    rows = []
    for (arm, services), extra in slices.groupby(["arm", "services"], sort=False):
        mine = connections[(connections["arm"] == arm) & (connections["services"] == services)]
        tried = mine[mine["position"] == "last"].sort_values(["repetition", "n"])
        last = extra.sort_values("service").iloc[-1]
        waited = (last["read_at"] - last["created_at"]).total_seconds() - 1
        missing = extra["slice_at"].isna()
        rows.append((
            arm, services, int((tried["exit_code"] != 0).sum()), *_bounds(tried, last["created_at"]),
            int(missing.sum()), len(extra), waited if pd.isna(last["slice_at"]) else np.nan,
        ))  # fmt: skip
    names = ["failed", "at_least_s", "at_most_s", "without_slice", "extra", "no_slice_for_s"]
    return pd.DataFrame(rows, columns=["arm", "services", *names])


def _bounds(tried: pd.DataFrame, created: pd.Timestamp) -> tuple[float, float]:
    """Bounds of the time from `created` to the first success in `tried`, in order. NaN where there is none."""
    began = (tried["started_at"] - created).dt.total_seconds()
    total = tried["total_us"] / 1e6
    spent = total.groupby(tried["repetition"]).cumsum()
    left = total.groupby(tried["repetition"]).transform("sum") - spent
    over_from, over_until = (began + spent).to_numpy(), (began + tried["duration_s"] - left).to_numpy()
    good = (tried["exit_code"] == 0).to_numpy()
    if not good.any():
        return np.nan, np.nan
    first = int(good.argmax())
    return (0.0 if first == 0 else float(over_from[first - 1]) - 1), float(over_until[first])
