"""How soon what is applied takes effect: one Service or policy more, applied and taken away some times over.

The effect is what every frontend sees: new connections are tried, one after the other, until all of them succeed
(or none does). So it means the same on every dataplane, and holds the control plane's part (an EndpointSlice
has to be made, rules or maps to be written). It is known as bounds: later than the last try that saw the
old state began, sooner than the first that saw the new one ended.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from labkit.errors import ConnectionLost, NoTarget, RequestError
from labkit.exec.request import Read
from labkit.experiments.manifests import one_more, scale_policies
from labkit.experiments.programmed import DAEMONSETS, ENGINES
from labkit.experiments.rollout import pod_ready
from labkit.experiments.steps import policy_count, service_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labkit.experiments.manifests import Object
    from labkit.experiments.state import State
    from labkit.experiments.steps import Step
    from labkit.experiments.waits import View

__all__ = ["time_programming"]

#: Seconds after which a connection that is tried counts as not made. A SYN that is lost is sent again after one
#: second only, so this is the resolution where packets are dropped and not refused.
TRY_S = "0.1"
CONNECT = ("curl", "-sS", "-o", "/dev/null", "--max-time", "1", "--connect-timeout", TRY_S)
#: Seconds between two tries.
PAUSE_S = 0.01
APPLIED, DELETED = "applied", "deleted"


def time_programming(state: State, step: Step, times: int) -> Iterator[dict[str, Any]]:
    """Apply and delete one Service or policy more so often, in a step that has many: what was seen each time.

    A Service is applied first and is gone in the end. Of policies it is the one that lets the frontends in,
    which is deleted first and there in the end; that needs another that keeps them out. Ends early where the
    first change of a round is not seen in time: nothing puts such objects into effect.
    """
    view, namespace = state.view, state.view.namespace
    frontends = [f"pod/{namespace}/{pod['metadata']['name']}/toolbox" for pod in _pods(view, "frontend")]
    if service_count(step.name):
        one = one_more(namespace)
        rounds = _rounds(state, one, (APPLIED, DELETED), frontends, state.limits.effect_s, times)
    elif policy_count(step.name) > 1:
        one = scale_policies(namespace, 1)[0]
        limit_s = state.limits.effect_s if _enforces(view) else state.limits.no_engine_s
        rounds = _rounds(state, one, (DELETED, APPLIED), frontends, limit_s, times)
    else:
        return
    for seen in rounds:
        yield {"step": step.name, "kind": one["kind"], **seen}


def _rounds(
    state: State, one: Object, order: tuple[str, str], frontends: list[str], limit_s: float, times: int
) -> Iterator[dict[str, Any]]:
    addresses: list[str] = []
    for number in range(times):
        seen = True
        for change in order:
            started_at, sent = datetime.now(UTC), time.monotonic()
            reply = state.put(one) if change == APPLIED else state.take(one)
            done = time.monotonic()
            if change == order[0]:  # the address of a Service is known once it is there
                addresses = _addresses(state.view, one)
            tries = list(itertools.product(frontends, addresses))
            least, most = _bounds(state.view, tries, (sent, done), limit_s, reached=change == APPLIED)
            seen = seen and most is not None
            yield {
                "change": change, "round": number, "started_at": started_at.isoformat(), "at_least_s": least,
                "at_most_s": most, "reply": reply,
            }  # fmt: skip
        if not seen:
            return


def _addresses(view: View, one: Object) -> list[str]:
    """What a frontend has to reach: the Service, or every backend that the policy selects."""
    if one["kind"] == "Service":
        found = view.mine("/api/v1 services")
        return [s["spec"]["clusterIP"] for s in found if s["metadata"]["name"] == one["metadata"]["name"]]
    return [pod["status"]["podIP"] for pod in _pods(view, "backend")]


def _pods(view: View, app: str) -> list[dict[str, Any]]:
    found = view.mine("/api/v1 pods")
    return [p for p in found if (p["metadata"].get("labels") or {}).get("app") == app and pod_ready(p)]


def _enforces(view: View) -> bool:
    """Whether something runs that is known to enforce policies."""
    return any(one["metadata"]["name"] in ENGINES | {"cilium"} for one in view.items(DAEMONSETS))


def _bounds(
    view: View,
    tries: Sequence[tuple[str, str]],
    changed: tuple[float, float],
    limit_s: float,
    *,
    reached: bool,
) -> tuple[float, float | None]:
    """Between how many seconds after a change all tries (target, address) showed it; no upper one where not all did."""
    sent, done = changed
    at_least = 0.0
    with ThreadPoolExecutor(len(tries)) as pool:
        while True:
            if view.stopped():
                raise ConnectionLost("the arm is being closed", Read(step="setup", path="/version"))
            began = time.monotonic()
            if all(pool.map(lambda one: _reaches(view, *one) == reached, tries)):
                return at_least, time.monotonic() - sent
            at_least = max(0.0, began - done)
            if at_least >= limit_s:
                return at_least, None
            view.inner.wait(PAUSE_S)


def _reaches(view: View, target: str, address: str) -> bool:
    try:
        return view.run(target, (*CONNECT, f"http://{address}/")).exit_code == 0
    except (NoTarget, ConnectionLost):
        raise
    except RequestError:
        return False
