"""What was measured in turns: arms against each other, against their own nodes, and what it cost.

The frames are those of `measure.results`, with `arm` in front. A trial is a repetition: one number, whatever it
sampled. What a stream comes to is the rate that arrived, of all else the median latency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.analysis.comparison import compare, noise_floor, precision
from labkit.analysis.statistics import MARGIN

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "at_a_glance",
    "caps",
    "contrasts",
    "cost",
    "cost_contrasts",
    "floors",
    "medians",
    "of_host",
    "repetitions",
    "together",
]

SCENARIO = ("pattern", "place", "by", "size", "load")
#: The two things that a trial comes to, and which way is better.
MEASURES = {"received_bps": "higher", "latency_us": "lower"}
#: As netperf calls them: RR is a request and its answer over one connection, CRR a connection for each.
CALLED = {
    "stream": "TCP stream", "stream-4": "4 TCP streams", "udp-stream": "UDP stream", "rr": "RR", "crr": "CRR",
    "udp": "UDP RR", "http": "HTTP, new connection", "http-keep": "HTTP, kept connection",
}  # fmt: skip
ADDRESSED = {"pod-ip": "pod IP", "cluster-ip": "ClusterIP", "node-port": "NodePort", "host": "node to node"}
#: Seconds within which all arms have their turns of one scenario.
TOGETHER_S = 120
#: Seconds that CPU time must have been read over: its counters tick 100 times a second.
TICKS_S = 0.2
#: Shares within which streams count as equal, and within which the trials of one vary, where a cap is seen.
CAP_WITHIN, CAP_SPREAD, CAP_STREAMS = 0.02, 0.01, 3


def repetitions(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that count: without the warm-up, with `block` (the pair) and `measure`, the column it comes to."""
    counted = trials[~trials["warm_up"].astype(bool)]
    streams = counted["received_bps"].notna()
    return counted.assign(
        block=counted["pair"], measure=streams.map({True: "received_bps", False: "latency_us"})
    )


def together(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of rounds that all arms took together: those of one scenario within TOGETHER_S of each other.

    A run that was interrupted and gone on with may hold some arms' turns from before, some from after. Whatever
    the machine did in between would be taken for a difference of the arms.
    """
    turn = [*SCENARIO, "pair", "round"]
    groups = trials.groupby(turn, sort=False)
    span = groups["started_at"].transform("max") - groups["started_at"].transform("min")
    all_there = groups["arm"].transform("nunique") == trials["arm"].nunique()
    return trials[(span <= pd.Timedelta(seconds=TOGETHER_S)) & all_there]


def contrasts(
    trials: pd.DataFrame,
    *,
    over: str = "arm",
    reference: str = "",
    by: Sequence[str] = SCENARIO,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Every other member of `over` against the reference in each scenario: what `comparison.compare` gives.

    Arms are only compared in rounds that they took together (see `together`). In front stands `measure`, and behind the `scenario` in words, `noise` (the floor as a ratio) and `says`: the
    verdict in words, with how much is wanting where it is unknown. Corrected for all comparisons of one measure together.
    """
    counted = repetitions(together(trials) if over == "arm" else trials)
    frames = []
    for measure, better in MEASURES.items():
        mine = counted[counted["measure"] == measure]
        found = compare(mine, measure, list(by), better=better, over=over, reference=reference, margin=margin)  # type: ignore[arg-type]
        found.insert(0, "measure", pd.Series(measure, found.index, dtype="str"))
        frames.append(found)
    table = pd.concat(frames, ignore_index=True)
    return _worded(table)


def _worded(table: pd.DataFrame) -> pd.DataFrame:
    """With `scenario`, `noise` and `says`: what a figure and a reason are made of."""
    rows = table.to_dict("records")
    return table.assign(
        scenario=pd.Series([_scenario(row) for row in rows], table.index, dtype="str"),
        noise=1 + table["floor"],
        says=pd.Series([_says(row) for row in rows], table.index, dtype="str"),
    )


def _scenario(row: dict[Any, Any]) -> str:
    """A scenario in words: `RR, other node, pod IP, 64 B, at 60 % load`."""
    place, by = row["place"].replace("-", " "), row.get("by")
    where = {"host": "node to node" if row["place"] == "other-node" else "node to itself"}.get(
        by or "", f"{place}, {ADDRESSED.get(by, by)}" if by else place
    )
    size = f", {row['size']} B" if row["size"] else ""
    load = f", at {row['load']} % load" if row["load"] else ""
    return f"{CALLED.get(row['pattern'], row['pattern'])}, {where}{size}{load}"


def _says(row: dict[Any, Any]) -> str:
    if row["verdict"] == "no difference" and row["floor"] >= row["bound"]:
        return f"no difference beyond ±{100 * row['bound']:.0f} %"
    if row["verdict"] != "unknown":
        return str(row["verdict"])
    more = row["more"]
    return "unknown: no number settles it" if pd.isna(more) else f"unknown: about {more} more"


def of_host(trials: pd.DataFrame, *, margin: float = MARGIN) -> pd.DataFrame:
    """Each way of addressing a server against the nodes themselves, within each arm: `contrasts` over `by`."""
    by = ["arm", *(name for name in SCENARIO if name != "by")]
    return contrasts(trials, over="by", reference="host", by=by, margin=margin)


def floors(trials: pd.DataFrame) -> pd.DataFrame:
    """Each arm against itself: `measure`, and what `comparison.noise_floor` gives."""
    counted = repetitions(trials)
    frames = []
    for measure in MEASURES:
        found = noise_floor(counted[counted["measure"] == measure], measure, list(SCENARIO))
        found.insert(0, "measure", pd.Series(measure, found.index, dtype="str"))
        frames.append(found)
    return pd.concat(frames, ignore_index=True)


def medians(trials: pd.DataFrame, *, wanted: float = 0.03) -> pd.DataFrame:
    """Each scenario on each arm: `measure`, `n`, `median`, `half_width` (a share) and whether that is as `wanted`.

    Beside it the medians over trials of the percentiles, of retransmissions and losses, and `failed` trials.
    """
    counted, keys = repetitions(trials), ["arm", *SCENARIO]
    frames = []
    for measure in MEASURES:
        mine = counted[counted["measure"] == measure]
        found = precision(mine, measure, keys, wanted=wanted)
        found.insert(len(keys), "measure", pd.Series(measure, found.index, dtype="str"))
        frames.append(found)
    table = pd.concat(frames, ignore_index=True)
    groups = counted.groupby(keys, sort=False)
    beside = groups[
        ["p90_us", "p99_us", "connect_us", "per_s", "retransmits", "loss_pct", "overhead_us"]
    ].median()
    beside["failed"] = groups["error"].count()
    table = table.merge(beside.reset_index(), on=keys)
    words = [_scenario(row) for row in table.to_dict("records")]
    return table.assign(scenario=pd.Series(words, table.index, dtype="str"))


def at_a_glance(medians: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """A row a scenario, a column an arm: the median, half its interval, and what the arm differs from itself by."""
    keys = ["arm", "measure", *SCENARIO]
    both = medians.merge(floors[[*keys, "floor"]], on=keys, how="left")
    cells = [_cell(row) for row in both.to_dict("records")]
    wide = both.assign(cell=cells).pivot_table(
        index="scenario", columns="arm", values="cell", aggfunc="first", sort=False
    )
    wide.columns.name = None
    return wide[list(dict.fromkeys(both["arm"]))].fillna("no result").reset_index()


def _cell(row: dict[Any, Any]) -> str:
    rate = row["measure"] == "received_bps"
    middle = f"{row['median'] / 1e9:.2f} Gbit/s" if rate else f"{row['median']:.1f} µs"
    width = "" if pd.isna(row["half_width"]) else f" ±{100 * row['half_width']:.0f} %"
    floor = "" if pd.isna(row["floor"]) else f", itself ±{100 * row['floor']:.0f} %"
    return middle + width + floor


def cost(busy: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """CPU time for what was moved, a row a trial whose CPU time was read: `busy` is `cpu.busy` of its readings.

    `value` is, of a stream, `cores_per_gbps` (CPU seconds a gigabit), else `cpu_s_per_10k` requests, as `measure`
    says; all machines together, user, system and interrupts. What else the machines did is in it. Trials that took
    less than TICKS_S are left out.
    """
    told = trials.rename(columns={"n": "repetition"})
    frame = busy.merge(told, on=["arm", "repetition"])
    frame = frame[frame["error"].isna() & (frame["window_s"] >= TICKS_S)]
    gigabits = frame["moved_bytes"].astype("float64") * 8 / 1e9
    thousands = frame["requests"].astype("float64") / 1e4
    stream = frame["received_bps"].notna()
    frame["measure"] = stream.map({True: "cores_per_gbps", False: "cpu_s_per_10k"})
    frame["value"] = frame["busy_s"] / gigabits.where(stream, thousands)
    frame["softirq_pct"] = 100 * frame["softirq_cores"] / frame["busy_cores"]
    names = ["arm", *SCENARIO, "pair", "round", "replica", "repetition", "started_at", "measure", "value"]
    frame = frame[[*names, "busy_cores", "softirq_pct", "reply"]]
    # in an order that is the same whichever arms were measured beside: intervals are drawn from it
    arms = frame["arm"].map({arm: n for n, arm in enumerate(dict.fromkeys(trials["arm"]))})
    order = ["first", *SCENARIO, "pair", "round", "replica"]
    return frame.assign(first=arms).sort_values(order, ignore_index=True).drop(columns="first")


def cost_contrasts(costs: pd.DataFrame, *, reference: str = "", margin: float = MARGIN) -> pd.DataFrame:
    """Arms against each other in what `cost` gives; columns as `contrasts`."""
    rows = together(costs).assign(block=lambda frame: frame["pair"])
    table = compare(rows, "value", ["measure", *SCENARIO], better="lower", reference=reference, margin=margin)
    return _worded(table)


def caps(trials: pd.DataFrame) -> pd.DataFrame:
    """Whether streams end at a limit that is not the dataplane's: a flat top. A row an arm and pair.

    Columns `arm`, `pair`, `top_bps`, `streams` (scenarios that were measured), `at_top`, `capped`. A cap is seen where
    CAP_STREAMS scenarios or more, the nodes' own among them, come to within CAP_WITHIN of the fastest, and the trials
    of each vary by no more than CAP_SPREAD (a virtual card that is throttled is that even). Then compare below it.
    """
    counted = repetitions(trials)
    streams = counted[counted["pattern"].isin(["stream", "stream-4"]) & (counted["place"] == "other-node")]
    rows = []
    for (arm, pair), group in streams.groupby(["arm", "pair"], sort=False):
        rates = group.groupby(["pattern", "by"])["received_bps"].agg(["median", "std"])
        top = rates["median"].max()
        flat = (rates["median"] >= (1 - CAP_WITHIN) * top) & (rates["std"] <= CAP_SPREAD * rates["median"])
        hosts = flat[flat.index.get_level_values("by") == "host"].any()
        capped = bool(flat.sum() >= CAP_STREAMS and hosts)
        rows.append((arm, pair, top, len(rates), int(flat.sum()), capped))
    return pd.DataFrame(rows, columns=["arm", "pair", "top_bps", "streams", "at_top", "capped"])
