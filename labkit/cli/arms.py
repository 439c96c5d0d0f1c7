"""`labkit up`, `down` and `reap`: create the arms of a plan, remove them, remove what has expired."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labkit.cli import arms_show, leftovers
from labkit.errors import ParameterError
from labkit.exec.tool import Tools
from labkit.provision.pace import Pace
from labkit.provision.plan import Plan, read
from labkit.provision.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from labkit.azure.clients import Clients

__all__ = ["Outside", "down", "reap", "register", "up"]

PlanFile = Annotated[Path, typer.Option("--plan", help="the plan, a TOML file")]
Folder = Annotated[
    Path | None, typer.Option(help="folder of the run's state and credentials; default: runs/arms-NAME")
]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]
GOES_ON = (
    "interrupted; what was begun goes on without labkit: the same command continues, `labkit down` removes"
)


@dataclass(frozen=True, slots=True)
class Outside:
    """What the commands reach outside of labkit. Tests state their own, as the object of Typer's context."""

    options: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    pace: Pace = field(default_factory=Pace)

    @property
    def tools(self) -> Tools:
        return Tools(self.environ)

    @contextmanager
    def clients(self, subscription: str) -> Iterator[Clients]:
        """Azure's clients, closed at the end."""
        from labkit.azure.clients import Clients  # noqa: PLC0415  (labkit --help must stay fast)

        if not subscription:
            raise ParameterError("no subscription; name it in the plan, or in AZURE_SUBSCRIPTION_ID")
        clients = Clients(subscription, **self.options)
        try:
            yield clients
        except KeyboardInterrupt:
            typer.echo(GOES_ON, err=True)
            raise typer.Exit(130) from None
        finally:
            clients.close()

    @property
    def merged(self) -> Path:
        """The person's own kubeconfig."""
        first = self.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        return Path(first) if first else Path(self.environ.get("HOME", "~")).expanduser() / ".kube" / "config"


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (up, down, reap):
        app.command()(command)


def up(
    context: typer.Context,
    *,
    plan: PlanFile = Path("plan.toml"),
    folder: Folder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print every request and a cost estimate, and send nothing")
    ] = False,
    move: Annotated[
        str, typer.Option(metavar="ARM", help="move a cluster's dataplane, as the arm says; irreversible")
    ] = "",
    allow: Annotated[
        list[str] | None, typer.Option(metavar="FACT", help="a fact that may differ between arms; repeat it")
    ] = None,
    merge_kubeconfig: Annotated[
        bool, typer.Option("--merge-kubeconfig", help="put the contexts into your own kubeconfig too")
    ] = False,
    admin: Annotated[
        bool, typer.Option("--admin", help="the local administrator's credentials instead of yours")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Create the arms of a plan; what exists is kept, what was interrupted goes on."""
    outside = _outside(context)
    read_plan = read(plan, outside.environ)
    state_folder = folder or _folder(read_plan)
    if dry_run:
        typer.echo(
            arms_show.dry_run(
                read_plan, State(state_folder), allow or [], outside.pace.now(), as_json=as_json
            )
        )
        return
    state = State.open(state_folder, read_plan)
    merged = outside.merged if merge_kubeconfig else None
    if read_plan.provider == "kind":
        if move or admin:
            raise ParameterError("--move and --admin are for Azure")
        typer.echo(_kind_up(read_plan, state, outside, merged, as_json=as_json))
        return
    if move:
        _ask_to_move(read_plan, move, yes=yes)
    typer.echo(_azure_up(read_plan, state, outside, move, allow or [], merged, admin=admin, as_json=as_json))


def down(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="[netns]", help="netns: labs of namespaces that nobody holds any more")
    ] = "",
    *,
    arm: Annotated[
        list[str] | None,
        typer.Option("--arm", metavar="NAME=live:CONTEXT", help="what runs left on a cluster; repeat it"),
    ] = None,
    allow_context: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="a context whose cluster labkit did not make")
    ] = None,
    plan: PlanFile = Path("plan.toml"),
    folder: Folder = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove the arms of a plan, and wait until nothing of them answers any more; or what runs left on an arm."""
    if what not in ("", "netns"):
        raise ParameterError(
            f"down {what!r}: write `down netns`, `down --arm NAME=live:CONTEXT` or `down --plan FILE`"
        )
    if what:
        leftovers.of_namespaces(as_json=as_json)
        return
    if arm:
        leftovers.of_arms(arm, allow_context or [], yes=yes, as_json=as_json)
        return
    _down_of_plan(_outside(context), plan, folder, yes=yes, as_json=as_json)


def _down_of_plan(outside: Outside, plan: Path, folder: Path | None, *, yes: bool, as_json: bool) -> None:
    read_plan = read(plan, outside.environ)
    state = State.open(folder or _folder(read_plan), read_plan)
    merged = Path(state.about["merged"]) if state.about.get("merged") else None
    if read_plan.provider == "kind":
        from labkit.kind import clusters  # noqa: PLC0415

        if not yes:
            names = ", ".join(arm["cluster"] for arm in state.arms.values() if "cluster" in arm) or "nothing"
            typer.confirm(f"Delete the kind clusters {names}?", abort=True, err=True)
        with arms_show.progress() as watch:
            outcome = clusters.down(read_plan, state, outside.tools, watch, merged=merged)
        typer.echo(arms_show.kind_text(outcome, state, as_json=as_json))
        return
    from labkit.azure import bodies  # noqa: PLC0415
    from labkit.azure import down as azure  # noqa: PLC0415

    with outside.clients(read_plan.subscription) as clients:
        inside = azure.inside(clients, read_plan)
        if not yes:
            typer.echo(arms_show.frame_text(inside, "there is nothing in it"), err=True)
            typer.confirm(f"Delete the resource group {bodies.group_name(read_plan)}?", abort=True, err=True)
        with arms_show.progress() as watch:
            left = azure.down(read_plan, clients, state, watch, outside.pace, merged=merged)
    typer.echo(arms_show.left_text(left, as_json=as_json))
    raise typer.Exit(int(bool(left)))


def reap(
    context: typer.Context,
    *,
    plan: Annotated[Path | None, typer.Option("--plan", help="a plan that names the subscription")] = None,
    subscription: Annotated[
        str, typer.Option(help="default: that of the plan, or AZURE_SUBSCRIPTION_ID")
    ] = "",
    owner: Annotated[str, typer.Option(help="whose; default: the plan's owner, or you")] = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Show every resource group that labkit made, and remove those of yours that have expired."""
    from labkit.azure import down as azure  # noqa: PLC0415

    outside = _outside(context)
    read_plan = read(plan, outside.environ) if plan else None
    where = subscription or (
        read_plan.subscription if read_plan else outside.environ.get("AZURE_SUBSCRIPTION_ID", "")
    )
    whose = owner or (read_plan.owner if read_plan else getuser())
    with outside.clients(where) as clients:
        found = azure.groups(clients, whose, outside.pace.now())
        chosen = azure.to_remove(found)
        typer.echo(arms_show.frame_text(found, "no resource group carries labkit's tags"), err=True)
        left = []
        if not chosen.empty:
            names = chosen["group"].tolist()
            if not yes:
                typer.confirm(f"Delete {', '.join(names)}?", abort=True, err=True)
            with arms_show.progress() as watch:
                left = azure.reap(names, clients, whose, watch, outside.pace)
    typer.echo(arms_show.left_text(left, removed=chosen["group"].tolist(), as_json=as_json))
    raise typer.Exit(int(bool(left)))


def _azure_up(
    plan: Plan,
    state: State,
    outside: Outside,
    move: str,
    allow: list[str],
    merged: Path | None,
    *,
    admin: bool,
    as_json: bool,
) -> str:
    from labkit.analysis import parity as gates  # noqa: PLC0415
    from labkit.azure import credentials, parity  # noqa: PLC0415
    from labkit.azure.move import move as move_cluster  # noqa: PLC0415
    from labkit.azure.up import up as set_up  # noqa: PLC0415

    gates.require(gates.gate(parity.planned(plan), allow))  # before anything costs
    with outside.clients(plan.subscription) as clients, arms_show.progress() as watch:
        if move:
            standing = {move: move_cluster(plan, move, clients, state, watch, outside.pace)}
        else:
            standing = set_up(plan, clients, state, watch, outside.pace)
        notes = credentials.fetch(plan, clients, state, outside.tools, admin=admin, merge=merged)
    facts = parity.keep(parity.facts(standing), plan, state.folder)
    gated = gates.gate(facts, allow)
    state.note(allowed=sorted(allow))
    told = arms_show.up_text(plan, state, gated, notes, as_json=as_json)
    _stop_on(gated, told)
    return told


def _stop_on(gated: pd.DataFrame, told: str) -> None:
    """The arms stand and may be looked at, so what was made is told before the gate stops."""
    from labkit.analysis.parity import blocking, require  # noqa: PLC0415

    if blocking(gated):
        typer.echo(told)
        require(gated)


def _kind_up(plan: Plan, state: State, outside: Outside, merged: Path | None, *, as_json: bool) -> str:
    from labkit.kind import clusters  # noqa: PLC0415
    from labkit.provision import kubeconfig  # noqa: PLC0415

    with arms_show.progress() as watch:
        outcome = clusters.up(plan, state, outside.tools, watch)
    if merged is not None and outcome.contexts:
        full = kubeconfig.read(state.kubeconfig)
        kubeconfig.merge(merged, [kubeconfig.only(full, name) for name in outcome.contexts.values()])
        state.note(merged=str(merged))
    return arms_show.kind_text(outcome, state, as_json=as_json)


def _ask_to_move(plan: Plan, name: str, *, yes: bool) -> None:
    from labkit.azure.move import WARNING, moved_arm  # noqa: PLC0415

    warning = WARNING.format(cluster=moved_arm(plan, name).cluster)
    typer.echo(warning, err=True)
    if not yes:
        typer.confirm("Move it?", abort=True, err=True)


def _outside(context: typer.Context) -> Outside:
    return context.obj if isinstance(context.obj, Outside) else Outside()


def _folder(plan: Plan) -> Path:
    return Path("runs") / f"arms-{plan.name}"
