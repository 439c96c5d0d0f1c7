"""Replies as frames: what all collectors are made of."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

from labkit.cluster import once
from labkit.errors import ParseError
from labkit.schema import REPLY, Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

    from labkit.exec.request import Reply
    from labkit.schema import Dtype

__all__ = ["NODE", "POD", "Collector", "collects", "first_reply", "gather", "read_one", "read_reply", "stack"]

P = ParamSpec("P")

NODE = Column("node", "str", "the node it was read on")
POD = Column("pod", "str", "the pod it was read in")


class Collector(Generic[P]):
    """A function from a cluster to a frame, which knows the frame's columns before it is called.

    The same question in the same step has one answer, so it is asked and read once for each arm. What is
    handed out is a copy on write: nobody can change what another gets.
    """

    def __init__(self, read: Callable[P, pd.DataFrame], schema: Schema) -> None:
        update_wrapper(self, read)
        self.schema = schema
        self._once = once(read)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
        return self._once(*args, **kwargs).copy(deep=False)


def collects(schema: Schema, *first: Column) -> Callable[[Callable[P, pd.DataFrame]], Collector[P]]:
    """Declare what a collector gives: the parser's frame, columns in front of it, and `reply` behind."""
    whole = Schema(
        schema.name,
        schema.meaning,
        (*(column.name for column in first), *schema.key),
        (*first, *schema.columns, REPLY),
    )
    return lambda read: Collector(read, whole)


def read_one(reply: Reply, parse: Callable[[bytes], pd.DataFrame]) -> pd.DataFrame:
    """One reply as a frame with a last column `reply`. A ParseError says which reply it was."""
    return read_reply(reply, lambda one: parse(one.stdout))


def read_reply(reply: Reply, read: Callable[[Reply], pd.DataFrame]) -> pd.DataFrame:
    """The same of what does not read stdout as a whole: captures, and reports on stderr."""
    frame = _parsed(reply, read)
    frame["reply"] = _column([reply.id] * len(frame), "str")
    return frame


def gather(
    replies: Iterable[Reply], parse: Callable[[bytes], pd.DataFrame], column: str, names: Mapping[str, str]
) -> pd.DataFrame:
    """Many replies under each other; `column` in front holds `names[target]`."""
    frames = []
    for reply in replies:
        frame = read_one(reply, parse)
        frame.insert(0, column, _column([names[reply.request.subject]] * len(frame), "str"))
        frames.append(frame)
    return concat(frames)


def stack(
    replies: Sequence[tuple[Reply, Mapping[str, object]]],
    parse: Callable[[bytes], pd.DataFrame],
    schema: Schema,
) -> pd.DataFrame:
    """Hundreds of replies as one frame of this schema, sorted by its key.

    Beside each reply stands what is known of it, by column; what is no column of the schema is left out.
    Columns are made once for all replies: made for each reply, they would cost more than the parsing.
    """
    frames = [_parsed(reply, lambda one: parse(one.stdout)) for reply, _ in replies]
    if not frames:
        return schema.empty()
    whole = concat(frames)
    knowns = [{**known, "reply": reply.id} for reply, known in replies]
    for column in schema.columns:
        if column.name not in whole.columns:
            values = [k[column.name] for k, f in zip(knowns, frames, strict=True) for _ in range(len(f))]
            whole[column.name] = _column(values, column.dtype)
    return whole[schema.names].sort_values(list(schema.key), kind="stable", ignore_index=True)


def _parsed(reply: Reply, read: Callable[[Reply], pd.DataFrame]) -> pd.DataFrame:
    try:
        return read(reply)
    except ParseError as error:
        error.add_note(f"reply {reply.id}: {reply.request.words[:200]} on {reply.request.subject}")
        raise


def _column(values: list[Any], dtype: Dtype) -> pd.Series[Any]:
    import pandas as pd  # noqa: PLC0415  (import labkit must stay fast)

    return pd.Series(values, dtype=dtype)


def first_reply(frame: pd.DataFrame) -> str | None:
    """The id of the reply that the first row was read from; None where there is no row to tell."""
    return str(frame["reply"].iloc[0]) if len(frame) else None
