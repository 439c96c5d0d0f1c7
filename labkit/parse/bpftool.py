"""Programs, maps and attachments of the kernel, of `bpftool -j prog|map|net show`.

bpftool shows all of the kernel, not of one node's namespaces: where several nodes share a kernel (nodes
made of network namespaces), each of them shows the programs of all. Names are cut to 15 characters by
the kernel unless the program carries type information (BTF). `net show` knows TCX attachments from
Linux 6.6's bpftool on; an older one prints no `netfilter` list and leaves TCX out without a word.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import ParseError
from labkit.parse.cilium import frame_of
from labkit.parse.decode import json_of
from labkit.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["ATTACHMENTS", "BPF_MAPS", "PROGRAMS", "attachments", "bpf_maps", "programs"]

TOOL = "bpftool"

PROGRAMS = Schema("bpf_programs", "BPF programs in the kernel.", key=("program_id",), columns=(
    Column("program_id", "Int64", "number in the kernel"),
    Column("type", "str", "sched_cls, cgroup_sock_addr, tracing, …"),
    Column("name", "str", "name; NA where it has none"),
    Column("tag", "str", "hash of the instructions: the same code has the same tag"),
    Column("loaded_at", "datetime64[us, UTC]", "when it was loaded"),
    Column("xlated_bytes", "Int64", "size of the verified instructions"),
    Column("jited_bytes", "Int64", "size of the machine code; NA where it is interpreted"),
    Column("maps", "str", "numbers of the maps it uses, comma-separated"),
    Column("runs", "Int64", "how often it ran; NA unless the kernel counts (sysctl kernel.bpf_stats_enabled)"),
    Column("run_us", "float64", "time it ran in all; NA unless the kernel counts"),
))  # fmt: skip

BPF_MAPS = Schema("bpf_maps", "BPF maps in the kernel.", key=("map_id",), columns=(
    Column("map_id", "Int64", "number in the kernel"),
    Column("type", "str", "hash, lru_hash, lpm_trie, prog_array, …"),
    Column("name", "str", "name, cut to 15 characters; NA where it has none"),
    Column("max_entries", "Int64", "entries it can hold"),
    Column("key_bytes", "Int64", "size of a key"),
    Column("value_bytes", "Int64", "size of a value"),
    Column("memory_bytes", "Int64", "memory it takes"),
))  # fmt: skip

ATTACHMENTS = Schema("bpf_attachments", "Programs attached to network devices.", key=("hook", "interface", "program_id"), columns=(
    Column("hook", "str", "xdp, tc, flow_dissector or netfilter"),
    Column("interface", "str", "device; NA where the hook has none"),
    Column("kind", "str", "clsact/ingress, tcx/ingress, driver, …; NA where the tool tells none"),
    Column("program_id", "Int64", "number of the program"),
    Column("name", "str", "name of the program; NA where the tool tells none"),
))  # fmt: skip

NANOSECONDS = 1000


def programs(data: bytes) -> pd.DataFrame:
    """Programs, of `bpftool -j prog show`: frame PROGRAMS."""
    return frame_of(TOOL, PROGRAMS, map(_program, _list(data)))


def bpf_maps(data: bytes) -> pd.DataFrame:
    """Maps, of `bpftool -j map show`: frame BPF_MAPS."""
    return frame_of(TOOL, BPF_MAPS, map(_map, _list(data)))


def attachments(data: bytes) -> pd.DataFrame:
    """Programs at network devices, of `bpftool -j net show`: frame ATTACHMENTS."""
    return frame_of(TOOL, ATTACHMENTS, (row for part in _list(data) for row in _attachments(part)))


def _list(data: bytes) -> list[Any]:
    value = json_of(TOOL, data)
    if isinstance(value, dict) and "error" in value:
        raise ParseError(TOOL, f"it says: {value['error']}")
    if not isinstance(value, list):
        raise ParseError(TOOL, f"a JSON list was expected, got {type(value).__name__}", excerpt=str(value))
    return value


def _program(item: dict[str, Any]) -> dict[str, Any]:
    run_time = item.get("run_time_ns")
    return {
        "program_id": item["id"],
        "type": item["type"],
        "name": item.get("name"),
        "tag": item["tag"],
        "loaded_at": datetime.fromtimestamp(item["loaded_at"], UTC),
        "xlated_bytes": item["bytes_xlated"],
        "jited_bytes": item.get("bytes_jited"),
        "maps": ",".join(map(str, item.get("map_ids") or ())),
        "runs": item.get("run_cnt"),
        "run_us": None if run_time is None else run_time / NANOSECONDS,
    }


def _map(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "map_id": item["id"],
        "type": item["type"],
        "name": item.get("name"),
        "max_entries": item["max_entries"],
        "key_bytes": item["bytes_key"],
        "value_bytes": item["bytes_value"],
        "memory_bytes": item["bytes_memlock"],
    }


def _attachments(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for hook, found in part.items():
        for item in found:
            yield {
                "hook": hook,
                "interface": item.get("devname"),
                "kind": item.get("kind") or item.get("mode"),
                "program_id": item["prog_id"] if "prog_id" in item else item["id"],
                "name": item.get("name"),
            }
