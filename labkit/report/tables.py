"""pandas' HTML tables as the report shows them: no style of their own, numbers at the right, gaps dim."""

from __future__ import annotations

import re

__all__ = ["dressed"]

SCOPED = re.compile(r"<style scoped>.*?</style>\s*", re.DOTALL)
ROW = re.compile(r"<tr.*?</tr>", re.DOTALL)
CELL = re.compile(r"<(t[dh])>(.*?)</t[dh]>", re.DOTALL)
NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?%?")
LONG = 40  # characters; a cell with more may wrap
GAPS = ("NaN", "&lt;NA&gt;", "None", "NaT")


def dressed(table: str) -> str:
    """The table with classes on its cells: `n` for a column of numbers and its head, `na` for a gap, `long` for much text."""
    table = SCOPED.sub("", table).replace('border="1" ', "").replace(' style="text-align: right;"', "")
    if "colspan" in table or "rowspan" in table:  # heads of more than one row: cells and columns differ
        return table
    rows = [CELL.findall(row) for row in ROW.findall(table)]
    body = [[text for _, text in row] for row in rows if any(tag == "td" for tag, _ in row)]
    numeric = {i for i, column in enumerate(zip(*body, strict=False)) if _numbers(column)}
    return ROW.sub(lambda row: _row(row.group(), numeric), table)


def _numbers(column: tuple[str, ...]) -> bool:
    said = [text for text in column if text not in GAPS]
    return bool(said) and all(NUMBER.fullmatch(text) for text in said)


def _row(row: str, numeric: set[int]) -> str:
    position = -1

    def cell(match: re.Match[str]) -> str:
        nonlocal position
        position += 1
        tag, text = match.groups()
        names = ["n"] * (position in numeric) + ["na"] * (tag == "td" and text in GAPS)
        names += ["long"] * (len(text) > LONG)
        return f'<{tag} class="{" ".join(names)}">{text}</{tag}>' if names else match.group()

    return CELL.sub(cell, row)
