"""How arms that are created or removed are shown."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from labkit.cli import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import pandas as pd
    from rich.table import Table

    from labkit.azure.removal import Left
    from labkit.kind.clusters import Outcome
    from labkit.provision.pace import Watch
    from labkit.provision.plan import Plan
    from labkit.provision.state import State

__all__ = ["dry_run", "frame_text", "kind_text", "left_text", "progress", "up_text"]


def dry_run(plan: Plan, state: State, allow: Sequence[str], now: datetime, *, as_json: bool) -> str:
    """Everything that `up` would ask for. Nothing is sent, nothing is run."""
    if plan.provider == "kind":
        return _kind_dry_run(plan, state, as_json=as_json)
    from labkit.analysis.parity import gate  # noqa: PLC0415
    from labkit.azure import bodies, parity, tags  # noqa: PLC0415
    from labkit.provision.cost import assumptions, estimate  # noqa: PLC0415

    asked = bodies.requests(plan, tags.made(plan, now))
    cost, said = estimate(plan), assumptions(plan)
    gated = gate(parity.planned(plan), allow)
    if as_json:
        return show.as_json(
            {
                "requests": [asdict(request) for request in asked],
                "estimate": records(cost),
                "assumptions": said,
                "parity": records(gated),
            }
        )
    parts = [
        f"{request.method} {request.path}?api-version={request.api_version}\n{show.as_json(request.body)}"
        for request in asked
    ]
    total = None if cost["cost"].isna().any() else float(cost["cost"].sum())
    parts += [
        frame_text(cost, ""),
        "cost: "
        + ("unknown, for want of prices" if total is None else f"{total:.2f} {plan.prices.currency}".strip()),
        "\n".join(f"- {sentence}" for sentence in said),
        _parity_text(gated),
        "nothing was sent",
    ]
    return "\n\n".join(parts)


def up_text(plan: Plan, state: State, gated: pd.DataFrame, notes: Sequence[str], *, as_json: bool) -> str:
    """What stands now, and how to go on."""
    contexts = {arm.name: plan.context(arm) for arm in plan.created}
    expiry = str(state.about.get("expiry", ""))
    if as_json:
        told = {
            "contexts": contexts,
            "kubeconfig": str(state.kubeconfig),
            "expiry": expiry,
            "notes": list(notes),
        }
        return show.as_json({**told, "parity": records(gated)})
    arms = show.table(("arm", "context"), contexts.items())
    later = [
        f"{arm.name} comes of {arm.of}: measure that first, then `labkit up --move {arm.name}`"
        for arm in plan.moved
    ]
    return "\n\n".join(
        part
        for part in (
            arms,
            _parity_text(gated),
            "\n".join([*notes, *later]),
            _go_on(contexts, state),
            f"expires {expiry}; `labkit down` removes it earlier",
        )
        if part
    )


def kind_text(outcome: Outcome, state: State, *, as_json: bool) -> str:
    """What stands now on kind, or the commands that were not run."""
    if as_json:
        return show.as_json({**asdict(outcome), "kubeconfig": str(state.kubeconfig)})
    parts = ["\n".join(outcome.notes), "\n".join(outcome.not_run)]
    if outcome.contexts:
        parts = [
            show.table(("arm", "context"), outcome.contexts.items()),
            *parts,
            _go_on(outcome.contexts, state),
        ]
    return "\n\n".join(part for part in parts if part)


def left_text(left: Sequence[Left], *, removed: Sequence[str] = (), as_json: bool) -> str:
    """What is still there, and why; or that nothing is."""
    if as_json:
        return show.as_json({"left": [asdict(one) for one in left], "removed": list(removed)})
    if not left:
        return "nothing is left" if not removed else f"removed: {', '.join(removed)}; nothing of it is left"
    return "still there:\n" + show.table(
        ("what", "state", "why"), ((one.name, one.state, one.why) for one in left)
    )


def frame_text(frame: pd.DataFrame, empty: str) -> str:
    """A frame as text; NA is a dash."""
    if frame.empty:
        return empty
    rows = ([_cell(value) for value in row] for row in frame.itertuples(index=False))
    return show.table(list(frame.columns), rows)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for another program; NA is null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


@contextmanager
def progress() -> Iterator[Watch]:
    """Shows on stderr what happens: a table that moves on a terminal, a line for each change elsewhere."""
    board = Board()
    if not sys.stderr.isatty():
        yield Lines(board)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    with Live(get_renderable=board.table, console=Console(stderr=True), refresh_per_second=2):
        yield board


class Board:
    """Every arm and group, its state, how long it has been watched, and what Azure is doing."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._told: dict[str, tuple[str, str]] = {}

    def told(self, subject: str, state: str, doing: str) -> None:
        """From the first time on its seconds count."""
        self._begun.setdefault(subject, time.monotonic())
        self._told[subject] = (state, doing)

    def last(self, subject: str) -> tuple[str, str] | None:
        """What was told last of a subject."""
        return self._told.get(subject)

    def elapsed(self, subject: str) -> str:
        """Minutes and seconds since it was first told of."""
        minutes, seconds = divmod(int(time.monotonic() - self._begun[subject]), 60)
        return f"{minutes}:{seconds:02d}"

    def table(self) -> Table:
        """The board as it stands."""
        from rich.table import Table  # noqa: PLC0415

        grid = Table.grid(padding=(0, 2))
        for subject, (state, doing) in list(self._told.items()):
            grid.add_row(subject, state, self.elapsed(subject), doing)
        return grid


class Lines:
    """A line for each change."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def told(self, subject: str, state: str, doing: str) -> None:
        """Prints what is new."""
        new = self._board.last(subject) != (state, doing)
        self._board.told(subject, state, doing)
        if new:
            typer.echo(
                f"{self._board.elapsed(subject)} {subject}: {state}" + (f", {doing}" if doing else ""),
                err=True,
            )


def _kind_dry_run(plan: Plan, state: State, *, as_json: bool) -> str:
    import yaml  # noqa: PLC0415

    from labkit.kind import clusters, commands  # noqa: PLC0415

    configs = {arm.name: commands.config(plan, arm) for arm in plan.created}
    lines = [shlex.join(argv) for argv in clusters.planned(plan, state)]
    if as_json:
        return show.as_json({"configs": configs, "commands": lines})
    files = [
        f"# {name}.kind.yaml\n{yaml.safe_dump(config, sort_keys=False)}" for name, config in configs.items()
    ]
    return "\n".join([*files, *lines, "", "nothing was run"])


def _parity_text(gated: pd.DataFrame) -> str:
    differing = gated[gated["status"] != "same"]
    same = len(gated) - len(differing)
    table = frame_text(differing.drop(columns="why_it_matters"), "") if len(differing) else ""
    return f"{table}\n{same} facts are the same in all arms".strip()


def _go_on(contexts: dict[str, str], state: State) -> str:
    arms = " ".join(f"--arm {name}=live:{context}" for name, context in contexts.items())
    return f"export KUBECONFIG={shlex.quote(str(state.kubeconfig.resolve()))}\nlabkit run {arms}"


def _cell(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
