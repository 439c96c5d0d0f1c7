"""Arms and recorded bytes for all tests. Nothing here is patched: recordings are the real input."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

import labkit
from labkit.source import connect

if TYPE_CHECKING:
    from labkit.cluster import Cluster
    from labkit.exec.request import Reply

RECORDINGS = ("overlay-vxlan", "overlay-routed", "cilium")


@cache
def arm(name: str) -> Cluster:
    """The arm behind a recording; opened once per test process, since a replay holds no state."""
    return connect(f"replay:{name}", name)


def recorded(name: str, argv: str, *, step: str = "baseline", subject: str = "") -> list[Reply]:
    """Every recorded reply of a recording whose words start so, in the order it was recorded."""
    recording = arm(name).executor.recording
    found = [
        recording.find(r)
        for r in recording.requests()
        if r.step == step and r.words.startswith(argv) and subject in r.subject
    ]
    assert found, f"{name} holds no {argv!r} in step {step}"
    return found


@pytest.fixture(params=RECORDINGS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each recorded arm in turn."""
    return arm(request.param)


@pytest.fixture
def vxlan() -> Cluster:
    return arm("overlay-vxlan")


@pytest.fixture
def routed() -> Cluster:
    return arm("overlay-routed")


@pytest.fixture
def cilium() -> Cluster:
    return arm("cilium")


@pytest.fixture
def lab() -> labkit.Lab:
    """The two arms that all notebooks start with."""
    return labkit.Lab({"overlay": "replay:overlay-vxlan", "cilium": "replay:cilium"})
