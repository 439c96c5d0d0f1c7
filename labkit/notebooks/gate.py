"""Arms that are measured now must be alike, or what is measured says nothing of their dataplanes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import SourceError
from labkit.lab import Lab
from labkit.source import is_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["alike", "hold"]


def alike(arms: Mapping[str, Cluster], allow: Iterable[str]) -> pd.DataFrame:
    """The parity table of these arms, with what `allow` names allowed. See `analysis.parity.gate`.

    Raises SourceError where an arm does not answer what is compared.
    """
    from labkit.analysis.parity import gate  # noqa: PLC0415  (imports pandas)
    from labkit.collect.parity import facts  # noqa: PLC0415

    lab = Lab({arm: cluster.source for arm, cluster in arms.items()}, opened=arms)
    table = lab.each(facts)
    if failed := [gap for gap in lab.gaps if gap.failed]:
        raise SourceError("; ".join(f"arm {gap.arm}: {gap.reason}" for gap in failed))
    return gate(table, allow)


def hold(arms: Mapping[str, Cluster], allow: Iterable[str]) -> None:
    """Raise ParityError where arms that this run measures differ in what must be equal.

    A recording measures nothing now: what differed then stands in the parity table of the run.
    """
    from labkit.analysis.parity import require  # noqa: PLC0415

    measured = {arm: cluster for arm, cluster in arms.items() if is_live(cluster.source)}
    if len(measured) > 1:
        require(alike(measured, allow))
