"""What each thousand more of something costs: slopes with intervals, their differences, and where lines cross.

A repetition is the unit, reduced to one number (`statistics.per_repetition`). At each size the middle of the
repetitions is taken (Harrell and Davis, as in `comparison`), and a line is laid through the middles by least
squares, weighed by how many repetitions each has. Intervals are percentile bootstrap intervals at 95 %:
repetitions are drawn anew within each size (Efron & Tibshirani 1993, chapter 9.5), for each arm by itself. A
test holds by simulation how often they cover the truth.

Sizes are measured one after the other, so a slope holds the drift of the machine too. Something measured in
the same repetitions that the size cannot change (a control) shows how much that was: what grew by no more than
the control did is `unknown`.

    grows, shrinks   the interval excludes 0, and the growth over the range is beyond margin and control
    flat             the growth over the whole range lies within the margin, with its whole interval
    unknown          neither, or under FEWEST repetitions at a size: so few have too few medians for an interval
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labkit.analysis.comparison import FEWEST, middle
from labkit.analysis.statistics import CONFIDENCE, MARGIN, SEED, per_repetition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labkit.analysis.statistics import Floats

__all__ = ["PER", "as_ratios", "differences", "entries_each", "repetitions", "slopes"]

PER = 1000
RESAMPLES = 1999
TAIL = 100 * (1 - CONFIDENCE) / 2
NOWHERE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Line:
    """A line through the middles at each size, and those of the resamples: slopes for one more, and values at 0."""

    sizes: Floats
    n: int
    #: Repetitions at the size that has fewest.
    fewest: int
    #: The middle at the smallest size: what growth is compared with.
    first: float
    slope: float
    at_zero: float
    slopes: Floats
    at_zeros: Floats

    @property
    def span(self) -> float:
        return float(np.ptp(self.sizes))


def repetitions(frame: pd.DataFrame, value: str, by: Sequence[str], control: str) -> pd.DataFrame:
    """One row a repetition with the medians of a value and of its control: columns `by`, `repetition`, both."""
    found = (per_repetition(frame, name, by).drop(columns="samples") for name in (value, control))
    return next(found).merge(next(found), on=[*by, "repetition"])


def slopes(
    frame: pd.DataFrame,
    value: str,
    by: Sequence[str] = (),
    *,
    size: str = "services",
    control: str = "",
    margin: float = MARGIN,
) -> pd.DataFrame:
    """The slope of each arm: what PER more cost.

    `frame` holds one row a repetition: `arm`, `by`, the size and the value, and the control if it is named.
    Columns: `arm`, `by`, `sizes`, `n` (repetitions in all), `first` (the middle at the smallest size), `slope`
    (a PER), `low`, `high`, `growth_pct` (over the range, of `first`), `control_pct` (the same of the control; 0
    without one), `verdict`. One size only has no slope and no row; under two repetitions at a size there is no
    interval.
    """
    moved = dict(_lines(frame, control, by, size)) if control else {}
    rows = []
    for key, line in _lines(frame, value, by, size):
        low, high = _ends(line.slopes)
        drift = abs(_growth(moved[key])) if key in moved else 0.0
        says = _grows(line, low, high, margin, drift)
        rows.append((
            *key, ", ".join(f"{at:g}" for at in line.sizes), line.n, line.first, PER * line.slope, PER * low,
            PER * high, 100 * _growth(line), 100 * drift, says,
        ))  # fmt: skip
    names = ["sizes", "n", "first", "slope", "low", "high", "growth_pct", "control_pct", "verdict"]
    return pd.DataFrame(rows, columns=["arm", *by, *names])


def differences(
    frame: pd.DataFrame,
    value: str,
    by: Sequence[str] = (),
    *,
    size: str = "services",
    reference: str = "",
    control: str = "",
    margin: float = MARGIN,
) -> pd.DataFrame:
    """The slope of every other arm less that of the reference (the first, unless named), and where they cross.

    Columns: `arm`, `reference`, `by`, `difference` (of slopes, a PER), `low`, `high`, `verdict` (`steeper`, `less
    steep`, `no difference`: within the margin over the whole range, `unknown`), `crossing` (`within the range`,
    `beyond the range`, `none`: the lines cross at no size from the smallest measured on, `unknown`), `at` (the size),
    `at_low`, `at_high`. What crosses beyond the range is extrapolated. Slopes that differ by no more than a
    control changed in either arm are `unknown`, and so is where they cross.
    """
    moved = dict(_lines(frame, control, by, size)) if control else {}
    lines = dict(_lines(frame, value, by, size))
    base = reference or next((key[0] for key in lines), "")
    rows = []
    for (arm, *cell), line in lines.items():
        other = lines.get((base, *cell))
        if arm == base or other is None:
            continue
        low, high = _ends(line.slopes - other.slopes)
        drift = max(
            (abs(_growth(moved[key, *cell])) for key in (arm, base) if (key, *cell) in moved), default=0.0
        )
        enough = min(line.fewest, other.fewest) >= FEWEST
        beyond = drift <= margin or abs(line.slope - other.slope) > drift * _unit(line, other)
        sure = enough and beyond and (low > 0 or high < 0)
        says = _steeper(line, other, (low, high), sure=sure, same=enough and drift <= margin, margin=margin)
        meet = _crossing(line, other) if sure else ("unknown", *NOWHERE)  # parallel ones meet nowhere
        rows.append((
            arm, base, *cell, PER * (line.slope - other.slope), PER * low, PER * high, says, *meet,
        ))  # fmt: skip
    names = ["difference", "low", "high", "verdict", "crossing", "at", "at_low", "at_high"]
    return pd.DataFrame(rows, columns=["arm", "reference", *by, *names])


def as_ratios(found: pd.DataFrame, measure: str, path: str) -> pd.DataFrame:
    """Slopes as what PER more make of the value at the smallest size: ratios as `shapes.beside` takes them.

    What was measured with fewer than PER has no row: it would be extrapolated.
    """
    rows = [
        (measure, path, row["arm"], f"{PER} more Services", "few Services",
         *(1 + row[name] / row["first"] for name in ("slope", "low", "high")))
        for row in found.to_dict("records")
        if float(row["sizes"].split(", ")[-1]) >= PER
    ]  # fmt: skip
    return pd.DataFrame(
        rows, columns=["measure", "path", "within", "arm", "reference", "ratio", "low", "high"]
    )


def entries_each(holdings: pd.DataFrame, size: str = "services") -> pd.DataFrame:
    """Rules or entries that one more costs a node: counted, not estimated. The node with most counts.

    `holdings` has `arm`, the size, `holds` and `entries`. Columns: `arm`, `holds`, `fewest`, `most` (sizes),
    `entries_fewest`, `entries_most`, `each`.
    """
    most = holdings.groupby(["arm", "holds", size], sort=False)["entries"].max().reset_index()
    rows = []
    for (arm, holds), group in most.groupby(["arm", "holds"], sort=False):
        ordered = group.sort_values(size)
        (few, held), (many, then) = (ordered[[size, "entries"]].iloc[at] for at in (0, -1))
        each = (then - held) / (many - few) if many > few else math.nan
        rows.append((arm, holds, int(few), int(many), int(held), int(then), float(each)))
    names = ["arm", "holds", "fewest", "most", "entries_fewest", "entries_most", "each"]
    return pd.DataFrame(rows, columns=names)


def _lines(
    frame: pd.DataFrame, value: str, by: Sequence[str], size: str
) -> Iterator[tuple[tuple[str, ...], Line]]:
    """The line of each arm and group that was measured at two sizes or more."""
    for key, group in frame.dropna(subset=[value]).groupby(["arm", *by], sort=False):
        at: dict[float, Floats] = {
            float(str(s)): part[value].to_numpy(dtype=float) for s, part in group.groupby(size)
        }
        if len(at) > 1:
            named = tuple(map(str, key))
            yield named, _line(at, "/".join(named))


def _line(at: dict[float, Floats], name: str) -> Line:
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])  # arms are drawn independently
    sizes, samples = np.array(list(at)), list(at.values())
    weights = np.array([len(sample) for sample in samples], dtype=float)
    middles = np.array([middle(sample) for sample in samples])
    slope, at_zero = _fit(sizes, weights, middles)
    drawn: Floats = np.full((RESAMPLES, len(sizes)), np.nan)
    if min(weights) > 1:
        draws = [s[rng.integers(len(s), size=(RESAMPLES, len(s)))] for s in samples]
        drawn = np.stack([middle(draw) for draw in draws], axis=-1)
    many, zeros = _fit(sizes, weights, drawn)
    counts = int(weights.sum()), int(weights.min())
    return Line(sizes, *counts, float(middles[0]), float(slope), float(at_zero), many, zeros)


def _fit(x: Floats, weights: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Slope and value at 0 by weighted least squares; the last axis of `y` are the sizes."""
    share = weights / weights.sum()
    away = x - share @ x
    slope: Floats = (y @ (share * away)) / (share @ away**2)
    at_zero: Floats = y @ share - slope * (share @ x)
    return slope, at_zero


def _ends(drawn: Floats) -> tuple[float, float]:
    if np.isnan(drawn).any():
        return math.nan, math.nan
    low, high = np.percentile(drawn, [TAIL, 100 - TAIL])
    return float(low), float(high)


def _growth(line: Line) -> float:
    return line.slope * line.span / line.first


def _grows(line: Line, low: float, high: float, margin: float, drift: float) -> str:
    room = max(margin, drift) * line.first / line.span
    if math.isnan(low) or line.fewest < FEWEST:
        return "unknown"
    if drift <= margin and -room <= low and high <= room:
        return "flat"
    if low > 0 and line.slope > room:
        return "grows"
    return "shrinks" if high < 0 and line.slope < -room else "unknown"


def _unit(line: Line, other: Line) -> float:
    """The slope that would double the reference over the range."""
    return other.first / max(line.span, other.span)


def _steeper(
    line: Line, other: Line, ends: tuple[float, float], *, sure: bool, same: bool, margin: float
) -> str:
    """What may be said of two slopes: `sure` that they differ; `same`: enough was measured and the machine stayed."""
    if same and max(map(abs, ends)) <= margin * _unit(line, other):
        return "no difference"
    if not sure:
        return "unknown"
    return "steeper" if line.slope > other.slope else "less steep"


def _crossing(line: Line, other: Line) -> tuple[str, float, float, float]:
    """Where two lines that are not parallel meet: how that lies to the sizes that both have, and its interval."""
    at = (other.at_zero - line.at_zero) / (line.slope - other.slope)
    begin, end = _ends((other.at_zeros - line.at_zeros) / (line.slopes - other.slopes))
    first, last = max(line.sizes.min(), other.sizes.min()), min(line.sizes.max(), other.sizes.max())
    if end < first:
        return "none", *NOWHERE
    if first <= begin and end <= last:
        return "within the range", at, begin, end
    return "beyond the range" if begin > last else "unknown", at, begin, end
