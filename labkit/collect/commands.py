"""Commands of the run-book as it writes them, and what becomes of each: exit code, lines, words.

Most of these fail or print nothing on a cluster that works. Their output is no table, so it is kept as it
is; the piece behind the pipe is done here, since no agent image has to have `grep`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.collect.gather import NODE, collects
from labkit.collect.kubernetes import agent_targets
from labkit.schema import REPLY, Column, Schema

if TYPE_CHECKING:
    import pandas as pd

    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

__all__ = ["COMMANDS", "as_written"]

COMMANDS = Schema("commands", "Commands as the run-book writes them.", key=("command",), columns=(
    Column("command", "str", "the command; what is behind `|` is done by labkit"),
    Column("exit_code", "Int64", "exit code of the command before the pipe; NA where it was cut off"),
    Column("lines", "Int64", "lines that it printed, after the filter"),
    Column("said", "str", "the first of them, or what it said on stderr; NA where it said nothing"),
))  # fmt: skip
WHOLE = Schema(COMMANDS.name, COMMANDS.meaning, ("command", "node"), (NODE, *COMMANDS.columns, REPLY))

#: The command, and the word that `grep -i` looks for.
WRITTEN = (
    (("cilium-dbg", "config"), "envoy"),
    (("cilium-dbg", "config", "--all"), "envoy"),
    (("cilium-dbg", "config"), "maglev"),
    (("hubble", "list", "nodes"), ""),
    (("hubble", "status"), ""),
)
SHOWN = 3


@collects(COMMANDS, NODE)
def as_written(cluster: Cluster) -> pd.DataFrame:
    """Commands in every agent, whether they fail or not: frame COMMANDS by node."""
    targets = agent_targets(cluster)
    return WHOLE.frame(
        _row(targets[reply.request.subject], reply, word)
        for argv, word in WRITTEN
        for reply in cluster.run_each(targets, argv, check=False)
    )


def _row(node: str, reply: Reply, word: str) -> dict[str, object]:
    lines = [line.strip() for line in reply.text.splitlines() if line.strip()]
    lines = [line for line in lines if word in line.lower()]
    errors = reply.stderr.decode(errors="replace").strip().splitlines()
    return {
        "node": node,
        "command": reply.request.words + (f" | grep -i {word}" if word else ""),
        "exit_code": reply.exit_code,
        "lines": len(lines),
        "said": "; ".join(" ".join(line.split()) for line in (lines or errors)[:SHOWN]) or None,
        "reply": reply.id,
    }
