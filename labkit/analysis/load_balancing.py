"""How a Service spreads connections over its backends, against what the dataplane's own state says it should.

Expected are the chances that each frontend's rules or maps give to each backend (frame CHANCES): not assumed,
read. Without them it is an equal share each. Every connection is drawn by itself, so counts are multinomial
and Pearson's chi-square test applies, with five expected answers a backend or more (Cochran 1954, Biometrics
10, 417).

A test that finds nothing says only what it could have found: its power against a stated deviation is that of
the noncentral chi-square distribution with noncentrality n w² (Cohen 1988, chapter 7). The deviation is one
backend that gets so many per cent more than its share while the others lose in proportion; with share p that
is w² = d² p / (1 - p), and the backend with the smallest share is the hardest to see.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd
from scipy import optimize, stats

from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ALL", "CHANCES", "DEVIATION_PCT", "evenness", "fit", "kept", "shares"]

ALL = "all frontends"
ALPHA, POWER = 0.05, 0.8
#: What a test is asked for by default: whether it would have seen a backend with a tenth more than its share.
DEVIATION_PCT = 10.0
FEWEST = 5

CHANCES = Schema("chances", "How likely a new connection to a Service goes to each backend.", key=("pod", "backend"), columns=(
    Column("pod", "str", "the pod that asks"),
    Column("backend", "str", "the pod that is chosen; its address where the API knows no pod"),
    Column("probability", "float64", "chance of a new connection to go there"),
    Column("rests_on", "str", "the rules or the map entry that say so"),
    REPLY,
))  # fmt: skip


def shares(
    answers: pd.DataFrame, backends: pd.DataFrame, chances: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The share of each backend, by frontend and in all.

    Columns `arm`, `pod` (the frontend), `backend`, `node` (of the backend), `answers`, `n`,
    `expected_pct`, `share_pct`, and its 95 % Wilson interval `low_pct`, `high_pct`. A backend that never
    answered has a row with 0 answers. Arms that `chances` lacks have no rows if it is given.
    """
    rows = [
        (arm, pod, backend, nodes[backend], int(counts[backend]), int(counts.sum()), 100 * share,
         *_share(int(counts[backend]), int(counts.sum())))
        for arm, pod, counts, expected, nodes in _counts(answers, backends, chances)
        for backend, share in expected.items()
    ]  # fmt: skip
    names = ["answers", "n", "expected_pct", "share_pct", "low_pct", "high_pct"]
    return pd.DataFrame(rows, columns=["arm", "pod", "backend", "node", *names])


def evenness(answers: pd.DataFrame, backends: pd.DataFrame) -> pd.DataFrame:
    """Chi-square test of equal shares, by frontend and in all: `arm`, `pod`, `n`, `backends`, `chi2`, `p`.

    `p` is how often equal shares would give counts at least this uneven.
    """
    rows = [
        (arm, pod, int(counts.sum()), len(counts), *_chi_square(counts, expected))
        for arm, pod, counts, expected, _ in _counts(answers, backends, None)
    ]
    return pd.DataFrame(rows, columns=["arm", "pod", "n", "backends", "chi2", "p"])


def fit(
    answers: pd.DataFrame,
    backends: pd.DataFrame,
    chances: pd.DataFrame,
    *,
    deviation_pct: float = DEVIATION_PCT,
) -> pd.DataFrame:
    """Chi-square test against the dataplane's own chances, by frontend and in all, with what it could have found.

    Columns `arm`, `pod`, `n`, `backends`, `chi2`, `p` (NA where an expected count is under 5), `power_pct`
    (how often it would have found `deviation_pct` at p < 5 %), `finds_pct` (the deviation that it finds 4
    times of 5; NA where none is large enough), `needs` (connections that it takes to find `deviation_pct` 4
    times of 5). Arms that `chances` lacks have no rows.
    """
    rows = []
    for arm, pod, counts, expected, _ in _counts(answers, backends, chances):
        n, least = int(counts.sum()), min((p for p in expected.values() if p > 0), default=math.nan)
        chi2, p = _chi_square(counts, expected)
        enough = n * least >= FEWEST
        rows.append((
            arm, pod, n, len(counts), chi2, p if enough or chi2 == math.inf else math.nan,
            *_could_find(n, least, len(counts), deviation_pct),
        ))  # fmt: skip
    names = ["arm", "pod", "n", "backends", "chi2", "p", "power_pct", "finds_pct", "needs"]
    return pd.DataFrame(rows, columns=names).astype({"needs": "Int64"})


def _chi_square(counts: pd.Series[int], expected: Mapping[str, float]) -> tuple[float, float]:
    """The statistic and its p. A backend that cannot be chosen and answered is infinitely unlikely."""
    if any(count and not expected[str(backend)] for backend, count in counts.items()):
        return math.inf, 0.0
    possible = counts[[expected[str(backend)] > 0 for backend in counts.index]]
    wanted = [float(counts.sum()) * expected[str(backend)] for backend in possible.index]
    found = stats.chisquare(possible.to_numpy(dtype=float), wanted)
    return float(found.statistic), float(found.pvalue)


def _could_find(n: int, least: float, backends: int, deviation_pct: float) -> tuple[float, float, int | None]:
    """Power against a deviation, the deviation that is found 4 times of 5, and the connections for that."""
    if backends < 2 or not 0 < least < 1:
        return math.nan, math.nan, None
    df, odds = backends - 1, least / (1 - least)
    effect = (deviation_pct / 100) ** 2 * odds
    wanted = _noncentrality(df)
    finds = math.sqrt(wanted / (n * odds))
    return (
        100 * _power(n * effect, df),
        100 * finds if least * (1 + finds) <= 1 else math.nan,
        math.ceil(wanted / effect),
    )


def _power(noncentrality: float, df: int) -> float:
    return float(stats.ncx2.sf(stats.chi2.isf(ALPHA, df), df, noncentrality))


def _noncentrality(df: int) -> float:
    """The noncentrality that is found 4 times of 5."""
    return float(optimize.brentq(lambda nc: _power(nc, df) - POWER, 1e-6, 1000.0))


def kept(ways: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many backends a frontend meets, by the way it asks: `arm`, `way`, `pod`, `answers`, `backends`.

    `ways` holds frames of answers by way. Keep-alive and affinity show one backend each: they are no sample of
    how connections are spread, however many requests there are.
    """
    rows = [
        (arm, way, pod, len(group), group["backend"].nunique())
        for way, answers in ways.items()
        for (arm, pod), group in answers.groupby(["arm", "pod"], sort=False)
    ]
    return pd.DataFrame(rows, columns=["arm", "way", "pod", "answers", "backends"])


def _counts(
    answers: pd.DataFrame, backends: pd.DataFrame, chances: pd.DataFrame | None
) -> Iterator[tuple[str, str, pd.Series[int], dict[str, float], dict[str, str]]]:
    """Arm, frontend, answers of each backend by name, the share expected of each, and the backends' nodes."""
    for arm, mine in answers.groupby("arm", sort=False):
        nodes = backends[backends["arm"] == arm].set_index("pod")["node"].sort_index()
        given = None if chances is None else chances[chances["arm"] == arm]
        if given is not None and given.empty:
            continue
        for pod, group in [*mine.groupby("pod"), (ALL, mine)]:
            counts = group["backend"].value_counts()
            known = nodes.index.union(counts.index)
            expected = dict.fromkeys(map(str, known), 1 / max(len(known), 1))
            if given is not None:
                expected = _expected(group, given, expected)
            where = {str(name): node for name, node in nodes.reindex(known).items()}
            yield str(arm), str(pod), counts.reindex(known, fill_value=0), expected, where


def _expected(answers: pd.DataFrame, chances: pd.DataFrame, known: Mapping[str, float]) -> dict[str, float]:
    """The share of each backend if every frontend's connections are drawn by its own chances."""
    weight = answers["pod"].value_counts(normalize=True)
    weighed = chances["probability"] * chances["pod"].map(weight).fillna(0.0)
    found = weighed.groupby(chances["backend"]).sum()
    return {backend: float(found.get(backend, 0.0)) for backend in known}


def _share(count: int, n: int) -> tuple[float, float, float]:
    ends = stats.binomtest(count, n).proportion_ci(method="wilson")
    return 100 * count / n, 100 * float(ends.low), 100 * float(ends.high)
