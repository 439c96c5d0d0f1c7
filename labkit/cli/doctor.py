"""`labkit doctor`: what is there, what is missing, and how to get it. Changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labkit.cli import show

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labkit.doctor import Check

__all__ = ["doctor", "register"]

Images = Annotated[
    Path | None, typer.Option(metavar="FILE", help="images of the lab, as `labkit run --images` takes them")
]
COLOURS = {"ok": typer.colors.GREEN, "missing": typer.colors.RED, "note": typer.colors.YELLOW}


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(doctor)


def doctor(
    *,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME=SOURCE", help="an arm that will be run; repeat it"),
    ] = None,
    images: Images = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")
    ] = False,
) -> None:
    """Look at all that a run of these arms needs. Ends with 1 if something is missing."""
    from labkit.doctor import examine  # noqa: PLC0415  (labkit --help must stay fast)

    found = list(examine(show.pairs(arm or [], "--arm"), images))
    typer.echo(show.as_json([check.to_json() for check in found]) if as_json else _text(found))
    raise typer.Exit(int(any(check.state == "missing" for check in found)))


def _text(found: Iterable[Check]) -> str:
    """A table; the remedy stands under what needs one, since both are sentences."""
    checks = list(found)
    width = max(len(_subject(check)) for check in checks)
    lines = []
    for check in checks:
        state = check.state.ljust(7)
        state = typer.style(state, fg=COLOURS[check.state]) if sys.stdout.isatty() else state
        lines.append(f"{state}  {_subject(check).ljust(width)}  {check.found}".rstrip())
        if check.remedy:
            lines.append(f"{' ' * 9}{' ' * width}  -> {check.remedy}")
    return "\n".join(lines)


def _subject(check: Check) -> str:
    return f"{check.arm}: {check.check}" if check.arm else check.check
