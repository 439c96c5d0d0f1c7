"""The folder a run leaves: what was run on what, and what came of it.

runs/<utc>-<arms>/
  run.json         arms with origin, note and checksum; parameters; how each notebook ended
  notebooks/       the executed notebooks
  tables/ figures/ what they left (Parquet and CSV, SVG and PNG)
  findings.json    every claim's verdict on every arm, once
  decisions.json   what to decide, where a notebook says so
  report/          what `labkit.report.build` makes of all that
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labkit
from labkit.decisions import MIME as DECISIONS
from labkit.errors import LabError, ParameterError, ReportError
from labkit.findings import MIME, Finding
from labkit.notebooks.book import default_arms, given
from labkit.notebooks.execute import Job, Outcome, Watch, execute_all
from labkit.notebooks.gate import hold
from labkit.notebooks.kernels import Kernels
from labkit.source import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labkit.notebooks.book import Notebook

__all__ = ["Run", "run"]


@dataclass(slots=True)
class Run:
    """A run's folder and the contents of its run.json."""

    path: Path
    about: dict[str, Any]

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
        """`complete`, `failed` (a notebook did), `partial` (interrupted), or `running` (killed, if nobody runs it)."""
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

    def save(self) -> None:
        """Write run.json."""
        _write(self.path / "run.json", self.about)

    def finish(self, outcomes: Iterable[Outcome]) -> None:
        """Note how the notebooks ended, and gather what they found."""
        ended = {outcome.notebook: outcome for outcome in outcomes}
        self.about["notebooks"] = [entry | _told(ended[entry["name"]]) for entry in self.about["notebooks"]]
        statuses = {outcome.status for outcome in ended.values()}
        worst = (
            "partial"
            if statuses & {"interrupted", "not run"}
            else "failed"
            if "failed" in statuses
            else "complete"
        )
        now = datetime.now(UTC)
        spent = now - datetime.fromisoformat(self.about["started_at"])
        self.about |= {"status": worst, "ended_at": now.isoformat(), "seconds": spent.total_seconds()}
        executed = [self.executed(name) for name in ended]
        findings = {_identity(entry): entry for entry in reversed(list(_outputs(executed, MIME)))}
        _write(self.path / "findings.json", list(reversed(findings.values())))
        _write(self.path / "decisions.json", list(_outputs(executed, DECISIONS)))
        self.save()

    def _read(self, name: str) -> list[Any]:
        file = self.path / name
        try:
            return list(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else []
        except ValueError as error:
            raise ReportError(f"{file} cannot be read ({error}); run the notebooks again") from None


def run(
    notebooks: Sequence[Notebook],
    watch: Watch,
    *,
    arms: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    out: Path | None = None,
    jobs: int | None = None,
    allow: Sequence[str] = (),
) -> Run:
    """Run notebooks on arms (else on those they start with), and leave a folder.

    `out` is that folder, else one of its own under `runs/`. Raises ParameterError for a setting that no
    notebook takes and for a folder that cannot be used, SourceError and RecordingError for an arm that
    cannot be had, ParityError for arms to be measured that differ in more than `allow` names; all of them
    before anything is run. A notebook that fails is noted and stops no other.
    """
    with Kernels(name for notebook in notebooks for name in notebook.modules) as kernels:
        chosen = given(notebooks, settings or {})
        sources = dict(arms or default_arms(notebooks))
        hold(sources, allow)
        made = _new(notebooks, sources, settings or {}, out)
        common = {"arms": sources, "out": str(made.path), "allow": list(allow)}
        works = [Job(n, made.executed(n.name), _told_to(n, common) | chosen[n.name]) for n in notebooks]
        took = _earlier(made)  # the longest starts first; the number of cells is a guess
        works.sort(key=lambda job: took.get(job.notebook.name, len(job.notebook.cells) / 10), reverse=True)
        made.finish(execute_all(works, kernels, jobs, watch))
    return made


def _new(
    notebooks: Sequence[Notebook], sources: Mapping[str, str], settings: Mapping[str, str], out: Path | None
) -> Run:
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
    """Who the arm is: the header of its recording, and the checksum that pins down what it says."""
    cluster = connect(source, arm)
    about = {key: cluster.about.get(key, "") for key in ("name", "origin", "note", "recorded_at", "recorder")}
    recording = getattr(cluster.executor, "recording", None)
    if recording is not None:
        replies = (recording.path / "replies.jsonl").read_bytes()  # they hold the checksums of the blobs
        about |= {"replies": len(recording), "replies_sha256": hashlib.sha256(replies).hexdigest()}
    cluster.close()
    return {"source": source, **about}


def _told_to(notebook: Notebook, common: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that every notebook gets, where it takes them."""
    return {name: value for name, value in common.items() if name in notebook.parameters}


def _earlier(made: Run) -> dict[str, float]:
    """Seconds that each notebook took in the run before this one in the same folder."""
    before = sorted(file.parent for file in made.path.parent.glob("*/run.json") if file.parent != made.path)
    for path in reversed(before):
        with contextlib.suppress(LabError):
            return {n["name"]: n["seconds"] for n in Run.open(path).about["notebooks"] if n["status"] == "ok"}
    return {}


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


def _identity(finding: Mapping[str, Any]) -> tuple[str, str, str]:
    return finding["claim"], finding["arm"], finding["versus"]


def _write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
