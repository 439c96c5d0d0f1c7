"""Input of `iptables-restore --noflush`: only the chains that differ are written, all others keep their counters.

Format: iptables-restore(8). A chain that is declared is made, or emptied where it exists.

kube-proxy sends all in one piece. iptables 1.8.9 on nf_tables takes 196 s for the 30,000 chains of 10,000
Services then, since it seeks each in a list; in pieces of 300 it takes 4 s. So what is jumped to is written
before what jumps, and removed after it: each piece leaves working rules.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from labkit.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from labkit.netns.kube_proxy_rules import Tables
    from labkit.netns.machines import Machines

__all__ = ["PIECE", "changes", "first", "load"]

#: The lock is for machines whose iptables is the legacy one.
COMMAND = ("iptables-restore", "--wait", "5", "--noflush", "--counters")
#: Chains in one piece.
PIECE = 300
#: Who jumps to whom: endpoints know nobody, Services jump to them, external chains to those, and so on.
DEPTH = ("KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-")


def load(machines: Machines, node: str, text: bytes) -> None:
    """Load one piece into a node. Raises ProvisionError with iptables' own words where it is refused."""
    done = machines.run(f"node/{node}", COMMAND, stdin=text)
    if done.exit_code != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ProvisionError(
            f"{' '.join(COMMAND)} on node {node} exited {done.exit_code}: {' '.join(said) or 'it said nothing'}; "
            "does this kernel have nf_tables with the matches addrtype, conntrack, recent and statistic?"
        )


def changes(loaded: Tables, wanted: Tables) -> Iterator[bytes]:
    """From what is loaded to what is wanted, in pieces; none where that is the same."""
    for table in sorted(loaded.keys() | wanted.keys()):
        there, wish = loaded.get(table, {}), wanted.get(table, {})
        changed = sorted((chain for chain, rules in wish.items() if there.get(chain) != rules), key=_depth)
        for piece in _pieces(changed):
            rules = (f"-A {chain} {rule}\n" for chain in piece for rule in wish[chain])
            yield _restore(table, piece, rules)
        stale = sorted((chain for chain in there if chain not in wish), key=_depth, reverse=True)
        for piece in _pieces(stale):
            yield _restore(table, piece, (f"-X {chain}\n" for chain in piece))


def first(jumps: Tables, *, append: bool = False) -> bytes:
    """Rules of the kernel's own chains: before all others (kube-proxy), or after them (the plugin)."""
    return b"".join(
        _restore(
            table,
            (),
            (
                f"-A {chain} {rule}\n" if append else f"-I {chain} {number} {rule}\n"
                for chain, rules in chains.items()
                for number, rule in enumerate(rules, 1)
            ),
        )
        for table, chains in jumps.items()
    )


def _restore(table: str, declared: Iterable[str], lines: Iterable[str]) -> bytes:
    heads = (f":{chain} - [0:0]\n" for chain in declared)
    return "".join((f"*{table}\n", *heads, *lines, "COMMIT\n")).encode()


def _depth(chain: str) -> int:
    return next((depth for depth, prefix in enumerate(DEPTH) if chain.startswith(prefix)), len(DEPTH))


def _pieces(chains: Iterable[str]) -> Iterator[list[str]]:
    left = iter(chains)
    while piece := list(islice(left, PIECE)):
        yield piece
