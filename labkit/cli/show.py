"""How the command line reads what it is given, and shows what came of it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from labkit.errors import ParameterError
from labkit.findings import MARKS, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.table import Table

    from labkit.notebooks import Outcome, Run, Watch

__all__ = ["as_json", "named", "near", "pairs", "progress", "run_summary", "run_text", "table", "tally"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` of a repeated option. Raises ParameterError for one that is malformed or given twice."""
    read: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (equals and value and name.replace("-", "_").isidentifier()):
            raise ParameterError(f"{option} {text!r}: write {option} NAME=VALUE, with a plain word as NAME")
        if name in read:
            raise ParameterError(f"{option} {name} is given twice")
        read[name] = value
    return read


def as_json(document: object) -> str:
    """A document for another program."""
    return json.dumps(document, indent=1, ensure_ascii=False)


def near(path: Path) -> str:
    """A path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as text in columns; numbers stand at the right."""
    lines = [tuple(head), *(tuple(f"{v:,}" if isinstance(v, int) else str(v) for v in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    right = [
        len(lines) > 1 and all(line[i].replace(",", "").isdigit() for line in lines[1:])
        for i in range(len(head))
    ]
    return "\n".join(
        "  ".join(
            t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def named(folder: Path) -> list[str]:
    """The notebooks of a run. Raises what `Run.open` raises."""
    from labkit.notebooks import Run  # noqa: PLC0415

    return [entry["name"] for entry in Run.open(folder).about["notebooks"]]


def tally(findings: Iterable[Finding], arms: Iterable[str]) -> dict[str, dict[str, int]]:
    """Findings by arm and verdict; a comparison of two counts for its first arm."""
    counts = {arm: Counter[str]() for arm in arms}
    for finding in findings:
        counts.setdefault(finding.arm, Counter())[finding.verdict] += 1
    return {arm: {verdict: count[verdict] for verdict in VERDICTS} for arm, count in counts.items()}


def run_summary(run: Run, page: Path | None) -> dict[str, Any]:
    """What came of a run, for another program."""
    kept = ("status", "started_at", "seconds", "arms", "parameters", "notebooks")
    return {
        "run": str(run.path),
        **{key: run.about[key] for key in kept},
        "findings": tally(run.findings(), run.about["arms"]),
        "recordings": {arm: str(run.recording(arm)) for arm in run.live},
        "unanswered": run.unanswered(),
        "report": str(page) if page else None,
    }


def run_text(run: Run, page: Path | None) -> str:
    """What came of a run, to be read."""
    arms = run.about["arms"]
    parts = [table(("arm", "source", "origin"), ((arm, a["source"], a["origin"]) for arm, a in arms.items()))]
    if findings := run.findings():
        counts = tally(findings, arms).items()
        parts.append(table(("findings", *VERDICTS), ((arm, *count.values()) for arm, count in counts)))
    parts += [
        f"{MARKS['refuted']} {n['name']}, cell {n['error']['cell']}: {n['error']['message']}\n"
        f"  executed so far: {near(run.executed(n['name']))}"
        for n in run.failures
    ]
    if unanswered := run.unanswered():
        rows = [(one["arm"], one["asked"], one["reason"].partition(": ")[2][:100]) for one in unanswered]
        parts.append(table(("arm", "not answered", "because"), rows))
    ended = Counter(n["status"] for n in run.about["notebooks"])
    parts.append(
        f"{ended.total()} notebooks in {run.about['seconds']:.1f} s: "
        + ", ".join(f"{count} {status}" for status, count in ended.items())
        + "".join(f"\nrecording of {arm}  {near(path)}" for arm in run.live if (path := run.recording(arm)))
        + (
            f"\nlabkit run --resume {near(run.path)}  asks what is missing"
            if run.live and run.status != "complete"
            else ""
        )
        + f"\n{'report  ' + near(page) if page else 'run  ' + near(run.path)}"
    )
    return "\n\n".join(part for part in parts if part.strip())


@contextmanager
def progress(names: Sequence[str]) -> Iterator[Watch]:
    """Shows on stderr how notebooks run: a table that moves on a terminal, a line for each elsewhere."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    board = Board(names)
    with Live(get_renderable=board.table, console=Console(stderr=True), refresh_per_second=8):
        yield board


def said(outcome: Outcome) -> str:
    """One line on how a notebook ended."""
    mark = MARKS["supported"] if outcome.status == "ok" else MARKS["refuted"]
    why = "" if outcome.status == "ok" else f" {outcome.status}"
    if outcome.error:
        why += f" in cell {outcome.error.cell}: {outcome.error.message}"
    return f"{mark} {outcome.notebook} {outcome.seconds:.1f} s{why}"


class Lines:
    """A line for each notebook that ends, and for what live arms begin to do."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def told(self, arm: str, doing: str) -> None:
        """What an arm does that it did not before."""
        if doing and self._told.get(arm) != doing:
            typer.echo(f"{arm}: {doing}", err=True)
        self._told[arm] = doing

    def started(self, notebook: str) -> None:
        """Nothing yet worth a line."""

    def ended(self, outcome: Outcome) -> None:
        """How it ended."""
        typer.echo(said(outcome), err=True)


class Board:
    """What live arms are doing, and all notebooks with the seconds that each runs or ran."""

    def __init__(self, names: Sequence[str]) -> None:
        self._begun: dict[str, float] = {}
        self._ended: dict[str, Outcome] = {}
        self._names = names
        self._arms: dict[str, str] = {}

    def told(self, arm: str, doing: str) -> None:
        """Shown above the notebooks."""
        self._arms[arm] = doing

    def started(self, notebook: str) -> None:
        """From now on its seconds count."""
        self._begun[notebook] = time.monotonic()

    def ended(self, outcome: Outcome) -> None:
        """Its seconds stop."""
        self._ended[outcome.notebook] = outcome

    def table(self) -> Table:
        """The board as it stands."""
        from rich.table import Table  # noqa: PLC0415

        grid = Table.grid(padding=(0, 2))
        for arm, doing in list(self._arms.items()):
            grid.add_row("[cyan]◦[/]" if doing else "[dim]·[/]", f"arm {arm}", doing)
        for name in self._names:
            grid.add_row(*self._row(name))
        return grid

    def _row(self, name: str) -> tuple[str, str, str]:
        if outcome := self._ended.get(name):
            good = outcome.status == "ok"
            mark = f"[green]{MARKS['supported']}[/]" if good else f"[red]{MARKS['refuted']}[/]"
            return mark, name, f"{outcome.seconds:.1f} s" + ("" if good else f" {outcome.status}")
        if name in self._begun:
            return "[cyan]›[/]", f"[bold]{name}[/]", f"{time.monotonic() - self._begun[name]:.1f} s"
        return "[dim]·[/]", f"[dim]{name}[/]", ""
