"""Replies as frames: what all collectors are made of."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Generic, ParamSpec, cast

from labkit.errors import ParseError
from labkit.schema import REPLY, Column, Schema, concat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["NODE", "POD", "Collector", "collects", "first_reply", "gather", "read_one"]

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
        self.read = read
        self.schema = schema

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
        cluster = cast("Cluster", args[0])
        question = (self.read, cluster.step, repr((args[1:], sorted(kwargs.items()))))
        if question not in cluster.memo:
            cluster.memo[question] = self.read(*args, **kwargs)
        return cluster.memo[question].copy(deep=False)


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


def first_reply(frame: pd.DataFrame) -> str:
    """The id of the reply that the first row was read from."""
    return str(frame["reply"].iloc[0])
