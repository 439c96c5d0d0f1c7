"""The run-book that this workbench replaces, command by command: `data/run_book.csv` as a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import SourceError
from labkit.source import CHECKOUT

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OUTCOMES", "run_book"]

#: What happens when a command is run as the run-book writes it, on two fresh AKS clusters.
OUTCOMES = ("works", "needs pinning", "misleads", "hangs", "fails")


def run_book() -> pd.DataFrame:
    """One row a command: row, lines, command, outcome, as_written, instead, notebook, section (all str).

    `notebook` is empty where the command is left out; `instead` then says why.
    """
    import pandas as pd  # noqa: PLC0415

    file = CHECKOUT / "data" / "run_book.csv"
    if not file.is_file():
        raise SourceError(f"{file} is missing; labkit must be installed from its checkout (pip install -e .)")
    return pd.read_csv(file, dtype="str", keep_default_na=False)
