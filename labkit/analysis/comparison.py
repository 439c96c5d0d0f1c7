"""Arms against each other, from interleaved repetitions: a difference, none, or too little to say.

The unit is a repetition, reduced to one number. Repetitions belong to a block (a pair of nodes, a round of
the schedule); each arm is measured in each block, and against itself: `replica` 0 and 1 are the same arm.

Effect: the mean over blocks of log(median of the arm) - log(median of the reference), as a ratio. The median
is estimated as Harrell and Davis do (Biometrika 1982, 69, 635: a weighted mean of the sorted values), because
bootstrap intervals of the plain median of some 15 values are too wide. The interval is the percentile
bootstrap, drawn anew within each block and arm (Efron & Tibshirani 1993, chapters 8 and 13;
`scipy.stats.bootstrap`); a test holds that it covers the truth 93 to 97 % of the time. p of a difference is the inversion of that interval, corrected over the
rows of one table by Benjamini and Hochberg (1995, `scipy.stats.false_discovery_control`). Equivalence is two
one-sided tests (Schuirmann 1987) on the same distribution: p is the larger share beyond either bound.

The bound is the margin that was declared before the data were taken, or the noise floor where that is larger:
what the arms seem to differ from themselves.

    no difference   both one-sided tests reject: whatever there is lies within the bound
    better, worse   the corrected p is under 5 % and the effect is beyond the bound
    unknown         neither; `more` is about how many repetitions an arm are wanting
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from labkit.analysis.statistics import MARGIN, SEED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labkit.analysis.statistics import Better, Floats, Verdict

__all__ = ["ALPHA", "Effect", "compare", "effect", "middle", "noise_floor", "precision"]

ALPHA = 0.05
POWER = 0.8
RESAMPLES = 1999
#: Under so many repetitions of an arm in all, there is no verdict: five or fewer values have too few medians.
FEWEST = 6
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Effect:
    """How an arm stands to its reference, as a ratio; `drawn` are the logarithms of the bootstrap ratios."""

    ratio: float
    low: float
    high: float
    p: float
    drawn: Floats

    def p_equivalent(self, bound: float) -> float:
        """The larger of the two one-sided tests' p: how often the ratio is drawn beyond 1 / (1 + bound) or 1 + bound."""
        if not len(self.drawn):
            return math.nan
        edge = math.log1p(bound)
        return float(max((self.drawn >= edge).mean(), (self.drawn <= -edge).mean()))

    @property
    def half_width(self) -> float:
        """Half the interval of the logarithm: about the relative precision."""
        return (math.log(self.high) - math.log(self.low)) / 2


def effect(
    values: Mapping[object, Floats], reference: Mapping[object, Floats], *, seed: int = SEED
) -> Effect:
    """The effect over the blocks that both have. NaN ends and p where there are under FEWEST repetitions."""
    shared = [block for block in values if block in reference]
    samples = [np.log(group[block]) for group in (values, reference) for block in shared]
    if not shared:
        return Effect(math.nan, math.nan, math.nan, math.nan, np.empty(0))
    point = float(_difference(*samples))
    counts = [sum(len(group[block]) for block in shared) for group in (values, reference)]
    if min(counts) < FEWEST or min(map(len, samples)) < 2:
        return Effect(math.exp(point), math.nan, math.nan, math.nan, np.empty(0))
    found = stats.bootstrap(
        samples, _difference, n_resamples=RESAMPLES, confidence_level=1 - ALPHA, method="percentile",
        vectorized=True, paired=False, rng=np.random.default_rng(seed),
    )  # fmt: skip
    drawn: Floats = np.asarray(found.bootstrap_distribution, dtype=float)
    tail = min((drawn <= 0).mean(), (drawn >= 0).mean())
    p = min(1.0, 2 * max(float(tail), 1 / (RESAMPLES + 1)))
    low, high = found.confidence_interval
    return Effect(math.exp(point), math.exp(low), math.exp(high), p, drawn)


def _difference(*samples: Floats, axis: int = -1) -> Floats:
    """Mean over blocks of the difference of medians; the first half of the samples are the arm's."""
    middles = [middle(sample, axis=axis) for sample in samples]
    half = len(middles) // 2
    found: Floats = np.mean([a - b for a, b in zip(middles[:half], middles[half:], strict=True)], axis=0)
    return found


def middle(values: Floats, axis: int = -1) -> Floats:
    """The median, estimated by Harrell and Davis."""
    n = values.shape[axis]
    weights = np.diff(stats.beta.cdf(np.arange(n + 1) / n, (n + 1) / 2, (n + 1) / 2))
    found: Floats = np.moveaxis(np.sort(values, axis=axis), axis, -1) @ weights
    return found


def _blocks(group: pd.DataFrame, value: str) -> dict[object, Floats]:
    return {block: part.to_numpy(dtype=float) for block, part in group.groupby("block")[value]}


def noise_floor(frame: pd.DataFrame, value: str, by: Sequence[str], *, over: str = "arm") -> pd.DataFrame:
    """Each arm against itself: columns `over`, `by`, `n`, `ratio`, `low`, `high`, `floor`.

    `frame` holds one row a repetition with `block` and `replica`. `floor` is how far the two replicas seem
    to differ, as a share (0.02: 2 %). What was not measured against itself has no row.
    """
    rows = []
    for (member, *cell), group in frame.dropna(subset=[value]).groupby([over, *by], sort=False):
        first, second = (_blocks(group[group["replica"] == k], value) for k in (0, 1))
        if not second:
            continue
        found = effect(first, second)
        floor = abs(math.log(found.ratio)) if not math.isnan(found.ratio) else math.nan
        rows.append((member, *cell, len(group), found.ratio, found.low, found.high, math.expm1(floor)))
    return pd.DataFrame(rows, columns=[over, *by, "n", "ratio", "low", "high", "floor"])


def compare(
    frame: pd.DataFrame,
    value: str,
    by: Sequence[str],
    *,
    better: Better,
    over: str = "arm",
    reference: str = "",
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Every other member of `over` against the reference (the first, unless named), within each group of `by`.

    `frame` holds one row a repetition: `over`, `by`, `block`, `replica` and the value, which is positive.
    Columns: `over`, `reference`, `by`, `n`, `n_reference`, `blocks`, `ratio`, `low`, `high`, `p` (corrected
    over these rows), `p_equivalent`, `floor`, `bound`, `verdict`, `more` (repetitions an arm that are
    wanting; NA where the verdict is known or no number of them would settle it).
    """
    frame = frame.dropna(subset=[value])
    members = list(dict.fromkeys(frame[over]))
    base = reference or (members[0] if members else "")
    floors = noise_floor(frame, value, by, over=over)
    groups = dict(iter(frame.groupby([over, *by], sort=False)))
    found = [
        (member, tuple(cell), effect(_blocks(group, value), _blocks(groups[base, *cell], value)))
        for (member, *cell), group in groups.items()
        if member != base and (base, *cell) in groups
    ]
    corrected = _corrected([effect.p for *_, effect in found])
    rows = []
    for (member, cell, seen), p in zip(found, corrected, strict=True):
        mine, other = groups[member, *cell], groups[base, *cell]
        floor = _floor(floors, over, [member, base], by, cell)
        bound = max(margin, floor)
        says = _verdict(seen, p, bound, better)
        more = _wanting(seen, bound, min(len(mine), len(other))) if says == "unknown" else None
        rows.append((
            member, base, *cell, len(mine), len(other), mine["block"].nunique(), seen.ratio, seen.low,
            seen.high, p, seen.p_equivalent(bound), floor, bound, says, more,
        ))  # fmt: skip
    columns = [
        over, "reference", *by, "n", "n_reference", "blocks", "ratio", "low", "high", "p", "p_equivalent",
        "floor", "bound", "verdict", "more",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"verdict": "str", "more": "Int64"})


def _corrected(ps: list[float]) -> list[float]:
    """p after Benjamini and Hochberg; what has no p is no comparison and stays NaN."""
    known = [p for p in ps if not math.isnan(p)]
    adjusted = iter(stats.false_discovery_control(known).tolist() if known else [])
    return [math.nan if math.isnan(p) else float(next(adjusted)) for p in ps]


def _floor(
    floors: pd.DataFrame, over: str, members: Sequence[object], by: Sequence[str], cell: tuple[object, ...]
) -> float:
    """The larger of the two arms' noise floors in a cell; 0 where neither was measured against itself."""
    mine = floors[over].isin(members)
    for name, wanted in zip(by, cell, strict=True):
        mine &= floors[name] == wanted
    found = floors.loc[mine, "floor"].max()
    return 0.0 if pd.isna(found) else float(found)


def _verdict(seen: Effect, p: float, bound: float, better: Better) -> Verdict:
    if math.isnan(p):
        return "unknown"
    if seen.p_equivalent(bound) < ALPHA:
        return "no difference"
    beyond = abs(math.log(seen.ratio)) > math.log1p(bound)
    if p < ALPHA and beyond:
        return "better" if (seen.ratio > 1) == (better == "higher") else "worse"
    return "unknown"


def _wanting(seen: Effect, bound: float, n: int) -> int | None:
    """About how many more repetitions of each arm would settle it, if the effect is what it seems to be.

    The interval shrinks with the root of n. Beyond the bound it has to leave 1, within it to fit inside; four
    times in five, which takes (1.96 + 0.84) standard errors of room rather than 1.96 (Cohen 1988, chapter 2).
    """
    if math.isnan(seen.low):
        return max(FEWEST - n, 1)
    size, edge = abs(math.log(seen.ratio)), math.log1p(bound)
    room = size if size > edge else edge - size
    if room <= 0:
        return None
    sure = (stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)) / stats.norm.ppf(1 - ALPHA / 2)
    wanted = math.ceil(n * (sure * seen.half_width / room) ** 2)
    return max(wanted - n, 1) if wanted <= MOST else None


def precision(frame: pd.DataFrame, value: str, by: Sequence[str], *, wanted: float = 0.03) -> pd.DataFrame:
    """How precisely each median is known: columns `by`, `n`, `median`, `half_width` (a share), `reached`.

    A schedule stops at the wanted precision. That looks at the width alone, never at the difference, so
    stopping there leaves the tests as they are.
    """
    rows = []
    for cell, group in frame.dropna(subset=[value]).groupby(list(by), sort=False):
        values = group[value].to_numpy(dtype=float)
        width = _half_width(values)
        rows.append((*cell, len(values), float(middle(values)), width, width <= wanted))
    return pd.DataFrame(rows, columns=[*by, "n", "median", "half_width", "reached"])


def _half_width(values: Floats) -> float:
    if len(values) < FEWEST:
        return math.nan
    found = stats.bootstrap(
        (values,), middle, n_resamples=RESAMPLES, confidence_level=1 - ALPHA, method="percentile",
        vectorized=True, rng=np.random.default_rng(SEED),
    ).confidence_interval  # fmt: skip
    return float((found.high - found.low) / 2 / middle(values))
