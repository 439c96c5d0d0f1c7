"""Where an arm's answers come from: `connect("replay:overlay-vxlan")` gives a Cluster."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from labkit.chain import KINDS, Chain, Terms, open_chain
from labkit.cluster import Cluster
from labkit.errors import SourceError
from labkit.exec.recording import Recording
from labkit.exec.remote import Remote
from labkit.exec.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SERVED", "connect", "find_recording", "is_live", "new_folder", "recordings", "settled"]

CHECKOUT = Path(__file__).resolve().parent.parent
#: In the environment of a run's kernels: the arms that the run holds, as JSON {arm: {"source", "socket"}}.
SERVED = "LABKIT_SERVED"
#: The live arms that this process holds itself.
_held: WeakValueDictionary[tuple[str, str], Chain] = WeakValueDictionary()


def connect(
    source: str,
    arm: str = "",
    *,
    record: Path | None = None,
    plan: str = "",
    read_only: bool = False,
    allow_context: Iterable[str] = (),
    redact_ips: bool = False,
    images: str = "",
) -> Cluster:
    """The arm behind a source. It is called `arm`, or else like what follows the colon.

    `replay:<name>`      a recording under `data/recordings/` (of this folder, one above it, or labkit's own
                         checkout); `replay:<path>` one anywhere
    `netns:<topology>`   nodes and pods of network namespaces on this machine: vxlan, routed, ebpf
    `live:<context>`     a cluster, by its context in the kubeconfig
    `socket:<path>`      an arm that a running labkit serves

    A live arm (`netns`, `live`) is held by this process unless a run serves it, and records into `record`
    (default: `runs/<utc>-<arm>/recordings/<arm>`); `close` puts back what was changed for it, and so does
    connecting to it once more. For the other options see `chain.Terms`. Raises SourceError for an arm that
    cannot be had, RecordingError for a broken recording.
    """
    kind, _, name = source.partition(":")
    called = arm or Path(name).name
    if kind == "replay" and name:
        return Cluster(called, source, Replay(Recording.open(find_recording(name))))
    if kind == "socket" and name:
        remote = _remote(Path(name))
        return Cluster(called, str(remote.about.get("source", source)), remote)
    if kind in KINDS and name:
        if socket := _served(source, called):
            return Cluster(called, source, _remote(socket))
        terms = Terms(plan, read_only, tuple(allow_context), redact_ips, images)
        return Cluster(called, source, _hold(source, called, record, terms))
    raise SourceError(
        f"unknown source {source!r}; write replay:<recording> ({', '.join(_names()) or 'none found'}), "
        "netns:<topology> or live:<context>"
    )


def settled(source: str) -> str:
    """The source in words that mean the same from any folder: a recording of this one gets its path.

    One that labkit's own checkout has keeps its name. Raises SourceError for a recording that is not there.
    """
    kind, _, name = source.partition(":")
    if kind != "replay" or not name:
        return source
    path = find_recording(name).resolve()
    return source if path == CHECKOUT / "data" / "recordings" / name else f"replay:{path}"


def is_live(source: str) -> bool:
    """Whether what an arm of this source answers is found out now."""
    return source.partition(":")[0] in KINDS


def _hold(source: str, arm: str, record: Path | None, terms: Terms) -> Chain:
    before = _held.pop((source, arm), None)
    if before is not None:
        before.close()
    chain = open_chain(source, arm, record or new_folder(arm) / "recordings" / arm, terms)
    _held[source, arm] = chain
    return chain


def new_folder(name: str) -> Path:
    """A folder of its own under `runs/` of the project that this folder is in, else of this folder."""
    here = Path.cwd()
    top = next((t for t in (here, *here.parents) if (t / "data" / "recordings").is_dir()), here)
    stem = top / "runs" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}"
    taken = (stem.with_name(f"{stem.name}-{n}") for n in range(2, 1000))
    return stem if not stem.exists() else next(path for path in taken if not path.exists())


def _served(source: str, arm: str) -> Path | None:
    """The socket of an arm that a run holds for this process, if it does."""
    entry = json.loads(os.environ.get(SERVED, "{}")).get(arm, {})
    return Path(entry["socket"]) if entry.get("source") == source else None


def _remote(path: Path) -> Remote:
    try:
        return Remote(path)
    except OSError as error:
        raise SourceError(
            f"nothing answers at {path} ({error.strerror}): the run that served this arm has ended; start one"
        ) from None


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
