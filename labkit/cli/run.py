"""`labkit run`, `report` and `refresh`: notebooks on arms, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.chain import Terms
from labkit.cli import show
from labkit.errors import ParameterError

if TYPE_CHECKING:
    from labkit.notebooks import Run

__all__ = ["newest", "refresh", "register", "report", "run"]

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NOTEBOOK", help="name, its beginning or path; default: all"),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="notebooks at a time; default: one a processor, with live arms one"),
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]

Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        metavar="NAME=SOURCE",
        help="an arm: replay:RECORDING, netns:TOPOLOGY or live:CONTEXT; repeat it",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a notebook's parameter; repeat it")
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="FACT", help="a fact that the arms may differ in; repeat it"),
]
Out = Annotated[Path | None, typer.Option(help="folder of this run; default: one of its own under runs/")]
PlanName = Annotated[
    str,
    typer.Option(
        metavar="quick|full[:PART=N,…]",
        help="how much live arms are measured, as full:services=1,100,20000; default: quick for netns, else full",
    ),
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="ask live arms only what needs no change")]
AllowContext = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="a context whose cluster may be changed though labkit did not make it"),
]
RedactIps = Annotated[
    bool, typer.Option("--redact-ips", help="take public addresses out of what live arms answer")
]
Images = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="images that live arms pull in place of labkit's, as from a private registry"
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="go on with a run of live arms: ask only what is missing"),
]
Strict = Annotated[bool, typer.Option("--strict", help="a refuted claim is a failure")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (run, report, refresh):
        app.command()(command)


def run(
    names: Names = None,
    *,
    arm: Arms = None,
    setting: Settings = None,
    allow: Allow = None,
    out: Out = None,
    plan: PlanName = "",
    read_only: ReadOnly = False,
    allow_context: AllowContext = None,
    redact_ips: RedactIps = False,
    images: Images = None,
    resume: Resume = None,
    jobs: Jobs = None,
    strict: Strict = False,
    report: Annotated[bool, typer.Option(help="render the report")] = True,
    as_json: Json = False,
) -> None:
    """Run notebooks on arms, gather their findings and render the report."""
    from labkit import notebooks  # noqa: PLC0415  (labkit --help must stay fast)
    from labkit.report import build  # noqa: PLC0415

    arms, settings = show.pairs(arm or [], "--arm"), show.pairs(setting or [], "--set")
    file = str(images.resolve()) if images else ""
    terms = Terms(plan, read_only, tuple(allow_context or ()), redact_ips, file)
    found = notebooks.discover(notebooks.find_folder())
    if resume:
        if names or arms or settings or out or plan or read_only or redact_ips or images:
            raise ParameterError("--resume goes on with a run as it was; beside it: --allow, --allow-context")
        with show.progress(show.named(resume)) as watch:
            made = notebooks.resume(resume, found, watch, allow=allow or [], terms=terms)
    else:
        chosen = notebooks.select(found, names or [])
        with show.progress([n.name for n in chosen]) as watch:
            made = notebooks.run(
                chosen,
                watch,
                arms=arms,
                settings=settings,
                out=out,
                jobs=jobs,
                allow=allow or [],
                terms=terms,
            )
    page = build(made) if report else None
    typer.echo(show.as_json(show.run_summary(made, page)) if as_json else show.run_text(made, page))
    raise typer.Exit(_code(made, strict=strict))


def _code(made: Run, *, strict: bool) -> int:
    refuted = strict and any(finding.verdict == "refuted" for finding in made.findings())
    return int(made.status != "complete" or refuted)


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

    page = build(Run.open(folder or newest()))
    typer.echo(show.as_json({"report": str(page)}) if as_json else show.near(page))


def newest() -> Path:
    """The newest run in `runs/`."""
    found = sorted(Path("runs").glob("*/run.json"))
    if not found:
        raise ParameterError("no run in runs/; name the folder of one, or make one with `labkit run`")
    return found[-1].parent


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
