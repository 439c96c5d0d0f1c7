"""A live arm in this process: what talks, what writes it down, and what brings it into the steps asked for.

    Chain -> Staged -> Recorder -> Netns or Live

A chain ends with `close`, when nobody holds it any more, or with the interpreter: then what was changed for
it is put back and its recording is ended. Killed, it leaves a recording that is readable, namespaces that
the kernel takes away, and on a cluster what `labkit down --arm` removes.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from labkit.errors import MissingFeature, NotReady, RequestError, SourceError
from labkit.exec.recording import Recorder
from labkit.exec.redaction import Redaction
from labkit.exec.request import Read

if TYPE_CHECKING:
    from collections.abc import Callable

    from labkit.collect.plan import Plan
    from labkit.exec.executor import Executor
    from labkit.exec.request import Reply, Request

__all__ = ["KINDS", "Chain", "Opener", "Terms", "created", "open_chain", "prepare", "talking"]

#: The kinds of sources that are live, and the plan of measurements that each starts with.
KINDS = {"netns": "quick", "live": "full"}


@dataclass(frozen=True, slots=True)
class Terms:
    """How live arms may be treated.

    `plan` is how much is measured (`quick`, `full`, with parts set anew behind colons as in
    `full:services=1,100,20000`; empty: what its kind of source starts with), `read_only` leaves out all that
    needs a change, `allow_context` names contexts of clusters that labkit did not create and may change all the
    same, `redact_ips` takes public addresses out of what is recorded, `images` is a file of images to pull in
    place of labkit's (see `experiments/images.toml`). `recorded_at` is when the run began that an arm belongs to:
    arms that are measured in turns are of one moment.
    """

    plan: str = ""
    read_only: bool = False
    allow_context: tuple[str, ...] = ()
    redact_ips: bool = False
    images: str = ""
    recorded_at: str = ""

    def __post_init__(self) -> None:
        if self.plan:
            plan_named(self.plan)


class Opener(Protocol):
    """Makes the chain of a live arm."""

    def __call__(
        self, source: str, arm: str, path: Path, terms: Terms, watch: Callable[[str], None]
    ) -> Chain:
        """The chain of `source`, recording into `path` (going on with what is there)."""


class Chain:
    """The executor of a live arm, from its first request to its end."""

    def __init__(self, top: Executor, recorder: Recorder, watch: Callable[[str], None] | None = None) -> None:
        """`top` answers, by way of `recorder`; closing it closes all below. `watch` is told what is being done."""
        self._top, self._recorder = top, recorder
        self._watch = watch or (lambda _: None)
        self._step = ""
        self._telling = threading.Lock()
        self._end = weakref.finalize(self, _end, top, recorder)

    @property
    def about(self) -> dict[str, Any]:
        return self._recorder.about

    @property
    def path(self) -> Path:
        """The folder of its recording."""
        return self._recorder.path

    def run(self, request: Request) -> Reply:
        """Answer a request, in the step it names. What it failed with is recorded too."""
        self._tell(request)
        try:
            return self._top.run(request)
        except (RequestError, MissingFeature, NotReady) as error:
            raise self._recorder.failed(request, error) from None

    def find(self, request: Request) -> Reply | None:
        """The reply that is recorded already, or None."""
        return self._recorder.find(request)

    def tell(self, doing: str) -> None:
        """Passed on to whoever watches."""
        self._watch(doing)

    def wait(self, seconds: float) -> None:
        """Passed on."""
        self._top.wait(seconds)

    def close(self) -> None:
        """Put back what was changed, and end the recording. Closing twice is no error."""
        try:
            if self._end.alive:
                self._watch("putting back what was changed")
        finally:  # whoever watches may be gone
            self._end()

    def _tell(self, request: Request) -> None:
        with self._telling:
            new = request.step != self._step and self._recorder.find(request) is None
            if new:
                self._step = request.step
        if new:
            self._watch(f"step {request.step}")


def _end(top: Executor, recorder: Recorder) -> None:
    try:
        top.close()
    finally:
        recorder.close()


def open_chain(
    source: str, arm: str, path: Path, terms: Terms, watch: Callable[[str], None] = lambda _: None
) -> Chain:
    """The chain of `netns:<topology>` or `live:<context>`, recording into `path` (going on with what is there).

    Raises SourceError where it cannot be had, naming what is missing and how to get it, and ParameterError for a
    file of images that is none.
    """
    from labkit.experiments.manifests import images  # noqa: PLC0415
    from labkit.experiments.staged import Staged  # noqa: PLC0415

    kind = source.partition(":")[0]
    plan = plan_named(terms.plan or KINDS[kind])
    references = images(Path(terms.images) if terms.images else None)
    watch("starting" if kind == "netns" else "connecting")
    inner = talking(source, terms)
    try:
        recorder = _recorder(inner, path, terms, _said(source, arm, plan, terms))
        top = Staged(recorder, inner, plan=plan, read_only=terms.read_only, references=references)
    except BaseException:
        inner.close()
        raise
    return Chain(top, recorder, watch)


def prepare(chain: Chain) -> None:
    """Bring an arm to where every notebook begins, so that what is in the way is known before any starts.

    Raises SourceError where a recording that is gone on with is of other pods: their names and addresses are
    in its questions, so two states would be mixed.
    """
    pods = Read(step="baseline", path="/api/v1/pods")
    before = chain.find(pods)
    if before is None:
        chain.run(Read(step="baseline", path="/version"))
        return
    times = len(chain.about.get("resumed", []))
    now = chain.run(Read(step="baseline", path="/api/v1/pods", sample=1000 + times))
    namespace = str(chain.about["namespace"])
    recorded, there = (_pods(reply, namespace) for reply in (before, now))
    if recorded != there:
        gone = ", ".join(sorted(name for name, _ in recorded - there)[:3])
        raise SourceError(
            f"the pods of {chain.about.get('source')} are not those of {chain.path} (gone: {gone or 'none'}): they "
            "were set up anew since. What is recorded can be replayed; for the rest start a new run"
        )


def _pods(reply: Reply, namespace: str) -> set[tuple[str, str]]:
    """Name and address of each pod of the lab."""
    items = json.loads(reply.stdout)["items"]
    return {
        (pod["metadata"]["name"], pod.get("status", {}).get("podIP", ""))
        for pod in items
        if pod["metadata"]["namespace"] == namespace
    }


def plan_named(words: str) -> Plan:
    """How much is measured, in the words of `collect.plan_words`; `turns-rounds=8` and the like set what is
    measured in turns. Raises ParameterError where they mean nothing."""
    from labkit.collect.plan_words import named  # noqa: PLC0415
    from labkit.measure.design import WORDS, planned  # noqa: PLC0415

    name, *parts = words.split(":")
    known = {f"turns-{word}": word for word in WORDS}
    mine = [part for part in parts if part.partition("=")[0] in known]
    plan = named(":".join([name, *(part for part in parts if part not in mine)]))
    told = {known[key]: value for key, _, value in (part.partition("=") for part in mine)}
    return replace(plan, turns=planned(name, told).to_json())


def talking(source: str, terms: Terms) -> Executor:
    """What talks to a live arm, and nothing more: no recording, no steps."""
    kind, _, name = source.partition(":")
    if kind == "netns":
        from labkit.exec.netns import Netns  # noqa: PLC0415

        return Netns(name)
    from labkit.exec.live import Live  # noqa: PLC0415

    allowed = name if name in terms.allow_context else ""
    return Live(name, allow_context=allowed, read_only=terms.read_only, created=created(name))


def created(context: str) -> bool:
    """Whether `labkit up` made the cluster of this context: its kubeconfig lies beside its state."""
    from labkit.exec.live_config import context_names  # noqa: PLC0415

    for text in os.environ.get("KUBECONFIG", "").split(os.pathsep):
        file = Path(text)
        if text and file.is_file() and context in context_names(text):
            return (file.parent / "state.json").is_file()
    return False


def _recorder(inner: Executor, path: Path, terms: Terms, said: dict[str, Any]) -> Recorder:
    redaction = Redaction(ips=terms.redact_ips)
    if (path / "recording.json").is_file():
        return Recorder.open(inner, path, redaction=redaction)
    return Recorder(inner, path, about=said, redaction=redaction)


def _said(source: str, arm: str, plan: Plan, terms: Terms) -> dict[str, Any]:
    """What a header says of who recorded what, when and how much of it. It may be published: it names no account."""
    import labkit  # noqa: PLC0415  (its version; it imports this)
    from labkit.exec.live_config import shown  # noqa: PLC0415

    kind, _, name = source.partition(":")
    return {
        "name": arm,
        "source": f"{kind}:{shown(name)}",
        "plan": plan.to_json(),
        "recorded_at": terms.recorded_at or datetime.now(UTC).isoformat(),
        "recorder": f"labkit {labkit.__version__}",
    }
