"""A run's recording becomes one of `data/recordings/`, if it is whole, clean, and replays to the same findings."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.claims import CLAIMS
from labkit.errors import ParameterError, RecordingError
from labkit.exec.format import write_header
from labkit.exec.recording import Recording
from labkit.exec.redaction import Redaction
from labkit.findings import judge
from labkit.source import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.findings import Finding

__all__ = ["Difference", "Promotion", "compare", "problems"]

COMPARED = ("verdict", "reason", "numbers", "evidence")


@dataclass(frozen=True, slots=True)
class Difference:
    """What a finding says live, and what it says when the recordings are replayed."""

    claim: str
    arm: str
    part: str
    live: str
    replayed: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """Recordings that may be promoted: where each is, by arm, and the name that it gets."""

    paths: Mapping[str, Path]
    names: Mapping[str, str]
    #: Where the other arms of the run come from: findings may compare with them.
    others: Mapping[str, str] = field(default_factory=dict)

    def differences(self, live: Iterable[Finding]) -> tuple[list[Difference], int]:
        """Findings that a replay tells otherwise, and how many were compared."""
        sources = {arm: f"replay:{path}" for arm, path in self.paths.items()} | dict(self.others)
        return compare(list(live), sources)

    def to(self, folder: Path) -> list[Path]:
        """Copy them to `folder/<name>`, each in one piece, with checksums where the folder keeps some.

        Raises ParameterError where there is a recording of that name.
        """
        taken = [name for name in self.names.values() if (folder / name).exists()]
        if taken:
            raise ParameterError(
                f"{folder / taken[0]} exists; recordings are never overwritten: name another"
            )
        return [_copy(self.paths[arm], folder / name) for arm, name in self.names.items()]


def problems(path: Path) -> list[str]:
    """What is damaged in a recording, or should not be written in it; a sentence each."""
    recording, redaction = Recording.open(path), Redaction()
    found = recording.verify()
    if found:
        return found
    for request in recording.requests():
        reply = recording.find(request)
        if reply is not None and redaction.reply(reply) is not reply:
            found.append(f"{path}: reply {reply.id} ({request.words[:80]}) holds what must not be written")
    for name in ("recording.json", "failures.jsonl"):
        file = path / name
        if file.is_file() and any(
            redaction.text(line) != line for line in file.read_text(encoding="utf-8").splitlines()
        ):
            found.append(f"{file} holds what must not be written")
    return found


def compare(live: list[Finding], sources: Mapping[str, str]) -> tuple[list[Difference], int]:
    """Judge the claims of these findings again, on these sources. A claim that is no longer there differs."""
    arms = {arm: connect(source, arm) for arm, source in sources.items()}
    wanted = {finding.claim for finding in live}
    ledger = judge(arms.values(), [claim for claim in CLAIMS if claim.id in wanted])
    replayed = {(f.claim, f.arm, f.versus): f for f in ledger.findings}
    found: list[Difference] = []
    for finding in live:
        again = replayed.pop((finding.claim, finding.arm, finding.versus), None)
        if again is None:
            found.append(
                Difference(finding.claim, finding.about, "verdict", finding.verdict, "it is not judged")
            )
            continue
        mine, other = _plain(finding), _plain(again)
        found += [
            Difference(finding.claim, finding.about, part, _said(mine[part]), _said(other[part]))
            for part in COMPARED
            if _said(mine[part]) != _said(other[part])
        ]
    found += [
        Difference(f.claim, f.about, "verdict", "it was not judged", f.verdict) for f in replayed.values()
    ]
    return found, len(live)


def _plain(finding: Finding) -> dict[str, Any]:
    """A finding without the name of its source, which a replay cannot share."""
    said = finding.to_json()
    for source in (finding.source, finding.versus_source):
        if source:
            said["reason"] = said["reason"].replace(source, "SOURCE")
    return said


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _copy(path: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        new = Path(folder) / target.name
        shutil.copytree(path, new)
        write_header(new, {**Recording.open(new).about, "name": target.name})
        if found := problems(new):
            raise RecordingError(f"the copy is damaged: {found[0]}")
        new.rename(target)
    sums = target.parent.parent / "recordings.sha256"
    if sums.is_file():
        with sums.open("a", encoding="utf-8") as file:
            file.writelines(
                _checksum(each, sums.parent) for each in sorted(target.rglob("*")) if each.is_file()
            )
    return target


def _checksum(file: Path, top: Path) -> str:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"{digest}  {file.relative_to(top).as_posix()}\n"
