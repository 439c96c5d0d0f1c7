"""How evenly a Service spreads connections over its backends.

Expected is an equal share each: kube-proxy's rules draw a backend with equal probabilities, and Cilium's
tables give each backend an equal number of slots. Every connection is drawn by itself, so counts are
multinomial and Pearson's chi-square test applies (with more than five expected answers a backend).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ALL", "evenness", "shares"]

ALL = "all frontends"


def shares(answers: pd.DataFrame, backends: pd.DataFrame) -> pd.DataFrame:
    """The share of each backend, by frontend and in all.

    Columns `arm`, `pod` (the frontend), `backend`, `node` (of the backend), `answers`, `n`,
    `expected_pct`, `share_pct`, and its 95 % Wilson interval `low_pct`, `high_pct`. A backend that never
    answered has a row with 0 answers.
    """
    rows = [
        (
            arm,
            pod,
            backend,
            node,
            int(count),
            int(counts.sum()),
            100 / len(counts),
            *_share(int(count), int(counts.sum())),
        )
        for arm, pod, counts, nodes in _counts(answers, backends)
        for backend, node, count in zip(counts.index, nodes, counts, strict=True)
    ]
    names = ["answers", "n", "expected_pct", "share_pct", "low_pct", "high_pct"]
    return pd.DataFrame(rows, columns=["arm", "pod", "backend", "node", *names])


def evenness(answers: pd.DataFrame, backends: pd.DataFrame) -> pd.DataFrame:
    """Chi-square test of equal shares, by frontend and in all: `arm`, `pod`, `n`, `backends`, `chi2`, `p`.

    `p` is how often equal shares would give counts at least this uneven.
    """
    rows = []
    for arm, pod, counts, _ in _counts(answers, backends):
        found = stats.chisquare(counts.to_numpy(dtype=float))
        rows.append((arm, pod, int(counts.sum()), len(counts), float(found.statistic), float(found.pvalue)))
    return pd.DataFrame(rows, columns=["arm", "pod", "n", "backends", "chi2", "p"])


def _counts(
    answers: pd.DataFrame, backends: pd.DataFrame
) -> Iterator[tuple[str, str, pd.Series[int], pd.Series[str]]]:
    """Arm, frontend, answers of each backend (by name), and the backends' nodes."""
    for arm, mine in answers.groupby("arm", sort=False):
        nodes = backends[backends["arm"] == arm].set_index("pod")["node"].sort_index()
        groups = [*mine.groupby("pod"), (ALL, mine)]
        for pod, group in groups:
            counts = group["backend"].value_counts()
            known = nodes.index.union(counts.index)
            yield str(arm), str(pod), counts.reindex(known, fill_value=0), nodes.reindex(known)


def _share(count: int, n: int) -> tuple[float, float, float]:
    ends = stats.binomtest(count, n).proportion_ci(method="wilson")
    return 100 * count / n, 100 * float(ends.low), 100 * float(ends.high)
