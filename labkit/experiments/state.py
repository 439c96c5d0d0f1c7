"""What labkit has put on an arm: changed from step to step by their difference, and taken away at the end."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import CommandError, OwnershipError, TimeLimit
from labkit.experiments.changes import applies, deletes, missing, too_much
from labkit.experiments.leftovers import CREATED_BY, NAMESPACES, delete, is_ours, present
from labkit.experiments.programmed import Nodes, await_policies
from labkit.experiments.rollout import SLICES, await_endpoints, await_rollout
from labkit.experiments.steps import POLICY_STEPS, service_count
from labkit.experiments.waits import Limits, View, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from labkit.exec.executor import Executor
    from labkit.exec.recording import Recorder
    from labkit.experiments.manifests import Object
    from labkit.experiments.steps import Step

__all__ = ["Move", "State"]

log = logging.getLogger(__name__)

SETUP = "setup"
MAKES_PODS = ("Pod", "Deployment", "DaemonSet")


@dataclass(frozen=True, slots=True)
class Move:
    """How an arm came into a step: objects deleted and applied, how long that took, and until it was so.

    `realised_s` counts from the end of applying; `awaited` says what was waited for. The effect of a policy is
    known to half a second, a connection to a Service to one, other states to the time of a poll.
    """

    step: str
    deleted: int
    applied: int
    changing_s: float
    realised_s: float
    awaited: str


class State:
    """The objects of the lab on one arm. Not safe in threads: whoever holds it takes turns."""

    def __init__(
        self,
        recorder: Recorder,
        inner: Executor,
        namespace: str,
        owns: Callable[[Object], bool],
        limits: Limits,
    ) -> None:
        self.view = View(inner, namespace)
        self.objects: dict[str, Object] = {}
        #: The step that was last brought about.
        self.step = SETUP
        self.moves: list[Move] = []
        self._recorder, self._owns, self.limits = recorder, owns, limits
        self._nodes = Nodes(self.view)
        self._applied: dict[str, Object] = {}
        self._given = False

    @property
    def names(self) -> frozenset[str]:
        """What is there, as `Kind/name`."""
        return frozenset(self.objects)

    def look(self, names: Sequence[str] = ()) -> None:
        """See what is there: labkit's objects, and those of `names` whosever they are. Changes nothing."""
        space = self._space()
        self.objects = present(self.view, names) if space else {}
        if space:
            self.objects[f"Namespace/{self.view.namespace}"] = space

    def set_up(self, workload: Step) -> None:
        """Bring the workload about, and take away what an earlier run left beside it.

        Raises OwnershipError where the namespace is someone else's, before anything is changed, and NotReady
        where the workload does not come up.
        """
        space = self._space()
        if space and not self._owns(space):
            raise OwnershipError(
                f"namespace {self.view.namespace} is there and not labkit's: it does not carry its label. Nothing was "
                "changed; delete it, or give it the label app.kubernetes.io/managed-by=labkit to let labkit use it"
            )
        if space and "deletionTimestamp" in space["metadata"]:
            until(
                self.view,
                self._still,
                self.limits.gone_s,
                awaited="the namespace of an earlier run to be gone",
            )
            space = None
        self._given = bool(space) and not is_ours(space or {}, CREATED_BY)
        self.look()
        wanted = {
            k: one for k, one in workload.objects.items() if not (self._given and one["kind"] == "Namespace")
        }
        began = time.monotonic()
        deleted, _ = self._delete(too_much(self.objects, workload.objects), SETUP)
        self._apply(list(wanted.values()), SETUP)
        self.objects, changed = dict(workload.objects), time.monotonic()
        self._await_workload(workload)
        realised = time.monotonic() - changed
        self.moves.append(
            Move(
                SETUP,
                deleted,
                len(wanted),
                changed - began,
                realised,
                "pods, endpoints and Services on every node",
            )
        )

    def change(self, step: Step, between: Callable[[], None]) -> None:
        """Bring a step about. `between` is called when Services were deleted and their traces may still be there.

        Raises NotReady where it does not come about, and what applying raises.
        """
        surplus, lacking = too_much(self.objects, step.objects), missing(self.objects, step.objects)
        ip = self._last_ip(surplus)
        began = time.monotonic()
        self._delete(surplus, self.step)
        if ip:
            between()
        self._apply(lacking, step.name)
        changed, self.step = time.monotonic(), step.name
        awaited = [
            *self._await_gone(surplus, ip),
            *self._await_pods(lacking),
            *self._await_services(step, lacking),
        ]
        awaited += self._await_policies(step, surplus, lacking)
        done = time.monotonic()
        self.moves.append(
            Move(step.name, len(surplus), len(lacking), changed - began, done - changed, "; ".join(awaited))
        )

    def put(self, one: Object) -> str:
        """Apply one object more in the step that is there; the id of the reply."""
        return self._apply([one], self.step)

    def take(self, one: Object) -> str:
        """Delete one object; the id of the reply."""
        return self._delete([one], self.step)[1]

    def undo(self) -> None:
        """Delete what was applied, and wait until it is gone. What is not labkit's any more stays."""
        space = self._space() if self._applied else None
        if not space or not self._owns(space):
            return
        if f"Namespace/{self.view.namespace}" in self._applied:
            going = [self._applied[f"Namespace/{self.view.namespace}"]]
        else:
            there = present(self.view)
            going = [one for called, one in reversed(self._applied.items()) if called in there]
        try:
            self._delete(going, self.step)
        except TimeLimit:
            log.info("%s: the deletion goes on", self.view.namespace)
        until(self.view, lambda: self._left(going), self.limits.gone_s, awaited="what was applied to be gone")
        self._applied.clear()

    def _delete(self, objects: Sequence[Object], step: str) -> tuple[int, str]:
        """How many that were, and the id of the last reply."""
        last = ""
        for request in deletes(objects, step, self._recorder.find):
            last = delete(self._recorder, request).id
            for called in request.objects:
                self.objects.pop(called, None)
                self._applied.pop(called, None)
        return len(objects), last

    def _apply(self, objects: Sequence[Object], step: str) -> str:
        """The id of the last reply."""
        last = ""
        by_name = {f"{one['kind']}/{one['metadata']['name']}": one for one in objects}
        for request in applies(objects, step, self._recorder.find):
            mine = {called: by_name[called] for called in request.objects}
            self._applied |= mine  # before it is sent: it may go through and its answer be lost
            reply = self._recorder.run(request)
            if reply.exit_code is None:
                raise TimeLimit(reply)
            if reply.exit_code != 0:
                raise CommandError(reply)
            self.objects |= mine
            last = reply.id
        return last

    def _space(self) -> Object | None:
        spaces = self.view.items(NAMESPACES)
        return next((one for one in spaces if one["metadata"]["name"] == self.view.namespace), None)

    def _still(self) -> str:
        return "it is still being deleted" if self._space() else ""

    def _left(self, going: Iterable[Object]) -> str:
        names = {f"{one['kind']}/{one['metadata']['name']}" for one in going}
        space = self._space()
        if not space:
            return ""
        there = present(self.view).keys() | {f"Namespace/{space['metadata']['name']}"}
        return ", ".join(sorted(names & there))

    def _await_workload(self, workload: Step) -> None:
        limits = self.limits
        await_rollout(self.view, workload.objects, limits.rollout_s)
        await_endpoints(self.view, workload.objects, limits.endpoints_s)
        self._nodes.await_service(self._ip("backend-service"), limits.services_s)
        self._nodes.await_service(self._ip("perf-server"), limits.services_s, http=False)

    def _await_pods(self, applied: Sequence[Object]) -> list[str]:
        """Wait for the pods that a step has beside the workload."""
        made = {
            f"{one['kind']}/{one['metadata']['name']}": one for one in applied if one["kind"] in MAKES_PODS
        }
        if not made:
            return []
        await_rollout(self.view, made, self.limits.rollout_s)
        return ["its pods to run"]

    def _await_services(self, step: Step, applied: Sequence[Object]) -> list[str]:
        """Wait for the nodes to have the last of the Services that were applied."""
        added = [one for one in applied if one["kind"] == "Service"]
        if not added:
            return []
        limit_s = self.limits.services_s + self.limits.each_service_s * service_count(step.name)
        await_endpoints(self.view, {str(n): one for n, one in enumerate(added)}, limit_s)
        self._nodes.await_service(self._ip(added[-1]["metadata"]["name"]), limit_s)
        return [f"EndpointSlices, and the last Service on every node by {self._nodes.way}"]

    def _await_gone(self, deleted: Sequence[Object], ip: str) -> list[str]:
        """Wait for the nodes to forget the last of the Services that were deleted, and for their slices to go."""
        names = {one["metadata"]["name"] for one in deleted if one["kind"] == "Service"}
        if not names:
            return []

        def slices() -> str:
            left = sum(
                one["metadata"].get("labels", {}).get("kubernetes.io/service-name") in names
                for one in self.view.mine(SLICES)
            )
            return f"{left} are left" if left else ""

        limit_s = self.limits.gone_s + self.limits.each_service_s * len(names)
        until(self.view, slices, limit_s, awaited="the EndpointSlices of deleted Services to be gone")
        self._nodes.await_gone(ip, limit_s)
        return [f"deleted Services to be gone from every node by {self._nodes.way}"]

    def _await_policies(self, step: Step, deleted: Sequence[Object], applied: Sequence[Object]) -> list[str]:
        gone, come = (
            [one["metadata"]["name"] for one in some if one["kind"] == "NetworkPolicy"]
            for some in (deleted, applied)
        )
        if not gone and not come:
            return []
        limits = self.limits
        _, awaited = await_policies(
            self.view,
            POLICY_STEPS.get(step.name, come),
            gone,
            blocked=step.name == "policy-deny-all",
            limits=(limits.policies_s, limits.effect_s, limits.no_engine_s),
        )
        return [awaited]

    def _ip(self, service: str) -> str:
        return next(
            (
                str(one["spec"]["clusterIP"])
                for one in self.view.mine("/api/v1 services")
                if one["metadata"]["name"] == service
            ),
            "",
        )

    def _last_ip(self, going: Iterable[Object]) -> str:
        """The address of the last Service that is about to be deleted; empty where none is."""
        names = [one["metadata"]["name"] for one in going if one["kind"] == "Service"]
        return self._ip(max(names)) if names else ""
