"""`labkit record`: a run's recording gets a name, after a replay of it said the same as the arm did live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import show
from labkit.cli.run import newest
from labkit.errors import ParameterError

if TYPE_CHECKING:
    from labkit.notebooks import Run
    from labkit.promotion import Promotion

__all__ = ["record", "register"]

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(record)


def record(
    name: Annotated[str, typer.Argument(metavar="NAME", help="name of the recording; of many arms NAME-ARM")],
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="folder of a run; default: the newest in runs/")
    ] = None,
    *,
    arm: Annotated[
        str, typer.Option("--arm", metavar="ARM", help="one live arm of the run; default: all")
    ] = "",
    folder: Annotated[
        Path | None, typer.Option(help="where recordings are; default: data/recordings here or above")
    ] = None,
    as_json: Json = False,
) -> None:
    """Promote what a run recorded to `data/recordings/NAME`.

    Refused where it is not whole, holds what must not be written, or replays to other findings than the run's.
    """
    from labkit import promotion  # noqa: PLC0415  (it imports pandas)
    from labkit.notebooks import Run  # noqa: PLC0415

    made = Run.open(run or newest())
    chosen = _chosen(made, name, arm)
    problems = [problem for each in chosen.names for problem in promotion.problems(chosen.paths[each])]
    differences, compared = ([], 0) if problems else chosen.differences(made.findings())
    told = {
        "problems": problems,
        "compared": compared,
        "differences": [[d.claim, d.arm, d.part, d.live, d.replayed] for d in differences],
    }
    written = [] if problems or differences else chosen.to(folder or _recordings())
    if as_json:
        typer.echo(show.as_json({**told, "recordings": [str(path) for path in written]}))
    else:
        _tell(problems, told["differences"], compared, written)
    raise typer.Exit(int(not written))


def _tell(problems: list[str], differences: object, compared: int, written: list[Path]) -> None:
    for problem in problems:
        typer.echo(problem)
    rows = [tuple(str(part)[:80] for part in row) for row in differences]  # type: ignore[attr-defined]
    if rows:
        typer.echo(show.table(("claim", "arm", "part", "live", "replayed"), rows))
    if not written:
        typer.echo(f"nothing was promoted: {len(problems)} problems, {len(rows)} differences")
        return
    typer.echo(f"{compared} findings are the same live and replayed")
    for path in written:
        typer.echo(f"{show.near(path)}: --arm NAME=replay:{path.name}")


def _chosen(made: Run, name: str, arm: str) -> Promotion:
    from labkit.promotion import Promotion  # noqa: PLC0415

    live = made.live
    if not live:
        raise ParameterError(f"{made.path} has no live arm, so it recorded nothing")
    if arm and arm not in live:
        raise ParameterError(f"no live arm {arm!r} in {made.path}; there are: {', '.join(live)}")
    if Path(name).name != name or name.startswith("."):
        raise ParameterError(f"{name!r} is no name for a folder")
    if not made.findings():
        raise ParameterError(f"{made.path} has no findings to compare with; run 07_comparison in it")
    names = {arm: name} if arm else {each: f"{name}-{each}" for each in live}
    if len(live) == 1:
        names = {live[0]: name}
    paths = {each: path for each in live if (path := made.recording(each))}
    others = {each: source for each, source in made.sources().items() if each not in live}
    return Promotion(paths, names, others)


def _recordings() -> Path:
    here = Path.cwd()
    found = (top / "data" / "recordings" for top in (here, *here.parents))
    return next((path for path in found if path.is_dir()), here / "data" / "recordings")
