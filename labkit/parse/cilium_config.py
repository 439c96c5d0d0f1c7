"""Options of an agent, of `cilium-dbg config`.

Without `--all` the command prints only what can be changed while the agent runs: no load-balancing
algorithm, no Envoy, no routing mode. With `--all -o json` it prints the whole configuration, whose names
are those of Go fields (`EnableEndpointRoutes`), not of the ConfigMap (`enable-endpoint-routes`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.cilium import frame_of
from labkit.parse.decode import json_object, text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["CONFIG", "config", "mutable_options"]

TOOL = "cilium-dbg config"

CONFIG = Schema("cilium_config", "Options of an agent.", key=("option",), columns=(
    Column("option", "str", "name; parts of a nested option are joined by a dot"),
    Column("value", "str", "value as written in JSON, without the quotes of a string"),
))  # fmt: skip

HEADING = re.compile(r"#+ .* #+")
OPTION = re.compile(r"(?P<option>\S+)\s+: (?P<value>.*)")


def config(data: bytes) -> pd.DataFrame:
    """Every option, of `cilium-dbg config --all -o json`: frame CONFIG."""
    return frame_of(TOOL, CONFIG, _flat(json_object(TOOL, data)))


def mutable_options(data: bytes) -> pd.DataFrame:
    """The options that plain `cilium-dbg config` prints: frame CONFIG."""
    rows, text = [], text_of(TOOL, data)
    if not text.endswith("\n"):
        raise ParseError(TOOL, "the last line is cut", excerpt=text[-60:])
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or HEADING.fullmatch(line.strip()):
            continue
        found = OPTION.fullmatch(line.rstrip())
        if found is None:
            raise ParseError(TOOL, "no line `Option : value`", line=number, excerpt=line)
        rows.append({"option": found["option"], "value": found["value"]})
    if not rows:
        raise ParseError(TOOL, "no options at all")
    return CONFIG.frame(rows)


def _flat(options: dict[str, Any], above: str = "") -> Iterator[dict[str, str]]:
    for name, value in options.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield {"option": above + name, "value": value if isinstance(value, str) else json.dumps(value)}
