"""Create and delete the kind clusters of a plan, or say with which commands one would."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labkit.errors import OwnershipError, ProvisionError
from labkit.kind import commands
from labkit.provision import kubeconfig
from labkit.provision.files import write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labkit.exec.tool import Tools
    from labkit.kind.commands import Argv
    from labkit.provision.pace import Watch
    from labkit.provision.plan import Arm, Plan
    from labkit.provision.state import State

__all__ = ["Outcome", "down", "planned", "up"]

KINDNET = (
    "without a policy engine an arm keeps kind's own network, kindnet; newer ones enforce NetworkPolicy, "
    "which Azure CNI Overlay without an engine does not"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The context of each arm; what the person has to know; and commands that were not run, for want of a tool."""

    contexts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)


def planned(plan: Plan, state: State, *, helm: bool = True) -> list[Argv]:
    """Every command of a plan, in order."""
    return [argv for arm in plan.created for argv in _of(plan, arm, state, helm=helm)]


def up(plan: Plan, state: State, tools: Tools, watch: Watch) -> Outcome:
    """Write each arm's configuration and run the commands; an arm that is ready is left alone.

    Where a program is missing, nothing is run: the outcome holds the commands. Raises OwnershipError for a
    kind cluster of that name which this folder did not create, ProvisionError where a command fails.
    """
    for arm in plan.created:
        _write(plan, arm, state)
    notes = (
        [KINDNET]
        if any(not commands.config(plan, a)["networking"]["disableDefaultCNI"] for a in plan.created)
        else []
    )
    missing = [" or ".join(names) for names in commands.needed(plan) if not any(map(tools.has, names))]
    if missing:
        said = f"not on PATH: {', '.join(missing)}; nothing was run. These commands set the arms up:"
        lines = [f"export KUBECONFIG={shlex.quote(str(state.kubeconfig.resolve()))}"]
        lines += [
            shlex.join(argv)
            for argv in planned(plan, state, helm=tools.has("helm") or not tools.has("cilium"))
        ]
        return Outcome(notes=[*notes, said], not_run=lines)
    there = _clusters(tools)
    for arm in plan.created:
        _build(plan, arm, state, tools, watch, there)
    return Outcome({arm.name: commands.context(plan, arm) for arm in plan.created}, notes)


def down(plan: Plan, state: State, tools: Tools, watch: Watch, *, merged: Path | None = None) -> Outcome:
    """Delete the kind clusters that this folder created; raises ProvisionError where one is still there after."""
    names = [arm["cluster"] for arm in state.arms.values() if "cluster" in arm]
    if not tools.has("kind"):
        lines = [shlex.join(commands.delete(name)) for name in names]
        return Outcome(
            notes=["kind is not on PATH; nothing was run. These commands delete the clusters:"], not_run=lines
        )
    for name in sorted(_clusters(tools) & set(names)):
        watch.told(name, "Deleting", "kind delete cluster")
        tools.run(commands.delete(name), KUBECONFIG=str(state.kubeconfig.resolve()))
    left = sorted(_clusters(tools) & set(names))
    if left:
        raise ProvisionError(f"still there after kind deleted them: {', '.join(left)}", left)
    if merged is not None:
        kubeconfig.remove(merged, [commands.context(plan, arm) for arm in plan.created])
    state.kubeconfig.unlink(missing_ok=True)
    state.arms.clear()
    state.note(stage="removed")
    return Outcome(notes=[f"gone: {', '.join(names) or 'there was nothing'}"])


def _of(plan: Plan, arm: Arm, state: State, *, helm: bool) -> Iterator[Argv]:
    yield commands.create(plan, arm, _file(arm, state))
    yield from commands.install(plan, arm, helm=helm)
    yield commands.ready(plan, arm)


def _build(plan: Plan, arm: Arm, state: State, tools: Tools, watch: Watch, there: set[str]) -> None:
    name, known = commands.cluster_name(plan, arm), state.arms.get(arm.name, {})
    if name in there and known.get("cluster") != name:
        raise OwnershipError(
            f"a kind cluster {name} exists and was not created from {state.folder}. It is left alone; give the "
            f"plan another name, or delete it yourself: {shlex.join(commands.delete(name))}"
        )
    if name in there and known.get("stage") == "ready":
        watch.told(arm.name, "ready", "stands already")
        return
    steps = list(_of(plan, arm, state, helm=tools.has("helm")))
    state.note(arm.name, stage="creating", cluster=name)
    for argv in steps[1:] if name in there else steps:
        watch.told(arm.name, "Creating", " ".join(argv[:3]))
        tools.run(argv, KUBECONFIG=str(state.kubeconfig.resolve()))
    state.note(arm.name, stage="ready", context=commands.context(plan, arm))
    watch.told(arm.name, "ready", commands.context(plan, arm))


def _clusters(tools: Tools) -> set[str]:
    return set(tools.run(("kind", "get", "clusters")).split())


def _file(arm: Arm, state: State) -> Path:
    return state.folder / f"{arm.name}.kind.yaml"


def _write(plan: Plan, arm: Arm, state: State) -> None:
    import yaml  # noqa: PLC0415  (import labkit must stay fast)

    write(_file(arm, state), yaml.safe_dump(commands.config(plan, arm), sort_keys=False).encode())
