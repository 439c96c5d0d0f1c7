"""`nft -j list ruleset`: tables and chains of nftables.

Format: libnftables-json(5). Rules that iptables wrote (back end nf_tables) show here too, but their matches
as `xt` without content: read those with `labkit.parse.iptables`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NFT_CHAINS", "chains"]

TOOL = "nft"

NFT_CHAINS = Schema("nft_chains", "Chains of nftables.", key=("family", "table", "chain"), columns=(
    Column("family", "str", "ip, ip6, inet, arp, bridge or netdev"),
    Column("table", "str", "table"),
    Column("chain", "str", "name"),
    Column("hook", "str", "where packets enter it: prerouting, forward, …; NA for one that others jump to"),
    Column("priority", "Int64", "order among chains of a hook, lower first"),
    Column("policy", "str", "accept or drop where no rule decided"),
    Column("rules", "Int64", "number of its rules"),
))  # fmt: skip


def chains(data: bytes) -> pd.DataFrame:
    """Every chain: frame NFT_CHAINS. Raises ParseError."""
    members = json_object(TOOL, data).get("nftables")
    if not isinstance(members, list):
        raise ParseError(TOOL, "no list nftables", excerpt=str(data[:80]))
    try:
        rules = Counter(_place(m["rule"], "chain") for m in members if "rule" in m)
        return NFT_CHAINS.frame(_chain(m["chain"], rules) for m in members if "chain" in m)
    except (KeyError, TypeError) as error:
        raise ParseError(TOOL, f"a member without {error}") from None


def _place(member: dict[str, Any], name: str) -> tuple[str, str, str]:
    return member["family"], member["table"], member[name]


def _chain(chain: dict[str, Any], rules: Counter[tuple[str, str, str]]) -> dict[str, Any]:
    family, table, name = _place(chain, "name")
    return {
        "family": family,
        "table": table,
        "chain": name,
        "hook": chain.get("hook"),
        "priority": chain.get("prio"),
        "policy": chain.get("policy"),
        "rules": rules[family, table, name],
    }
