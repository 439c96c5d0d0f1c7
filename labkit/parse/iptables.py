"""`iptables-save -c` and `ip6tables-save -c`: chains and rules with their counters.

Format: iptables-save(8) and `iptables/iptables-save.c`: `*table`, `:chain policy [packets:bytes]`, then
`[packets:bytes] -A chain matches -j target`, then `COMMIT`. Both back ends (nf_tables and legacy) print the
same. Matches that have no column here stay readable in `rule`.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

__all__ = ["BACKEND", "CHAINS", "RULES", "backend", "chains", "rules"]

TOOL = "iptables-save"

CHAINS = Schema("iptables_chains", "Chains of iptables.", key=("table", "chain"), columns=(
    Column("table", "str", "filter, nat, mangle, raw or security"),
    Column("chain", "str", "name"),
    Column("policy", "str", "ACCEPT or DROP where no rule decided; NA for a chain that others jump to"),
    Column("packets", "Int64", "packets that the policy decided on; 0 for a chain without one"),
    Column("matched_bytes", "Int64", "bytes that the policy decided on"),
    Column("rules", "Int64", "number of its rules"),
))  # fmt: skip

RULES = Schema("iptables_rules", "Rules of iptables.", key=("table", "chain", "position"), columns=(
    Column("table", "str", "filter, nat, mangle, raw or security"),
    Column("chain", "str", "the chain it is in"),
    Column("position", "Int64", "its place in the chain, from 1"),
    Column("packets", "Int64", "packets that matched since the rule was written; in nat only the first of "
                               "each connection is looked at. NA without -c"),
    Column("matched_bytes", "Int64", "bytes that matched; NA without -c"),
    Column("src", "str", "source addresses; a leading ! inverts any of these matches"),
    Column("dst", "str", "destination addresses"),
    Column("protocol", "str", "protocol"),
    Column("dport", "str", "destination ports: one, a range or a list"),
    Column("in_interface", "str", "device it came in by; + stands for any ending"),
    Column("out_interface", "str", "device it leaves by"),
    Column("mark", "str", "marks matched on, value/mask, comma-separated"),
    Column("ct_state", "str", "connection states"),
    Column("dst_type", "str", "address type of the destination, such as LOCAL"),
    Column("probability", "float64", "chance that the rule is taken; NA for a rule that always is"),
    Column("remembers", "boolean", "taken where this source came before (recent --rcheck: client affinity)"),
    Column("comment", "str", "comment"),
    Column("target", "str", "what follows: a chain, or ACCEPT, DNAT, MASQUERADE, …; NA where it only counts"),
    Column("to_destination", "str", "of DNAT: the new destination, address:port"),
    Column("rule", "str", "the rule as it is printed, without its counters"),
))  # fmt: skip

BACKEND = Schema("iptables_backend", "Which iptables it is, one row.", key=(), columns=(
    Column("version", "str", "version"),
    Column("backend", "str", "nf_tables or legacy; NA where a version is too old to say"),
))  # fmt: skip

CHAIN = re.compile(r":(?P<chain>\S+) (?P<policy>\S+) \[(?P<packets>\d+):(?P<bytes>\d+)\]$")
#: A rule as iptables prints it: first addresses, devices and protocol in this order, last the target. What
#: stands between differs from rule to rule, but only in a few ways.
RULE = re.compile(
    r"^(?:\[(\d+):(\d+)\] )?(-A (\S+)"
    r"(?: ((?:! )?)-s (\S+))?(?: ((?:! )?)-d (\S+))?(?: ((?:! )?)-i (\S+))?(?: ((?:! )?)-o (\S+))?"
    r"(?: ((?:! )?)-p (\S+))?"
    r'(?: -m comment --comment (?:"([^"\\\n]*)"|([^\s"]+)))?(.*?)(?: -j (\S+)(?: --to-destination (\S+))?)?)$',
    re.MULTILINE,
)
OF_CHAIN = re.compile(r"(?:\[\d+:\d+\] )?-A (\S+)")
VERSION = re.compile(r"ip6?tables v(?P<version>\S+)(?: \((?P<backend>nf_tables|legacy)\))?$")

#: Option of iptables, and the column it fills. Both spellings of port lists mean the same to a reader.
OPTIONS = {
    "-s": "src", "-d": "dst", "-p": "protocol", "--dport": "dport", "--dports": "dport",
    "-i": "in_interface", "-o": "out_interface", "--mark": "mark", "--ctstate": "ct_state",
    "--state": "ct_state", "--dst-type": "dst_type", "--probability": "probability",
    "--comment": "comment", "-j": "target", "-g": "target", "--to-destination": "to_destination",
}  # fmt: skip
#: An option that fills a column, with its inversion and its value; or any other quoted word, to be passed by.
OPTION = re.compile(
    r'(?: (!))? (' + "|".join(sorted(OPTIONS, reverse=True)) + r')(?: "((?:[^"\\]|\\.)*)"| (\S+)|$)'
    r'| "(?:[^"\\]|\\.)*"'
)  # fmt: skip
ESCAPED = re.compile(r"\\(.)")


Line = tuple[int, str, str]


def _lines(data: bytes) -> Iterator[Line]:
    """Number, table and text of the lines of chains and rules.

    Raises ParseError where a table is not opened or not closed.
    """
    table = ""
    for number, line in enumerate(text_of(TOOL, data).splitlines(), 1):
        if line[:1] in ("[", "-", ":") and table:
            yield number, table, line
        elif not line.strip() or line.startswith("#"):
            continue
        elif line.startswith("*") and not table:
            table = line[1:].strip()
        elif line.strip() == "COMMIT" and table:
            table = ""
        else:
            raise ParseError(TOOL, "not in a table", line=number, excerpt=line)
    if table:
        raise ParseError(TOOL, f"table {table} has no COMMIT: the output is cut off")


def rules(data: bytes) -> pd.DataFrame:
    """Every rule: frame RULES. Raises ParseError on a line that is none, and where the end is missing.

    No output at all is no rules: with the legacy back end, tables that nothing uses are not there.
    """
    lines = [line for line in _lines(data) if line[2][0] != ":"]
    found = RULE.findall("\n".join(text for *_, text in lines))
    if len(found) != len(lines):
        number, _, text = next(line for line in lines if not RULE.match(line[2]))
        raise ParseError(TOOL, "not a rule", line=number, excerpt=text)
    columns = _columns(found)
    columns["table"] = [table for _, table, _ in lines]
    _add_options(lines, [row[BETWEEN] for row in found], columns)
    return _frame(columns)


#: Places in a match of RULE: inversion and value of what comes first, what stands between, the comments.
FIRST = {"src": 4, "dst": 6, "in_interface": 8, "out_interface": 10, "protocol": 12}
COMMENTS, BETWEEN = (14, 15), 16
LAST = {"rule": 2, "chain": 3, "target": 17, "to_destination": 18}


def _columns(found: list[tuple[str, ...]]) -> dict[str, list[Any]]:
    """The columns that every rule may fill.

    All rules together, column by column: there may be 100,000, and a step for each of them and of its words
    would take most of the time.
    """
    parts: list[tuple[str, ...]] = list(zip(*found, strict=True)) or [()] * (RULE.groups)
    columns: dict[str, list[Any]] = {column.name: [None] * len(found) for column in RULES.columns}
    for name, at in FIRST.items():
        columns[name] = [
            no + value if value else None for no, value in zip(parts[at], parts[at + 1], strict=True)
        ]
    for name, at in LAST.items():
        columns[name] = [value or None for value in parts[at]]
    for name, at in (("packets", 0), ("matched_bytes", 1)):
        columns[name] = [int(value) if value else None for value in parts[at]]
    quoted, plain = (parts[at] for at in COMMENTS)
    columns["comment"] = [a or b or None for a, b in zip(quoted, plain, strict=True)]
    return columns


def _add_options(lines: list[Line], between: list[str], columns: dict[str, list[Any]]) -> None:
    """Fill the columns that other options give; what is given twice is listed."""
    known: dict[str, list[tuple[str, str]]] = {}
    for at, text in enumerate(between):
        if not text:
            continue
        if text not in known:
            try:
                known[text] = _options(text)
            except ValueError as error:
                number, _, line = lines[at]
                raise ParseError(TOOL, str(error), line=number, excerpt=line) from None
        for column, value in known[text]:
            before = columns[column][at]
            columns[column][at] = value if before is None else f"{before},{value}"
    columns["remembers"] = [" --rcheck " in text for text in between]


def _frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """Columns as the declared frame, sorted by its key."""
    import numpy as np  # noqa: PLC0415  (import labkit must stay fast)
    import pandas as pd  # noqa: PLC0415
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415

    rows = len(columns["table"])
    keys = list(zip(columns["table"], columns["chain"], strict=True))
    order = sorted(range(rows), key=keys.__getitem__)  # stable: within a chain as they were printed
    sort: Callable[[list[Any]], Any] = itemgetter(*order) if rows > 1 else list
    columns["position"] = _positions([keys[at] for at in order])

    def array(name: str, dtype: str) -> Any:  # noqa: ANN401  (of numpy or of pandas)
        values: Any = columns[name] if name == "position" else sort(columns[name])
        if dtype == "str":
            return pd.array(pa.array(values, pa.large_string()), dtype="str")
        return np.array(values, dtype=float) if dtype == "float64" else pd.array(values, dtype=dtype)

    return pd.DataFrame({c.name: array(c.name, c.dtype) for c in RULES.columns}, copy=False)


def _positions(keys: list[tuple[str, str]]) -> list[int]:
    """The place of each rule in its chain, from 1, where chains stand together."""
    found, place = [], 0
    for at, key in enumerate(keys):
        place = place + 1 if at and key == keys[at - 1] else 1
        found.append(place)
    return found


def _options(text: str) -> list[tuple[str, str]]:
    """Column and value of each option. Raises ValueError where a value is missing."""
    found = []
    for inverted, option, quoted, plain in OPTION.findall(text):
        if not option:
            continue
        value = plain or ESCAPED.sub(r"\1", quoted)
        if not value:
            raise ValueError(f"a rule without its {OPTIONS[option]}")
        found.append((OPTIONS[option], f"! {value}" if inverted else value))
    return found


def chains(data: bytes) -> pd.DataFrame:
    """Every chain: frame CHAINS. Raises ParseError on a line that is none, and where the end is missing."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for number, table, text in _lines(data):
        if chain := CHAIN.match(text):
            found[table, chain["chain"]] = {
                "table": table,
                "chain": chain["chain"],
                "policy": None if chain["policy"] == "-" else chain["policy"],
                "packets": int(chain["packets"]),
                "matched_bytes": int(chain["bytes"]),
                "rules": 0,
            }
        elif (rule := OF_CHAIN.match(text)) and (table, rule[1]) in found:
            found[table, rule[1]]["rules"] += 1
        else:
            raise ParseError(TOOL, "not a chain, nor a rule of one", line=number, excerpt=text)
    return CHAINS.frame(found.values())


def backend(data: bytes) -> pd.DataFrame:
    """`iptables --version`: frame BACKEND. Raises ParseError."""
    found = VERSION.match(text_of("iptables", data).strip())
    if found is None:
        raise ParseError("iptables", "not a version", excerpt=data.decode(errors="replace"))
    return BACKEND.frame([found.groupdict()])
