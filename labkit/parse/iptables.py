"""`iptables-save -c` and `ip6tables-save -c`: chains and rules with their counters.

Format: iptables-save(8) and `iptables/iptables-save.c`: `*table`, `:chain policy [packets:bytes]`, then
`[packets:bytes] -A chain matches -j target`, then `COMMIT`. Both back ends (nf_tables and legacy) print the
same. Matches that have no column here stay readable in `rule`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from labkit.errors import ParseError
from labkit.parse.decode import text_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

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
RULE = re.compile(r"(?:\[(?P<packets>\d+):(?P<bytes>\d+)\] )?(?P<rule>-A (?P<chain>\S+)(?P<rest>.*))$")
TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
VERSION = re.compile(r"ip6?tables v(?P<version>\S+)(?: \((?P<backend>nf_tables|legacy)\))?$")

#: Option of iptables, and the column it fills. Both spellings of port lists mean the same to a reader.
OPTIONS = {
    "-s": "src", "-d": "dst", "-p": "protocol", "--dport": "dport", "--dports": "dport",
    "-i": "in_interface", "-o": "out_interface", "--mark": "mark", "--ctstate": "ct_state",
    "--state": "ct_state", "--dst-type": "dst_type", "--probability": "probability",
    "--comment": "comment", "-j": "target", "-g": "target", "--to-destination": "to_destination",
}  # fmt: skip
COLUMNS = tuple(dict.fromkeys(OPTIONS.values()))


class _Line(NamedTuple):
    number: int
    table: str
    text: str


def _lines(data: bytes) -> Iterator[_Line]:
    """The lines of chains and rules. Raises ParseError where a table is not opened or not closed."""
    table = ""
    for number, line in enumerate(text_of(TOOL, data).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("*") and not table:
            table = line[1:].strip()
        elif line.strip() == "COMMIT" and table:
            table = ""
        elif line.startswith(("*", "COMMIT")) or not table:
            raise ParseError(TOOL, "not in a table", line=number, excerpt=line)
        else:
            yield _Line(number, table, line)
    if table:
        raise ParseError(TOOL, f"table {table} has no COMMIT: the output is cut off")


def rules(data: bytes) -> pd.DataFrame:
    """Every rule: frame RULES. Raises ParseError on a line that is none, and where the end is missing.

    No output at all is no rules: with the legacy back end, tables that nothing uses are not there.
    """
    rows, last, position = [], ("", ""), 0
    for line in _lines(data):
        if line.text.startswith(":"):
            continue
        if (found := RULE.match(line.text)) is None:
            raise ParseError(TOOL, "not a rule", line=line.number, excerpt=line.text)
        chain = (line.table, found["chain"])
        position = position + 1 if chain == last else 1
        last = chain
        rows.append(_rule(line, found, position))
    return RULES.frame(rows)


def _rule(line: _Line, found: re.Match[str], position: int) -> dict[str, Any]:
    words, remembers = _words(line, found["rest"])
    return {
        "table": line.table,
        "chain": found["chain"],
        "position": position,
        "packets": found["packets"] and int(found["packets"]),
        "matched_bytes": found["bytes"] and int(found["bytes"]),
        **words,
        "probability": words["probability"] and float(words["probability"]),
        "remembers": remembers,
        "rule": found["rule"],
    }


def _words(line: _Line, rest: str) -> tuple[dict[str, Any], bool]:
    """The columns that the options of a rule fill, and whether it asks for known clients."""
    words: dict[str, Any] = dict.fromkeys(COLUMNS)
    inverted, remembers, option = "", False, ""
    for quoted, plain in TOKEN.findall(rest):
        if option:
            value = inverted + (re.sub(r"\\(.)", r"\1", quoted) if quoted else plain)
            words[option] = value if words[option] is None else f"{words[option]},{value}"
            option = inverted = ""
        elif plain == "!":
            inverted = "! "
        elif plain in OPTIONS:
            option = OPTIONS[plain]
        else:
            inverted, remembers = "", remembers or plain == "--rcheck"
    if option:
        raise ParseError(TOOL, f"a rule without its {option}", line=line.number, excerpt=line.text)
    return words, remembers


def chains(data: bytes) -> pd.DataFrame:
    """Every chain: frame CHAINS. Raises ParseError on a line that is none, and where the end is missing."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in _lines(data):
        if chain := CHAIN.match(line.text):
            found[line.table, chain["chain"]] = {
                "table": line.table,
                "chain": chain["chain"],
                "policy": None if chain["policy"] == "-" else chain["policy"],
                "packets": int(chain["packets"]),
                "matched_bytes": int(chain["bytes"]),
                "rules": 0,
            }
        elif (rule := RULE.match(line.text)) and (line.table, rule["chain"]) in found:
            found[line.table, rule["chain"]]["rules"] += 1
        else:
            raise ParseError(TOOL, "not a chain, nor a rule of one", line=line.number, excerpt=line.text)
    return CHAINS.frame(found.values())


def backend(data: bytes) -> pd.DataFrame:
    """`iptables --version`: frame BACKEND. Raises ParseError."""
    found = VERSION.match(text_of("iptables", data).strip())
    if found is None:
        raise ParseError("iptables", "not a version", excerpt=data.decode(errors="replace"))
    return BACKEND.frame([found.groupdict()])
