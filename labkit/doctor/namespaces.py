"""What an arm of network namespaces needs of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.doctor.check import Check
from labkit.exec import lab_folder
from labkit.netns.topology import TOPOLOGIES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["leftovers", "namespaces"]


def namespaces(arm: str, name: str) -> Iterator[Check]:
    """What is missing for this topology; what it does on this kernel is tried in namespaces of its own."""
    from labkit.netns.needs import missing  # noqa: PLC0415

    topology = TOPOLOGIES.get(name)
    if topology is None:
        known = ", ".join(TOPOLOGIES)
        yield Check(f"netns:{name}", "missing", "no such topology", f"there are: {known}", arm)
        return
    needs = missing(topology)
    for need in needs:
        yield Check(need.what, "missing", need.why, need.remedy, arm)
    if not needs:
        yield Check(f"netns:{name}", "ok", topology.meaning, "", arm)


def leftovers() -> Iterator[Check]:
    """Labs that run, and folders of those that were killed; only where there can be any."""
    if shutil.which("unshare") is None or not Path("/proc").is_dir():
        return
    running = lab_folder.running()
    if running:
        told = ", ".join(f"{lab.topology} (process {lab.lab.pid})" for lab in running)
        yield Check("labs of namespaces", "note", f"running: {told}", "they end with their owners")
