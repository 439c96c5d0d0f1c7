"""Where an arm's answers come from: `connect("replay:overlay-vxlan")` gives a Cluster."""

from __future__ import annotations

from pathlib import Path

from labkit.cluster import Cluster
from labkit.errors import SourceError
from labkit.exec.recording import Recording
from labkit.exec.replay import Replay

__all__ = ["connect", "find_recording", "recordings"]

CHECKOUT = Path(__file__).resolve().parent.parent


def connect(source: str, arm: str = "") -> Cluster:
    """The arm behind a source.

    `replay:<name>` is a recording under `data/recordings/` (of this folder, one above it, or labkit's
    own checkout), `replay:<path>` one anywhere. The arm is called `arm`, or else like what follows the
    colon. Raises SourceError for an unknown source, RecordingError for a broken recording.
    """
    kind, colon, name = source.partition(":")
    if kind == "replay" and name:
        return Cluster(arm or Path(name).name, source, Replay(Recording.open(find_recording(name))))
    if kind in ("live", "netns") and colon:
        raise SourceError(
            f"{source}: sources of kind {kind!r} are not built yet; today arms are recordings: replay:<name>"
        )
    raise SourceError(
        f"unknown source {source!r}; write replay:<recording>, one of: {', '.join(_names()) or 'none found'}"
    )


def recordings() -> list[Path]:
    """The folders of all recordings that `replay:<name>` finds, sorted by name."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for header in sorted(folder.glob("*/recording.json")):
            found.setdefault(header.parent.name, header.parent)
    return [found[name] for name in sorted(found)]


def find_recording(name: str) -> Path:
    """The folder of a recording, by name or by path. Raises SourceError, listing those there are."""
    if (Path(name) / "recording.json").is_file():
        return Path(name)
    for path in recordings():
        if path.name == name:
            return path
    raise SourceError(
        f"no recording {name!r}; there are: {', '.join(_names()) or 'none'}. A path to a folder with recording.json works too"
    )


def _names() -> list[str]:
    return [path.name for path in recordings()]


def _folders() -> list[Path]:
    here = Path.cwd()
    tops = [here, *here.parents, CHECKOUT]
    return [folder for top in tops if (folder := top / "data" / "recordings").is_dir()]
