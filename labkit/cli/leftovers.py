"""`labkit down netns` and `labkit down --arm`: what killed runs left on this machine or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from labkit.cli import show
from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["of_arms", "of_namespaces"]


def of_namespaces(*, as_json: bool) -> None:
    """End labs whose owner is gone, and remove their folders. Labs that a running labkit holds stay."""
    from labkit.exec import lab_folder  # noqa: PLC0415

    swept = [str(path) for path in lab_folder.sweep()]
    running = [{"topology": lab.topology, "owner": lab.owner.pid} for lab in lab_folder.running()]
    if as_json:
        typer.echo(show.as_json({"removed": swept, "running": running}))
        return
    typer.echo("\n".join(f"removed {path}" for path in swept) or "nothing was left")
    for lab in running:
        typer.echo(f"{lab['topology']} runs on: process {lab['owner']} holds it, and it ends with that")


def of_arms(arms: Sequence[str], allow_context: Sequence[str], *, yes: bool, as_json: bool) -> None:
    """Remove what carries labkit's label on these clusters, after showing it."""
    from labkit.chain import Terms, talking  # noqa: PLC0415
    from labkit.experiments.leftovers import leftovers, remove  # noqa: PLC0415

    removed: dict[str, list[str]] = {}
    for arm, source in show.pairs(arms, "--arm").items():
        if not source.startswith("live:"):
            raise ParameterError(f"--arm {arm}={source}: only clusters (live:CONTEXT) keep what a run left")
        executor = talking(source, Terms(allow_context=tuple(allow_context)))
        try:
            found = leftovers(executor)
            for one in found:
                typer.echo(f"{arm}: {one}", err=True)
            if found and not yes:
                typer.confirm(f"Delete these from {source}?", abort=True, err=True)
            removed[arm] = [str(one) for one in (remove(executor, found) if found else [])]
        finally:
            executor.close()
    if as_json:
        typer.echo(show.as_json({"removed": removed}))
        return
    for arm, names in removed.items():
        typer.echo(f"{arm}: removed {len(names)}" if names else f"{arm}: nothing was left")
