"""What others have published, as ratios that ours can be held against: `data/reference_shapes.csv` as a frame.

Shapes, never targets: hardware, kernels and versions differ, ratios between two ways on one machine less so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from labkit.collect import cilium, kubernetes
from labkit.errors import SourceError
from labkit.source import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from labkit.cluster import Cluster

__all__ = ["kinds", "reference_shapes"]

TEXTS = ("id", "statement", "measure", "path", "within", "numerator", "denominator", "source", "look_at")


def reference_shapes() -> pd.DataFrame:
    """One row a shape: id, statement, measure, path, within, numerator, denominator, low, high, source, look_at.

    `measure` is a pattern of traffic (`rr`: transactions a second, `connect-growth`: time to connect), empty is
    any, as is `path`; `within` is the kind of arm that both sides are of, empty where the sides are arms
    themselves or it does not matter. An open end is 0 or infinite.
    """
    import pandas as pd  # noqa: PLC0415  (import labkit must stay fast)

    file = CHECKOUT / "data" / "reference_shapes.csv"
    if not file.is_file():
        raise SourceError(f"{file} is missing; labkit must be installed from its checkout (pip install -e .)")
    frame = pd.read_csv(file, dtype=dict.fromkeys(TEXTS, "str"), keep_default_na=False, na_values={
        "low": "", "high": "",
    })  # fmt: skip
    return frame.fillna({"low": 0.0, "high": math.inf})


def kinds(arms: Mapping[str, Cluster]) -> dict[str, str]:
    """Of what kind each arm is, in the words of the shapes: overlay, cilium, or cilium-bpfveth (eBPF host routing)."""
    return {name: _kind(arm) for name, arm in arms.items()}


def _kind(arm: Cluster) -> str:
    if not kubernetes.is_cilium(arm):
        return "overlay"
    return (
        "cilium-bpfveth" if (cilium.status(arm.at("baseline"))["host_routing"] == "BPF").all() else "cilium"
    )
