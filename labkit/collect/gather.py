"""Replies of many targets as one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.errors import ParseError
from labkit.schema import concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from labkit.exec.request import Reply

__all__ = ["gather", "read_one"]


def read_one(reply: Reply, parse: Callable[[bytes], pd.DataFrame]) -> pd.DataFrame:
    """One reply as a frame with a last column `reply`. A ParseError says which reply it was."""
    try:
        frame = parse(reply.stdout)
    except ParseError as error:
        error.add_note(f"reply {reply.id}: {reply.request.words[:200]} on {reply.request.subject}")
        raise
    frame["reply"] = reply.id
    return frame.astype({"reply": "str"})


def gather(
    replies: Iterable[Reply], parse: Callable[[bytes], pd.DataFrame], column: str, names: Mapping[str, str]
) -> pd.DataFrame:
    """Many replies under each other; `column` in front holds `names[target]`."""
    frames = []
    for reply in replies:
        frame = read_one(reply, parse)
        frame.insert(0, column, names[reply.request.subject])
        frames.append(frame.astype({column: "str"}))
    return concat(frames)
