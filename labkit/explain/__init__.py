"""Say which way a packet goes on an arm, from what was read of it; and whether captured packets went so."""

from labkit.explain.audits import audit
from labkit.explain.changes import diff_arms, diff_steps
from labkit.explain.paths import between_nodes, explain, hops, model
from labkit.explain.state import read
from labkit.explain.verify import differences

__all__ = [
    "audit", "between_nodes", "diff_arms", "diff_steps", "differences", "explain", "hops", "model", "read",
]  # fmt: skip
