"""The way into the clusters of a run: one kubeconfig, for its owner's eyes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.azure import bodies
from labkit.provision import kubeconfig

if TYPE_CHECKING:
    from pathlib import Path

    from labkit.azure.clients import Clients
    from labkit.exec.tool import Tools
    from labkit.provision.plan import Plan
    from labkit.provision.state import State

__all__ = ["fetch"]

KUBELOGIN = "kubelogin"


def fetch(
    plan: Plan,
    clients: Clients,
    state: State,
    tools: Tools,
    *,
    admin: bool = False,
    merge: Path | None = None,
) -> list[str]:
    """Write the run's kubeconfig, a context an arm; with `merge` put the contexts into that file too.

    Gives what the person has to know or do, a sentence each. Clusters with Entra ID log in through
    kubelogin, with the login of `az login` (or the mode that AAD_LOGIN_METHOD names); where it is missing,
    the sentence says so. `admin` fetches the local administrator's certificate instead.
    """
    configs = []
    for arm in plan.created:
        data = clients.credentials(bodies.group_name(plan), arm.cluster, admin=admin)
        configs.append(kubeconfig.take(data, plan.context(arm)))
    path = state.kubeconfig
    kubeconfig.merge(path, configs)
    for arm in plan.created:
        state.note(arm.name, context=plan.context(arm), admin=admin)
    said = []
    if any(KUBELOGIN in kubeconfig.login_commands(config) for config in configs):
        said += _convert(path, tools)
    if merge is not None:
        full = kubeconfig.read(path)
        kubeconfig.merge(merge, [kubeconfig.only(full, plan.context(arm)) for arm in plan.created])
        state.note(merged=str(merge))
        said.append(f"the contexts are in {merge} too; `labkit down` takes them out again")
    return said


def _convert(path: Path, tools: Tools) -> list[str]:
    argv = [KUBELOGIN, "convert-kubeconfig"]
    if "AAD_LOGIN_METHOD" not in tools.environ:
        argv += ["--login", "azurecli"]
    if not tools.has(KUBELOGIN):
        missing = "the clusters log in with Entra ID, and kubelogin is not on PATH; install it, as with"
        return [f"{missing} `az aks install-cli`, then run: KUBECONFIG={path} {' '.join(argv)}"]
    tools.run(argv, KUBECONFIG=str(path.resolve()))
    path.chmod(0o600)  # kubelogin has written it anew
    return []
