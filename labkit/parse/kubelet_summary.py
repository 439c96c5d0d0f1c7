"""What the containers of a node use, of the kubelet's Summary API (`/api/v1/nodes/<node>/proxy/stats/summary`).

Shape: Kubernetes `staging/src/k8s.io/kubelet/pkg/apis/stats/v1alpha1/types.go`. CPU is a counter since the
container started; the kubelet reads it every ten seconds or so and says when, so a rate is the difference of two
answers over the difference of *their* times. `workingSetBytes` is what the kubelet evicts by: memory in use
without the page cache that could be dropped.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError, SchemaError
from labkit.parse.decode import json_object
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["USAGE", "usage"]

TOOL = "the kubelet's Summary API"
NANOSECONDS = 1e9

USAGE = Schema("usage", "What the containers of a node use.", key=("namespace", "pod", "container"), columns=(
    Column("namespace", "str", "namespace"),
    Column("pod", "str", "pod"),
    Column("container", "str", "container in it"),
    Column("started_at", "datetime64[us, UTC]", "when the container started: its counter began at 0"),
    Column("cpu_at", "datetime64[us, UTC]", "when the counter was read; NA where it was not yet"),
    Column("cpu_s", "float64", "CPU time since it started; NA where it was not read yet"),
    Column("working_set_bytes", "Int64", "memory that could not be taken away; NA where it was not read yet"),
    Column("rss_bytes", "Int64", "anonymous memory; NA where it is not told"),
))  # fmt: skip


def usage(data: bytes) -> pd.DataFrame:
    """Every container of every pod of the node: frame USAGE. A Windows node tells no `rss_bytes`.

    Raises ParseError on what is no summary.
    """
    try:
        return USAGE.frame(row for pod in json_object(TOOL, data)["pods"] for row in _pod(pod))
    except (KeyError, TypeError, ValueError, SchemaError) as error:
        raise ParseError(
            TOOL, f"not a summary ({error})", excerpt=data[:60].decode(errors="replace")
        ) from None


def _pod(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    named = pod["podRef"]
    for container in pod.get("containers") or ():
        cpu, memory = container.get("cpu") or {}, container.get("memory") or {}
        spent = cpu.get("usageCoreNanoSeconds")
        yield {
            "namespace": named["namespace"],
            "pod": named["name"],
            "container": container["name"],
            "started_at": datetime.fromisoformat(container["startTime"]),
            "cpu_at": None if spent is None else datetime.fromisoformat(cpu["time"]),
            "cpu_s": None if spent is None else spent / NANOSECONDS,
            "working_set_bytes": memory.get("workingSetBytes"),
            "rss_bytes": memory.get("rssBytes"),
        }
