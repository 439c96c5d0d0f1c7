"""The folder a run leaves: what was run on what, and what came of it.

runs/<utc>-<arms>/
  run.json         arms with origin, note and checksum; parameters; how each notebook ended, or what runs now
  recordings/      what live arms answered, a recording each
  notebooks/       the executed notebooks
  tables/ figures/ what they left (Parquet and CSV, SVG and PNG)
  unanswered.jsonl what live arms failed to answer, if anything
  findings.json    every claim's verdict on every arm, once
  decisions.json   what to decide, where a notebook says so
  report/          what `labkit.report.build` makes of all that
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labkit
from labkit.decisions import MIME as DECISIONS
from labkit.errors import ParameterError, ReportError
from labkit.exec.recording import Recording
from labkit.findings import MIME, NOT_ANSWERED, Finding
from labkit.lab import UNANSWERED
from labkit.source import connect, find_recording, is_live

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labkit.notebooks.book import Notebook
    from labkit.notebooks.execute import Outcome

__all__ = ["RECORDINGS", "Run", "begin"]

#: Where the recordings of a run's live arms are, in its folder.
RECORDINGS = "recordings"
#: What run.json says of an arm, from the header of its recording.
TOLD = ("name", "origin", "note", "recorded_at", "recorder")


@dataclass(slots=True)
class Run:
    """A run's folder and the contents of its run.json."""

    path: Path
    about: dict[str, Any]
    _saving: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Raises ParameterError where it is no run, ReportError where it is a damaged one."""
        file = path / "run.json"
        if not file.is_file():
            raise ParameterError(f"{path} is no run: it has no run.json. `labkit run` makes one")
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            _ = about["arms"], about["notebooks"], about["started_at"], about["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise ReportError(f"{file} cannot be read ({error!r}); run the notebooks again") from None
        return cls(path, about)

    @property
    def status(self) -> str:
        """`complete`, `failed` (a notebook did, or the arms could not be put back), `partial` (interrupted, or
        a live arm left questions open), or `running` (killed, if nobody runs it: `now` says where)."""
        return str(self.about["status"])

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The notebooks that failed."""
        return [n for n in self.about["notebooks"] if n["status"] == "failed"]

    def findings(self) -> list[Finding]:
        """The verdicts of the run."""
        return [Finding.from_json(entry) for entry in self._read("findings.json")]

    def decisions(self) -> list[dict[str, Any]]:
        """What its notebooks say should be decided; empty where none says so."""
        return self._read("decisions.json")

    def executed(self, name: str) -> Path:
        """Where the executed copy of a notebook is."""
        return self.path / "notebooks" / f"{name}.ipynb"

    @property
    def live(self) -> list[str]:
        """The arms that were live in it, each with a recording of its own."""
        return [arm for arm, about in self.about["arms"].items() if "recording" in about]

    def sources(self) -> dict[str, str]:
        """The source of each arm, as it was given."""
        return {arm: about["source"] for arm, about in self.about["arms"].items()}

    def recording(self, arm: str) -> Path | None:
        """Where the replies of an arm are: in this run if it was live, else where its source says."""
        about = self.about["arms"].get(arm, {})
        if arm in self.live:
            return self.path / RECORDINGS / arm
        kind, _, name = str(about.get("source", "")).partition(":")
        return find_recording(name) if kind == "replay" else None

    def unanswered(self) -> list[dict[str, str]]:
        """What live arms failed to answer: arm, asked, reason."""
        return list(self.about.get("unanswered", []))

    def save(self) -> None:
        """Write run.json whole: whoever reads it sees the old one or the new one."""
        with self._saving:
            new = self.path / "run.json.new"
            _write(new, self.about)
            new.replace(self.path / "run.json")

    def note(self, notebook: str, **facts: Any) -> None:  # noqa: ANN401  (whatever JSON holds)
        """Say something of a notebook, on disk before this returns."""
        for entry in self.about["notebooks"]:
            if entry["name"] == notebook:
                entry.update(facts)
        self.save()

    def finish(self, outcomes: Iterable[Outcome]) -> None:
        """Note how the notebooks ended, and gather what they found."""
        ended = {outcome.notebook: outcome for outcome in outcomes}
        self.about["notebooks"] = [entry | _told(ended[entry["name"]]) for entry in self.about["notebooks"]]
        statuses = {outcome.status for outcome in ended.values()}
        executed = [self.executed(name) for name in ended]
        # each where it was judged first, as it was judged last
        findings = list({_identity(entry): entry for entry in _outputs(executed, MIME)}.values())
        _write(self.path / "findings.json", findings)
        _write(self.path / "decisions.json", list(_outputs(executed, DECISIONS)))
        open_questions = self._open_questions(findings)
        if statuses & {"interrupted", "not run"}:
            status = "partial"
        elif "failed" in statuses:
            status = "failed"
        else:
            status = "partial" if open_questions else "complete"
        now = datetime.now(UTC)
        spent = now - datetime.fromisoformat(self.about["started_at"])
        self.about |= {"status": status, "ended_at": now.isoformat(), "seconds": spent.total_seconds()}
        if open_questions:
            self.about["unanswered"] = open_questions
        self.save()

    def seal(self) -> None:
        """Note what the recordings of the live arms hold, now that nothing is added to them."""
        for arm in self.live:
            path = self.recording(arm)
            if path is not None and (path / "recording.json").is_file():
                self.about["arms"][arm].update(_pinned(Recording.open(path)))
        self.save()

    def _open_questions(self, findings: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
        """What live arms failed to answer, to collectors and to claims."""
        file = self.path / UNANSWERED
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        asked = [json.loads(line) for line in lines]
        asked += [
            {"arm": " vs ".join(arms), "asked": f["claim"], "reason": f["reason"]}
            for f in findings
            if f["reason"].startswith(NOT_ANSWERED) and (arms := _live_of(f))
        ]
        return list({(one["arm"], one["asked"]): one for one in asked}.values())

    def _read(self, name: str) -> list[Any]:
        file = self.path / name
        try:
            return list(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else []
        except ValueError as error:
            raise ReportError(f"{file} cannot be read ({error}); run the notebooks again") from None


def begin(
    notebooks: Sequence[Notebook],
    sources: Mapping[str, str],
    settings: Mapping[str, str],
    out: Path | None,
    **terms: Any,  # noqa: ANN401  (whatever JSON holds)
) -> Run:
    """Make the folder of a run. Raises ParameterError where there is something in it already, SourceError and
    RecordingError for a replay that cannot be had."""
    arms = {arm: _arm(arm, source) for arm, source in sources.items()}
    started = datetime.now(UTC)
    path = out or Path("runs") / f"{started:%Y%m%dT%H%M%SZ}-{'-'.join(arms) or 'no-arms'}"
    about = {
        "labkit": labkit.__version__,
        "status": "running",
        "started_at": started.isoformat(),
        "arms": arms,
        "parameters": dict(settings),
        "notebooks": [{"name": n.name, "title": n.title, "status": "not run"} for n in notebooks],
        **terms,
    }
    made = Run(path.resolve(), about)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ParameterError(f"{path} is not empty; name a new folder with --out, or remove it")
        (path / "notebooks").mkdir()
        made.save()
    except OSError as error:
        raise ParameterError(
            f"cannot write to {path}: {error.strerror}; name another folder with --out"
        ) from None
    return made


def _arm(arm: str, source: str) -> dict[str, Any]:
    """Who the arm is: the header of its recording, and the checksum that pins down what it says.

    Of a live arm that is known when it has been opened, and when it has been closed.
    """
    if is_live(source):
        return {"source": source, **dict.fromkeys(TOLD, ""), "recording": f"{RECORDINGS}/{arm}"}
    cluster = connect(source, arm)
    recording = getattr(cluster.executor, "recording", None)
    about = {key: cluster.about.get(key, "") for key in TOLD}
    cluster.close()
    return {"source": source, **about, **(_pinned(recording) if recording else {})}


def _pinned(recording: Recording) -> dict[str, Any]:
    """How many replies there are, and the checksum of them; they hold those of the blobs."""
    replies = (recording.path / "replies.jsonl").read_bytes()
    return {"replies": len(recording), "replies_sha256": hashlib.sha256(replies).hexdigest()}


def _told(outcome: Outcome) -> dict[str, Any]:
    """An outcome as run.json keeps it."""
    told: dict[str, Any] = {"status": outcome.status, "seconds": round(outcome.seconds, 2)}
    if outcome.error:
        told["error"] = {"cell": outcome.error.cell, "message": outcome.error.message}
    return told


def _outputs(executed: Iterable[Path], mime: str) -> Iterable[dict[str, Any]]:
    """The entries of every output of this MIME type, in the order of the notebooks."""
    for path in sorted(executed):
        if path.is_file():
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
                for output in cell.get("outputs", []):
                    yield from output.get("data", {}).get(mime, [])


def _live_of(finding: Mapping[str, Any]) -> list[str]:
    """The arms of a finding that were live."""
    sides = ((finding["arm"], finding["source"]), (finding["versus"], finding["versus_source"]))
    return [arm for arm, source in sides if is_live(source)]


def _identity(finding: Mapping[str, Any]) -> tuple[str, str, str]:
    return finding["claim"], finding["arm"], finding["versus"]


def _write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
