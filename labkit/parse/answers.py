"""Answers of the lab's backend: each page is one line, the pod that serves it and the node it runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ANSWERS", "answers"]

TOOL = "the backend"

ANSWERS = Schema("answers", "Who answered, one row an answer.", key=("n",), columns=(
    Column("n", "Int64", "number of the answer, from 0"),
    Column("backend", "str", "the pod that answered"),
    Column("backend_node", "str", "the node it runs on"),
))  # fmt: skip


def answers(data: bytes) -> pd.DataFrame:
    """Each answer in order: frame ANSWERS. A fetch that failed has printed nothing and has no row.

    Raises ParseError on a line that is no answer of the lab's backend.
    """
    rows = []
    for n, line in enumerate(text_of(TOOL, data).splitlines()):
        words = line.split()
        if len(words) != 2:
            raise ParseError(TOOL, "not a pod and a node", line=n + 1, excerpt=line)
        rows.append({"n": n, "backend": words[0], "backend_node": words[1]})
    return ANSWERS.frame(rows)
