"""An executor that brings an arm into the step that a request names, and puts it back at the end.

    Staged(Recorder(inner), inner)

What the recorder already answered needs no step. Requests of the step that the arm is in run at the same
time; a change waits until those have ended, and then is all that happens. A step with a program (see `programs`)
is asked that first.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from labkit.cluster import Cluster
from labkit.collect.limits import require_room
from labkit.collect.plan import Plan
from labkit.collect.programming import NOTES
from labkit.errors import ConnectionLost, MissingFeature, NoTarget, NotReady, RequestError
from labkit.exec.request import Apply, Delete
from labkit.experiments.leftovers import is_ours
from labkit.experiments.programming import time_programming
from labkit.experiments.programs import has_program, run_program
from labkit.experiments.state import State
from labkit.experiments.steps import NAMESPACE, WORKLOAD_STEPS, Step, service_count, step
from labkit.experiments.waits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labkit.exec.executor import Executor
    from labkit.exec.recording import Recorder
    from labkit.exec.request import Reply, Request
    from labkit.experiments.manifests import Object
    from labkit.experiments.state import Move

__all__ = ["Staged"]

log = logging.getLogger(__name__)

BASELINE, CLEANUP, SETUP = "baseline", "cleanup", "setup"
#: How long `close` lets those end that are asking, before it changes what they ask about.
GRACE_S = 15.0


class Staged:
    """Answers a request in the step that it names. Safe in threads.

    `plan` is how much is measured, unless the recording that is gone on with says so itself; `references` say
    what is pulled for each image (see `manifests.images`). Where `read_only`, nothing is changed: a request
    whose step is not there raises MissingFeature. `owns` tells whether a namespace may be used.
    """

    def __init__(
        self,
        recorder: Recorder,
        inner: Executor,
        *,
        plan: Plan | None = None,
        read_only: bool = False,
        references: Mapping[str, str] | None = None,
        owns: Callable[[Object], bool] = is_ours,
        limits: Limits | None = None,
    ) -> None:
        said = recorder.about
        self.plan = Plan.from_about(said) if "plan" in said or plan is None else plan
        self._recorder, self._inner, self._read_only, self._references = (
            recorder,
            inner,
            read_only,
            references,
        )
        self._namespace = str(said.get("namespace", NAMESPACE))
        self._state = State(recorder, inner, self._namespace, owns, limits or Limits())
        self._state.view.stopped = lambda: self._closing
        self._steps: dict[str, Step] = {}
        self._turn = threading.Condition()
        self._visitors, self._moving, self._closing, self._closed = 0, False, False, False
        self._begun = False
        self._asked: set[str] = set()
        self._failed: dict[str, NotReady] = {}

    @property
    def about(self) -> dict[str, Any]:
        """What the recorder says, with the plan of this arm."""
        return {**self._recorder.about, "plan": self.plan.to_json()}

    @property
    def moves(self) -> list[Move]:
        """How the arm came into each step that it was brought into so far."""
        return list(self._state.moves)

    def run(self, request: Request) -> Reply:
        """The recorder's reply, asked in the request's step.

        Raises what the inner executor raises, ParameterError for an unknown step, NotReady for one that does
        not come about, OwnershipError where the namespace is someone else's, and MissingFeature where the arm
        is read-only and not in that step.
        """
        known = self._recorder.find(request)
        if known is not None:
            return known
        if isinstance(request, Apply | Delete):
            raise RequestError(
                f"{request.words[:120]}: a step says what is there; nothing else is applied", request
            )
        self._enter(request)
        try:
            return self._recorder.run(request)
        except NoTarget as error:
            if self._read_only:
                raise self._missing(f"{error}: the workload is not there", request.step) from None
            raise
        finally:
            with self._turn:
                self._visitors -= 1
                self._turn.notify_all()

    def wait(self, seconds: float) -> None:
        """Passed on."""
        self._inner.wait(seconds)

    def close(self) -> None:
        """Take away what was applied, and close recorder and inner executor. Closing twice is no error.

        Raises NotReady or RequestError where something could not be taken away; all is closed all the same.
        """
        with self._turn:
            if self._closed:
                return
            self._closing = self._closed = True
            end = time.monotonic() + GRACE_S
            while (self._visitors or self._moving) and time.monotonic() < end:
                self._turn.wait(end - time.monotonic())
        self._state.view.stopped = lambda: False
        try:
            self._state.undo()
        finally:
            try:
                self._recorder.close()
            finally:
                self._inner.close()

    def _enter(self, request: Request) -> None:
        """Return when the arm is in the request's step and stays there until the visitor has left."""
        wanted = self._step(request.step)
        while True:
            with self._turn:
                if self._closing:
                    raise ConnectionLost("the arm is being closed", request)
                here = self._begun and self._is_in(request.step) and not self._to_ask(request.step)
                if here and not self._moving:
                    self._visitors += 1
                    return
                if self._moving or self._visitors:
                    self._turn.wait()
                    continue
                self._moving = True
            try:
                self._move(wanted)
            finally:
                with self._turn:
                    self._moving = False
                    self._turn.notify_all()

    def _move(self, wanted: Step) -> None:
        for name in (SETUP, wanted.name):
            if name in self._failed:
                raise self._failed[name]  # it was waited for long enough
        if self._read_only:
            self._look(wanted)
        else:
            self._bring_about(wanted)
        self._ask(wanted.name)

    def _look(self, wanted: Step) -> None:
        """See what is there of a step; raise MissingFeature where it is another state."""
        self._state.look(list(wanted.objects))
        self._begun = True
        if not self._is_in(wanted.name):
            raise self._missing("", wanted.name)

    def _bring_about(self, wanted: Step) -> None:
        """Change what differs; before the first change, ask what every step rests on."""
        if not self._begun:
            self._or_never(SETUP, lambda: self._state.set_up(self._step(SETUP)))
            self._begun = True
            self._ask(BASELINE)
        if wanted.name == CLEANUP and self._is_in(CLEANUP) and self._to_ask(CLEANUP):
            first = self._step(self.plan.steps[0])  # or nothing would be there to clean up
            self._or_never(CLEANUP, lambda: self._change(first))
        if not self._is_in(wanted.name):
            self._or_never(wanted.name, lambda: self._change(wanted))

    def _or_never(self, name: str, change: Callable[[], None]) -> None:
        """Make a change; where it does not come about, that is the answer of the step from then on."""
        try:
            change()
        except NotReady as error:
            self._failed[name] = error
            raise

    def _change(self, wanted: Step) -> None:
        log.info("%s: step %s", self.about.get("name", ""), wanted.name)
        if count := service_count(wanted.name):
            require_room(Cluster(str(self.about.get("name", "")), "", _Within(self)), count)
        self._state.change(wanted, between=self._clean_up)
        timed = {note["step"] for note in self._recorder.about.get(NOTES, ())}
        for seen in time_programming(self._state, wanted, 0 if wanted.name in timed else self.plan.rounds):
            self._recorder.note(NOTES, seen)

    def _clean_up(self) -> None:
        """Ask what is left of Services right when their deletion returns."""
        if self._is_in(CLEANUP):
            self._ask(CLEANUP)

    def _missing(self, why: str, step: str) -> MissingFeature:
        reason = f"needs a change of the cluster (step {step}), and this arm is read-only"
        return MissingFeature(str(self.about.get("name", "")), f"{why}; {reason}" if why else reason)

    def _is_in(self, name: str) -> bool:
        """Whether what is there is the step. Where nothing may be changed, the workload may be missing too."""
        there, wanted = self._state.names, frozenset(self._step(name).objects)
        if self._read_only:
            return there <= wanted and name != CLEANUP and (name in WORKLOAD_STEPS or there == wanted)
        return there == wanted

    def _to_ask(self, name: str) -> bool:
        return has_program(name) and name not in self._asked

    def _ask(self, name: str) -> None:
        """Ask the step's program, unless it was."""
        if self._to_ask(name):
            self._asked.add(name)
            run_program(Cluster(str(self.about.get("name", "")), "", _Within(self), name))

    def _step(self, name: str) -> Step:
        if name not in self._steps:
            self._steps[name] = step(name, namespace=self._namespace, references=self._references)
        return self._steps[name]

    def within(self, request: Request) -> Reply:
        """Answer a request of a program: the arm stays as it is."""
        known = self._recorder.find(request)
        if known is not None:
            return known
        if self._closing:
            raise ConnectionLost("the arm is being closed", request)
        if not self._is_in(request.step):
            raise RequestError(
                f"{request.words[:120]} in step {request.step} was not asked before the arm left that step",
                request,
            )
        return self._recorder.run(request)


class _Within:
    """A staged arm for the program of a step: whoever asks is the one who moves it."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self.about = staged.about

    def run(self, request: Request) -> Reply:
        return self._staged.within(request)

    def wait(self, seconds: float) -> None:
        self._staged.wait(seconds)

    def close(self) -> None:
        """Whoever made the arm closes it."""
