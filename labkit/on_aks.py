"""What is known of AKS itself, from documentation and source code: `data/on_aks.csv` as a frame.

No arm that ships with labkit is AKS. Beside a verdict of such an arm stands here what a reader should expect
of AKS, with where that is written; only a live arm settles it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.kubernetes import is_cilium
from labkit.errors import SourceError
from labkit.source import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["beside", "on_aks"]


def on_aks() -> pd.DataFrame:
    """One row a claim and dataplane: claim, dataplane (overlay or cilium), verdict, because, source, grade."""
    import pandas as pd  # noqa: PLC0415

    file = CHECKOUT / "data" / "on_aks.csv"
    if not file.is_file():
        raise SourceError(f"{file} is missing; labkit must be installed from its checkout (pip install -e .)")
    return pd.read_csv(file, dtype="str", keep_default_na=False)


def beside(findings: pd.DataFrame, arms: Iterable[Cluster]) -> pd.DataFrame:
    """Verdicts of arms (claim, arm, verdict, as `Ledger.frame` gives) beside what is known of AKS.

    Gives claim, arm, here (the verdict of the arm), on_aks, because, source, grade; those that differ first.
    A comparison of two arms stands under its first arm.
    """
    dataplane = {cluster.arm: "cilium" if is_cilium(cluster) else "overlay" for cluster in arms}
    first = findings["arm"].str.split(" vs ").str[0]
    mine = findings.assign(dataplane=first.map(dataplane))[["claim", "arm", "dataplane", "verdict"]]
    known = on_aks().rename(columns={"verdict": "on_aks"})
    both = mine.rename(columns={"verdict": "here"}).merge(known, on=["claim", "dataplane"])
    differs = both["here"] != both["on_aks"]
    order = differs.map({True: 0, False: 1}).argsort(kind="stable")
    return both.drop(columns="dataplane").iloc[order].reset_index(drop=True)
