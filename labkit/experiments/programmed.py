"""Whether the nodes do what was applied: Services in their rules or maps, policies in force.

How an arm holds Services is found out by looking for one that is known to be there. Each way answers for the
whole arm: the Service is there when every node has it, and gone when none has.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.collect.kubernetes import AGENT
from labkit.errors import ConnectionLost, NoTarget, NotReady, RequestError
from labkit.experiments.rollout import pod_ready
from labkit.experiments.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from labkit.exec.request import Reply
    from labkit.experiments.waits import View

__all__ = ["Nodes", "await_policies"]

PODS = "/api/v1 pods"
DAEMONSETS = "/apis/apps/v1/daemonsets"
CONNECT = ("curl", "-sS", "-o", "/dev/null", "--max-time", "2", "--connect-timeout")
#: Seconds after which a connection counts as not made: to a Service, and as the effect of a policy, where it is
#: the resolution of what is measured.
SERVICE_S, EFFECT_S = "1", "0.5"
#: The way that shows a Service by using it.
CONNECTION = "a connection"
REVISION = re.compile(r"^Revision: (\d+)\s*$", re.MULTILINE)
#: DaemonSets of engines whose state cannot be read here, so that only their effect is waited for.
ENGINES = {
    "azure-npm",
    "calico-node",
    "antrea-agent",
    "kube-router",
    "weave-net",
    "kindnet",
    "ovnkube-node",
    "anetd",
    "labkit-ebpf",
}


@dataclass(slots=True)
class Nodes:
    """The nodes of an arm, asked in the way that shows its Services."""

    view: View
    #: The way that was found to show Services; empty until one was.
    way: str = ""
    _ways: dict[str, Callable[[str], list[bool]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._ways = {
            "cilium-dbg service list": self._in_agents,
            "iptables-save": lambda ip: self._on_nodes(("iptables-save", "-t", "nat"), f"-d {ip}/32 "),
            "nft list ruleset": lambda ip: self._on_nodes(("nft", "list", "ruleset"), f"{ip} "),
            CONNECTION: self._connects,
        }

    def await_service(self, ip: str, limit_s: float, *, http: bool = True) -> float:
        """Wait until every node has the Service of this address; seconds it took.

        One that does not speak HTTP is not waited for where only a connection would show it: what serves one
        client at a time would be disturbed.
        """
        if self.way == CONNECTION and not http:
            return 0.0
        return until(
            self.view,
            lambda: "" if self._there(ip) else f"not every node has it (by {self.way or 'any way known'})",
            limit_s,
            awaited=f"the nodes to be programmed for {ip}",
        )

    def await_gone(self, ip: str, limit_s: float) -> float:
        """Wait until no node has the Service of this address any more; seconds it took."""
        return until(
            self.view,
            lambda: f"a node still has it (by {self.way})" if any(self._ways[self.way](ip)) else "",
            limit_s if self.way else 0,
            awaited=f"the nodes to forget {ip}",
        )

    def _there(self, ip: str) -> bool:
        """Whether every node has it; the first way that shows a Service is the one from then on."""
        if self.way:
            found = self._ways[self.way](ip)
            return bool(found) and all(found)
        for name, way in self._ways.items():
            found = way(ip)
            if found and all(found):
                self.way = name
                return True
        return False

    def _in_agents(self, ip: str) -> list[bool]:
        agents = _agents(self.view)
        return _each(
            lambda t: f'"{ip}"' in _said(self.view, t, ("cilium-dbg", "service", "list", "-o", "json")),
            agents,
        )

    def _on_nodes(self, argv: tuple[str, ...], word: str) -> list[bool]:
        nodes = sorted(
            f"node/{pod['spec']['nodeName']}"
            for pod in self.view.mine(PODS)
            if (pod["metadata"].get("labels") or {}).get("name") == "network-analyzer" and pod_ready(pod)
        )
        return _each(lambda target: word in _said(self.view, target, argv), nodes)

    def _connects(self, ip: str) -> list[bool]:
        return _each(lambda t: _reaches(self.view, t, ip, SERVICE_S), _frontends(self.view))


def await_policies(
    view: View,
    wanted: Collection[str],
    gone: Collection[str],
    *,
    blocked: bool,
    limits: tuple[float, float, float],
) -> tuple[float, str]:
    """Wait until these policies are in force and those are not; seconds it took, and what was waited for.

    Cilium's agents say which revision of the policies each endpoint runs. Of others only the effect can be seen:
    whether a frontend reaches a backend, which it must not where `blocked`. That it does all the same may be
    what is to be found out, so no effect until the limit is no error. `limits` are the seconds for the agents, for
    an effect, and for one where nothing is known to enforce policies.
    """
    agents_s, effect_s, no_engine_s = limits
    if agents := _agents(view):
        awaited = "every endpoint of Cilium to run the policies"
        try:
            return until(
                view, lambda: _not_realized(view, agents, wanted, gone), agents_s, awaited=awaited
            ), awaited
        except _Unreadable:
            pass  # an agent whose command answers otherwise: look at the effect
    running = {one["metadata"]["name"] for one in view.items(DAEMONSETS)}
    limit_s = effect_s if running & ENGINES else no_engine_s
    awaited = f"a backend to be {'out of' if blocked else 'within'} reach of a frontend"
    try:
        return until(view, lambda: _effect(view, blocked=blocked), limit_s, awaited=awaited), awaited
    except NotReady:
        return limit_s, f"{awaited}: not so within {limit_s:.0f} s"


class _Unreadable(Exception):
    """The agent does not say which policies it has."""


def _not_realized(view: View, agents: Iterable[str], wanted: Collection[str], gone: Collection[str]) -> str:
    """What is lacking on the first agent where something is."""
    for agent in agents:
        said = _said(view, agent, ("cilium-dbg", "policy", "get"))
        found = REVISION.search(said)
        if found is None:
            raise _Unreadable
        lacks = [name for name in wanted if f'"{name}"' not in said]
        left = [name for name in gone if f'"{name}"' in said]
        if lacks or left:
            return f"{agent} has not {', '.join(lacks) or 'yet forgotten ' + ', '.join(left)}"
        late = _behind(_said(view, agent, ("cilium-dbg", "endpoint", "list", "-o", "json")), int(found[1]))
        if late:
            return f"{late} endpoints of {agent} are not at revision {found[1]}"
    return ""


def _behind(endpoints: str, revision: int) -> int:
    """How many endpoints run older policies than this revision."""
    try:
        listed = json.loads(endpoints)
        realized = [one["status"]["policy"]["realized"]["policy-revision"] for one in listed]
    except (ValueError, KeyError, TypeError):
        raise _Unreadable from None
    return sum(found < revision for found in realized)


def _effect(view: View, *, blocked: bool) -> str:
    """What is lacking: empty where no frontend reaches a backend, or every one does."""
    backends = [p["status"]["podIP"] for p in view.mine(PODS) if _app(p) == "backend" and pod_ready(p)]
    reached = (
        _each(lambda target: _reaches(view, target, backends[0], EFFECT_S), _frontends(view))
        if backends
        else []
    )
    if not reached:
        return "no frontend or no backend runs"
    if blocked:
        return "a frontend reaches it" if any(reached) else ""
    return "" if all(reached) else "a frontend does not reach it"


def _agents(view: View) -> list[str]:
    """The Cilium agents, as targets."""
    if view.agents_in is None:
        everywhere = filter(_is_agent, view.items("/api/v1/pods"))
        view.agents_in = sorted({pod["metadata"]["namespace"] for pod in everywhere})
    return sorted(
        f"pod/{namespace}/{pod['metadata']['name']}/{AGENT}"
        for namespace in view.agents_in
        for pod in view.items(f"/api/v1/namespaces/{namespace}/pods")
        if _is_agent(pod) and pod_ready(pod)
    )


def _is_agent(pod: dict[str, Any]) -> bool:
    return any(container["name"] == AGENT for container in pod["spec"]["containers"])


def _frontends(view: View) -> list[str]:
    return sorted(
        f"pod/{view.namespace}/{pod['metadata']['name']}/toolbox"
        for pod in view.mine(PODS)
        if _app(pod) == "frontend" and pod_ready(pod)
    )


def _app(pod: dict[str, object]) -> str:
    metadata: dict[str, dict[str, str]] = pod["metadata"]  # type: ignore[assignment]
    return (metadata.get("labels") or {}).get("app", "")


def _reaches(view: View, target: str, ip: str, limit_s: str) -> bool:
    reply = _ask(view, target, (*CONNECT, limit_s, f"http://{f'[{ip}]' if ':' in ip else ip}/"))
    return reply is not None and reply.exit_code == 0


def _said(view: View, target: str, argv: tuple[str, ...]) -> str:
    """What a command printed; nothing where it is not there or failed."""
    reply = _ask(view, target, argv)
    return reply.text if reply is not None and reply.exit_code == 0 else ""


def _ask(view: View, target: str, argv: tuple[str, ...]) -> Reply | None:
    try:
        return view.run(target, argv)
    except (NoTarget, ConnectionLost):
        raise
    except RequestError:
        return None  # no such program in the container, say: another way may show it


def _each(ask: Callable[[str], bool], targets: list[str]) -> list[bool]:
    if not targets:
        return []
    with ThreadPoolExecutor(min(16, len(targets))) as pool:
        return list(pool.map(ask, targets))
