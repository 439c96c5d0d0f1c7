"""Commands and exit codes: 0 good, 1 failed (or refuted under --strict), 2 misuse."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli import arms, recordings, show
from labkit.errors import LabError, NotebookError, ParameterError, SourceError

if TYPE_CHECKING:
    from labkit.notebooks import Run

__all__ = ["app", "main"]

MISUSE = (ParameterError, SourceError)

app = typer.Typer(
    name="labkit",
    help="Compare how clusters move packets: run the notebooks on arms, and read the report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(recordings.app, name="recordings")
arms.register(app)

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NOTEBOOK", help="name, its beginning or path; default: all"),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, help="notebooks at a time; default: one a processor")
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]


@app.command()
def run(
    names: Names = None,
    *,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm", metavar="NAME=SOURCE", help="an arm, as overlay=replay:overlay-vxlan; repeat it"
        ),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a notebook's parameter; repeat it")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="FACT", help="a fact that the arms may differ in; repeat it"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of this run; default: one of its own under runs/")
    ] = None,
    jobs: Jobs = None,
    strict: Annotated[bool, typer.Option("--strict", help="a refuted claim is a failure")] = False,
    report: Annotated[bool, typer.Option(help="render the report")] = True,
    as_json: Json = False,
) -> None:
    """Run notebooks on arms, gather their findings and render the report."""
    from labkit import notebooks  # noqa: PLC0415  (labkit --help must stay fast)
    from labkit.report import build  # noqa: PLC0415

    arms, settings = show.pairs(arm or [], "--arm"), show.pairs(setting or [], "--set")
    chosen = notebooks.select(notebooks.discover(notebooks.find_folder()), names or [])
    with show.progress([n.name for n in chosen]) as watch:
        made = notebooks.run(
            chosen, watch, arms=arms, settings=settings, out=out, jobs=jobs, allow=allow or []
        )
    page = build(made) if report else None
    typer.echo(show.as_json(show.run_summary(made, page)) if as_json else show.run_text(made, page))
    raise typer.Exit(_code(made, strict=strict))


def _code(made: Run, *, strict: bool) -> int:
    refuted = strict and any(finding.verdict == "refuted" for finding in made.findings())
    return int(made.status != "complete" or refuted)


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="folder of a run; default: the newest in runs/")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Render the report of a run again."""
    from labkit.notebooks import Run  # noqa: PLC0415
    from labkit.report import build  # noqa: PLC0415

    page = build(Run.open(folder or _newest()))
    typer.echo(show.as_json({"report": str(page)}) if as_json else show.near(page))


def _newest() -> Path:
    found = sorted(Path("runs").glob("*/run.json"))
    if not found:
        raise ParameterError("no run in runs/; name the folder of one, or make one with `labkit run`")
    return found[-1].parent


@app.command()
def refresh(names: Names = None, *, jobs: Jobs = None, as_json: Json = False) -> None:
    """Run notebooks with their own parameters and store the outputs in them, to be committed."""
    from labkit import notebooks  # noqa: PLC0415

    chosen = notebooks.select(notebooks.discover(notebooks.find_folder()), names or [])
    with show.progress([n.name for n in chosen]) as watch:
        outcomes = notebooks.refresh(chosen, watch, jobs=jobs)
    if as_json:
        told: list[dict[str, Any]] = [{"name": o.notebook, "status": o.status} for o in outcomes]
        typer.echo(show.as_json({"notebooks": told}))
    for outcome in outcomes:
        if outcome.error:
            typer.echo(f"not stored: {outcome.error}", err=True)
    raise typer.Exit(int(any(outcome.status != "ok" for outcome in outcomes)))


def main(arguments: list[str] | None = None) -> None:
    """The command `labkit`. Always ends by SystemExit. An error that labkit raises on purpose is one message, without a traceback."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends kernels as Ctrl-C does
    try:
        app(arguments)
    except LabError as error:
        lines = [str(error), *getattr(error, "__notes__", [])]
        typer.echo("labkit: " + "\n".join(lines), err=True)
        sys.exit(2 if isinstance(error, MISUSE) and not isinstance(error, NotebookError) else 1)
