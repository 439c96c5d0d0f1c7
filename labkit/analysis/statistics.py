"""Medians, percentiles and contrasts with intervals, and what may be said of them.

A repetition of the plan is the unit: what is sampled within one shares that moment of the machine and is
not independent. So a repetition is first reduced to one number (`per_repetition`), intervals come from
resampling repetitions, and `n` counts repetitions.

Intervals are percentile bootstrap intervals of the median (Efron & Tibshirani 1993, chapter 13) at 95 %,
from RESAMPLES draws with a fixed seed, so the same replies give the same interval. Under normal noise and
with 6 repetitions they cover the true median about 93 %, the true ratio about 95 % of the time (a test
holds both).

Verdicts need an equivalence margin that is declared before the data are looked at:

    no difference   the whole interval of the ratio lies within 1 ± margin
    better, worse   the interval excludes 1, and the ratio is beyond the margin and beyond the noise
    unknown         neither: more repetitions, or a quieter machine, would be needed

The noise is how far the later half of an arm's repetitions lies from its earlier half (`drift`), where
nothing was changed. Arms that were measured one after the other can drift apart by as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CONFIDENCE", "MARGIN", "Better", "Verdict", "contrasts", "drift", "medians", "per_repetition",
    "percentiles", "ratio", "ratio_of_ratios", "verdict",
]  # fmt: skip

CONFIDENCE = 0.95
MARGIN = 0.05
RESAMPLES = 9999
SEED = 20261123

Better = Literal["higher", "lower"]
Verdict = Literal["better", "worse", "no difference", "unknown"]
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def per_repetition(frame: pd.DataFrame, value: str, by: Sequence[str], q: float = 0.5) -> pd.DataFrame:
    """One number a repetition: the quantile `q` of what was sampled in it.

    Columns `by`, `repetition`, the value and `samples`. Missing values (failures) are left out of the
    quantile and of `samples`; a repetition with none left has no row.
    """
    keys = [*by, "repetition"]
    groups = frame.dropna(subset=[value]).groupby(keys, sort=False)[value]
    return groups.quantile(q).to_frame().assign(samples=groups.size()).reset_index()


def interval(values: Floats) -> tuple[float, float]:
    """The interval of the median. NaN where there are fewer than two values."""
    if len(values) < 2:
        return np.nan, np.nan
    found = stats.bootstrap(
        (values,), np.median, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        vectorized=True, rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def ratio(values: Floats, reference: Floats) -> tuple[float, float, float]:
    """Ratio of the medians, and its interval. NaN ends where either has fewer than two values."""
    point = float(np.median(values) / np.median(reference)) if len(values) and len(reference) else np.nan
    if min(len(values), len(reference)) < 2:
        return point, np.nan, np.nan
    found = stats.bootstrap(
        (values, reference), _ratio_of_medians, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
        method="percentile", vectorized=True, paired=False, rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return point, float(found.confidence_interval.low), float(found.confidence_interval.high)


def _ratio_of_medians(values: Floats, reference: Floats, axis: int = -1) -> Floats:
    quotient: Floats = np.median(values, axis=axis) / np.median(reference, axis=axis)
    return quotient


def ratio_of_ratios(
    values: Floats, values_before: Floats, reference: Floats, reference_before: Floats
) -> tuple[float, float, float]:
    """How much more the values grew than the reference did, by medians, and its interval."""
    four = (values, values_before, reference, reference_before)
    if min(map(len, four)) == 0:
        return np.nan, np.nan, np.nan
    point = float(_growth_ratio(*four))
    if min(map(len, four)) < 2:
        return point, np.nan, np.nan
    found = stats.bootstrap(
        four, _growth_ratio, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        vectorized=True, paired=False, rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return point, float(found.confidence_interval.low), float(found.confidence_interval.high)


def _growth_ratio(
    after: Floats, before: Floats, other: Floats, other_before: Floats, axis: int = -1
) -> Floats:
    return _ratio_of_medians(after, before, axis) / _ratio_of_medians(other, other_before, axis)


def verdict(
    ratio: float, low: float, high: float, *, better: Better, margin: float = MARGIN, noise: float = 1
) -> Verdict:
    """What a ratio and its interval allow to say, with this margin and this noise (a ratio of 1 or more)."""
    if 1 - margin <= low and high <= 1 + margin:
        return "no difference"
    if low > 1 and ratio > max(1 + margin, noise):
        return "better" if better == "higher" else "worse"
    if high < 1 and ratio < min(1 - margin, 1 / noise):
        return "worse" if better == "higher" else "better"
    return "unknown"


def medians(frame: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Median over repetitions, with its interval: columns `by`, `n`, `median`, `low`, `high`.

    `frame` holds one row a repetition.
    """
    rows = []
    for keys, group in frame.dropna(subset=[value]).groupby(list(by), sort=False):
        values = group[value].to_numpy(dtype=float)
        low, high = interval(values)
        rows.append((*keys, len(values), float(np.median(values)), low, high))
    return pd.DataFrame(rows, columns=[*by, "n", "median", "low", "high"])


def contrasts(
    frame: pd.DataFrame,
    value: str,
    by: Sequence[str],
    *,
    better: Better,
    over: str = "arm",
    reference: str = "",
    margin: float = MARGIN,
    control: float = 1,
) -> pd.DataFrame:
    """Every other member of `over` against the reference, within each group of `by`.

    `frame` holds one row a repetition. The reference is the first member in the frame unless it is named.
    `control` is the same ratio of something that what is compared cannot change (a command that sends no
    packet, a ping that meets no pod): as far as that differs, the machine did.
    Columns: `over`, `reference`, `by`, `n`, `n_reference`, `ratio`, `low`, `high`, `noise` (the largest of
    the two drifts and the control, as a ratio of 1 or more) and `verdict`. A group in which the reference
    or the member has no values has no row.
    """
    members = list(dict.fromkeys(frame[over]))
    base = reference or (members[0] if members else "")
    groups = {
        keys: group.sort_values("repetition")[value].to_numpy(dtype=float)
        for keys, group in frame.dropna(subset=[value]).groupby([over, *by], sort=False)
    }
    rows = []
    for (member, *rest), values in groups.items():
        if member == base or (base, *rest) not in groups:
            continue
        other = groups[base, *rest]
        found = ratio(values, other)
        noise = max(_noise(values), _noise(other), control, 1 / control)
        says = verdict(*found, better=better, margin=margin, noise=noise)
        rows.append((member, base, *rest, len(values), len(other), *found, noise, says))
    columns = [over, "reference", *by, "n", "n_reference", "ratio", "low", "high", "noise", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _halves(values: Floats) -> float:
    """The median of the later half over that of the earlier one; of an odd number, the middle is in neither."""
    half = len(values) // 2
    return float(np.median(values[-half:]) / np.median(values[:half])) if half else np.nan


def _noise(values: Floats) -> float:
    found = _halves(values)
    return 1.0 if np.isnan(found) else max(found, 1 / found)


def drift(frame: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """How much an arm changed while nothing was changed: its later repetitions over its earlier ones.

    Columns `by`, `n`, `later_over_earlier`.
    """
    rows = [
        (*keys, len(group), _halves(group.sort_values("repetition")[value].to_numpy(dtype=float)))
        for keys, group in frame.dropna(subset=[value]).groupby(list(by), sort=False)
    ]
    return pd.DataFrame(rows, columns=[*by, "n", "later_over_earlier"])


def percentiles(
    frame: pd.DataFrame, value: str, by: Sequence[str], qs: Sequence[float] = (0.5, 0.9, 0.99)
) -> pd.DataFrame:
    """Percentiles of all samples together, with intervals from drawing whole repetitions.

    Columns `by`, `quantile`, `n` (repetitions), `samples`, `value`, `low`, `high`.
    """
    rows = []
    for keys, group in frame.dropna(subset=[value]).groupby(list(by), sort=False):
        blocks = [block.to_numpy(dtype=float) for _, block in group.groupby("repetition")[value]]
        ends = _block_bootstrap(blocks, qs)
        points = np.quantile(np.concatenate(blocks), qs)
        for q, point, (low, high) in zip(qs, points, ends, strict=True):
            rows.append((*keys, q, len(blocks), len(group), float(point), low, high))
    return pd.DataFrame(rows, columns=[*by, "quantile", "n", "samples", "value", "low", "high"])


def _block_bootstrap(
    blocks: Sequence[Floats], qs: Sequence[float], draws: int = 999
) -> list[tuple[float, float]]:
    if len(blocks) < 2:
        return [(np.nan, np.nan)] * len(qs)
    rng = np.random.default_rng(SEED)
    picks = rng.integers(len(blocks), size=(draws, len(blocks)))
    drawn = np.array([np.quantile(np.concatenate([blocks[i] for i in pick]), qs) for pick in picks])
    tail = (1 - CONFIDENCE) / 2
    ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]
