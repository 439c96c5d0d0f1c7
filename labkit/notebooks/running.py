"""Running notebooks on arms: everything is checked before anything starts, and all of it ends with the run."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labkit.chain import Terms, open_chain
from labkit.errors import LabError, ParameterError
from labkit.lab import UNANSWERED
from labkit.notebooks.book import default_arms, given
from labkit.notebooks.execute import Job, execute_all
from labkit.notebooks.gate import hold
from labkit.notebooks.holding import Holding
from labkit.notebooks.kernels import Kernels
from labkit.notebooks.runs import RECORDINGS, TOLD, Run, begin
from labkit.source import is_live, settled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from labkit.chain import Opener
    from labkit.notebooks.book import Notebook
    from labkit.notebooks.execute import Outcome, Watch

__all__ = ["resume", "run"]


def run(
    notebooks: Sequence[Notebook],
    watch: Watch,
    *,
    arms: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    out: Path | None = None,
    jobs: int | None = None,
    allow: Sequence[str] = (),
    terms: Terms = Terms(),  # noqa: B008  (it is frozen)
    opener: Opener = open_chain,
) -> Run:
    """Run notebooks on arms (else on those they start with), and leave a folder.

    `out` is that folder, else one of its own under `runs/`. Live arms are held by this process, treated as
    `terms` says, recorded in the folder, and put back at the end; then the notebooks run one after the other.

    Raises ParameterError for a setting that no notebook takes and for a folder that cannot be used,
    SourceError and RecordingError for an arm that cannot be had, ParityError for arms to be measured that
    differ in more than `allow` names; all of them before anything is run. A notebook that fails is noted and
    stops no other.
    """
    with _kernels(notebooks) as kernels:
        chosen = given(notebooks, settings or {})
        own = {notebook.name: dict(arms or default_arms(notebook)) for notebook in notebooks}
        sources = _together(own)
        live = any(is_live(source) for source in sources.values())
        on = [source for source in sources.values() if source.startswith("live:")]
        if twice := sorted({source for source in on if on.count(source) > 1}):
            raise ParameterError(
                f"two arms on {twice[0]}: each would change what the other measures; name one"
            )
        if live and (jobs or 1) > 1:
            raise ParameterError("--jobs is for replays: notebooks that measure would disturb each other")
        if live:
            terms = replace(terms, recorded_at=datetime.now(UTC).isoformat())
        kept = {"allow": list(allow), "terms": asdict(terms)} if live else {}
        made = begin(notebooks, sources, settings or {}, out, **kept)
        turn = _Turn(made, notebooks, chosen, own, kernels, watch, fresh=True)
        turn.take(list(allow), terms, opener, jobs=1 if live else jobs)
    return made


def resume(
    path: Path,
    found: Sequence[Notebook],
    watch: Watch,
    *,
    allow: Sequence[str] = (),
    terms: Terms = Terms(),  # noqa: B008  (it is frozen)
    opener: Opener = open_chain,
) -> Run:
    """Go on with a run of live arms that was interrupted: what is recorded is not asked again.

    `found` are the notebooks that there are; those of the run are run once more. `allow` and the contexts
    that `terms` allows are added to those of the run, which go on holding. Raises ParameterError for a run
    that is complete or has no live arm, and all that `run` raises.
    """
    made = Run.open(path.resolve())
    if made.status == "complete":
        raise ParameterError(f"{path} is complete: nothing is missing")
    if not any(is_live(source) for source in made.sources().values()):
        raise ParameterError(f"{path} has no live arm to ask; run its notebooks again with `labkit run`")
    by_name = {notebook.name: notebook for notebook in found}
    names = [entry["name"] for entry in made.about["notebooks"]]
    if missing := [name for name in names if name not in by_name]:
        raise ParameterError(f"{path} ran {missing[0]}, which is no notebook here")
    notebooks = [by_name[name] for name in names]
    before = Terms(**{**made.about["terms"], "allow_context": tuple(made.about["terms"]["allow_context"])})
    again = replace(before, allow_context=(*before.allow_context, *terms.allow_context))
    allowed = list(dict.fromkeys([*made.about["allow"], *allow]))
    made.about |= {"status": "running", "allow": allowed, "terms": asdict(again)}
    made.about.pop("unanswered", None)
    (made.path / UNANSWERED).unlink(missing_ok=True)
    made.save()
    with _kernels(notebooks) as kernels:
        chosen = given(notebooks, made.about["parameters"])
        own = {notebook.name: made.sources() for notebook in notebooks}
        turn = _Turn(made, notebooks, chosen, own, kernels, watch, fresh=False)
        turn.take(allowed, again, opener, jobs=1)
    return made


def _together(own: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The arms of all notebooks. Raises ParameterError where one name stands for two arms."""
    sources: dict[str, str] = {}
    for notebook, arms in own.items():
        for arm, source in arms.items():
            if sources.setdefault(arm, source) != source:
                raise ParameterError(
                    f"{notebook} starts with {arm}={source}, another with {arm}={sources[arm]}; name the arms with --arm"
                )
    return {arm: settled(source) for arm, source in sources.items()}


def _kernels(notebooks: Sequence[Notebook]) -> Kernels:
    return Kernels(name for notebook in notebooks for name in notebook.modules)


@dataclass(frozen=True, slots=True)
class _Turn:
    """One execution of a run's notebooks."""

    made: Run
    notebooks: Sequence[Notebook]
    chosen: Mapping[str, Mapping[str, Any]]
    #: The arms that each notebook gets: those of the run, or where none were named its own.
    own: Mapping[str, Mapping[str, str]]
    kernels: Kernels
    watch: Watch
    fresh: bool

    def take(self, allow: list[str], terms: Terms, opener: Opener, *, jobs: int | None) -> None:
        """Open the live arms, run the notebooks, put the arms back; the run's folder says how it went."""
        made, sources = self.made, self.made.sources()
        with contextlib.ExitStack() as held:
            holding = Holding(sources, made.path / RECORDINGS, terms, self.watch, opener)
            try:
                held.enter_context(holding)
            except BaseException:
                self._not_begun()
                raise
            try:
                for arm, chain in holding.chains.items():
                    made.about["arms"][arm] |= {key: chain.about.get(key, "") for key in TOLD}
                made.save()
                hold(holding.clusters, allow)
                self.kernels.environ.update(holding.environ)
                works = self._works(sources, {"out": str(made.path), "allow": allow})
                if not holding.chains:
                    took = _earlier(made)  # the longest starts first; the number of cells is a guess
                    works.sort(key=lambda job: _length(job, took), reverse=True)
                made.finish(execute_all(works, self.kernels, jobs, _Noting(made, self.watch)))
                held.close()
            except BaseException as error:
                self._failed(error)
                raise
        made.seal()

    def _works(self, sources: Mapping[str, str], common: Mapping[str, Any]) -> list[Job]:
        jobs = []
        for n in self.notebooks:
            told = {**common, "arms": {arm: sources[arm] for arm in self.own[n.name]}}
            jobs.append(Job(n, self.made.executed(n.name), {**_told_to(n, told), **self.chosen[n.name]}))
        return jobs

    def _not_begun(self) -> None:
        """An arm could not be had: a new run leaves nothing, one that was gone on with is as it was."""
        if not self.fresh:
            self.made.about["status"] = "partial"
            self.made.save()
            return
        for folder in ("notebooks", RECORDINGS):
            shutil.rmtree(self.made.path / folder, ignore_errors=True)
        (self.made.path / "run.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it was there before, and stays
            self.made.path.rmdir()

    def _failed(self, error: BaseException) -> None:
        """The arms may not be measured together, or could not be put back. What was recorded stays."""
        self.made.about["status"] = "failed" if isinstance(error, LabError) else "partial"
        self.made.about["error"] = f"{type(error).__name__}: {error}"
        self.made.seal()
        if isinstance(error, LabError):
            error.add_note(f"what was recorded until then is in {self.made.path}; --resume goes on with it")


class _Noting:
    """Keeps run.json at what is happening, so that a killed run says where it stopped."""

    def __init__(self, made: Run, watch: Watch) -> None:
        self._made, self._watch = made, watch

    def started(self, notebook: str) -> None:
        """Its turn has come."""
        self._made.note(notebook, status="running")
        self._watch.started(notebook)

    def ended(self, outcome: Outcome) -> None:
        """How it ended."""
        self._made.note(outcome.notebook, status=outcome.status, seconds=round(outcome.seconds, 2))
        self._watch.ended(outcome)

    def told(self, arm: str, doing: str) -> None:
        """Passed on."""
        self._watch.told(arm, doing)


def _told_to(notebook: Notebook, common: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that every notebook gets, where it takes them."""
    return {name: value for name, value in common.items() if name in notebook.parameters}


def _length(job: Job, took: Mapping[str, float]) -> float:
    return took.get(job.notebook.name, len(job.notebook.cells) / 10)


def _earlier(made: Run) -> dict[str, float]:
    """Seconds that each notebook took in the run before this one in the same folder."""
    before = sorted(file.parent for file in made.path.parent.glob("*/run.json") if file.parent != made.path)
    for path in reversed(before):
        with contextlib.suppress(LabError):
            return {n["name"]: n["seconds"] for n in Run.open(path).about["notebooks"] if n["status"] == "ok"}
    return {}
