"""Every command of the run-book has its place, or the reason why it has none."""

import json
from pathlib import Path

import pytest

from labkit.run_book import OUTCOMES, run_book

ROOT = Path(__file__).parent.parent
ROWS = run_book().to_dict("records")
#: Commands of the run-book that are known to fail, hang, mislead or need pinning, numbered from 1.
KNOWN = 46


def sections(notebook):
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return {line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")}


def test_rows_are_numbered_and_none_is_missing():
    numbers = [int(row["row"]) for row in ROWS]
    assert numbers == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= KNOWN


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["row"])
def test_a_row_is_whole(row):
    assert row["command"]
    assert row["lines"]
    assert row["instead"]
    assert row["outcome"] in OUTCOMES
    assert row["outcome"] == "works" or row["as_written"], "what goes wrong as it is written?"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["row"])
def test_its_place_exists_or_it_says_why_not(row):
    if row["notebook"]:
        assert row["section"] in sections(row["notebook"])
    else:
        assert row["instead"].startswith("Left out:")


def test_every_notebook_takes_a_part_of_it():
    named = {row["notebook"] for row in ROWS if row["notebook"]}
    there = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert named == there - {"07_comparison"}  # which shows the table itself
