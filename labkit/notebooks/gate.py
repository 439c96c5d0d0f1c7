"""Arms that are measured now must be alike, or what is measured says nothing of their dataplanes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["alike", "hold"]


def alike(sources: Mapping[str, str], allow: Iterable[str]) -> pd.DataFrame:
    """The parity table of these arms, with what `allow` names allowed. See `analysis.parity.gate`."""
    from labkit.analysis.parity import gate  # noqa: PLC0415  (imports pandas)
    from labkit.collect.parity import facts  # noqa: PLC0415

    return gate(Lab(sources).each(facts), allow)


def hold(sources: Mapping[str, str], allow: Iterable[str]) -> None:
    """Raise ParityError where arms that this run measures differ in what must be equal.

    A recording measures nothing now: what differed then stands in the parity table of the run.
    """
    from labkit.analysis.parity import require  # noqa: PLC0415

    measured = {arm: source for arm, source in sources.items() if not source.startswith("replay:")}
    if len(measured) > 1:
        require(alike(measured, allow))
