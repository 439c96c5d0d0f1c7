"""The handle of one arm: who it is, and how to ask it something. It knows no tool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from labkit.errors import CommandError, RequestError, TimeLimit
from labkit.exec.request import Exec, Logs, Read

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from labkit.exec.executor import Executor
    from labkit.exec.request import Reply, Request

__all__ = ["Cluster", "once"]

P = ParamSpec("P")
T = TypeVar("T")

FAN_OUT = 64


@dataclass(frozen=True, slots=True)
class Cluster:
    """One arm at one step. `at("capture")` gives the same arm at another step.

    A command that exits with another code than 0 raises CommandError unless `check=False`; one that its
    time limit cut off raises TimeLimit unless `check=False`.
    """

    arm: str
    source: str
    executor: Executor
    step: str = "baseline"
    #: What was read or worked out of this arm before, by function, step and options: see `once`.
    memo: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def about(self) -> dict[str, Any]:
        """Name, origin, note and time of what answers."""
        return self.executor.about

    @property
    def origin(self) -> str:
        """`live`, `netns` or `synthetic`: where the answers come from in the end."""
        return str(self.about["origin"])

    @property
    def namespace(self) -> str:
        """The namespace of the lab's workloads."""
        return str(self.about["namespace"])

    def at(self, step: str) -> Cluster:
        """The same arm, asked in another step."""
        return replace(self, step=step)

    def run(self, target: str, argv: Sequence[str], *, sample: int = 0, check: bool = True) -> Reply:
        """Run a command on a target."""
        return self._ask(Exec(step=self.step, sample=sample, target=target, argv=tuple(argv)), check=check)

    def run_each(
        self, targets: Iterable[str], argv: Sequence[str], *, sample: int = 0, check: bool = True
    ) -> list[Reply]:
        """Run a command on many targets at once; the replies are sorted by target."""
        wanted = sorted(targets)
        if not wanted:
            return []
        with ThreadPoolExecutor(min(FAN_OUT, len(wanted))) as pool:
            return list(pool.map(lambda t: self.run(t, argv, sample=sample, check=check), wanted))

    def read(self, path: str, *, sample: int = 0) -> Reply:
        """GET an API path."""
        return self._ask(Read(step=self.step, sample=sample, path=path), check=True)

    def logs(self, target: str, tail: int, *, sample: int = 0) -> Reply:
        """The last lines of a container's log."""
        return self._ask(Logs(step=self.step, sample=sample, target=target, tail=tail), check=True)

    def has(self, request: Request) -> bool:
        """Whether the arm answers this request at all (a recording may not hold it)."""
        try:
            self.executor.run(request)
        except RequestError:
            return False
        return True

    def close(self) -> None:
        """Free what the executor holds."""
        self.executor.close()

    def _ask(self, request: Request, *, check: bool) -> Reply:
        reply = self.executor.run(request)
        if check and reply.exit_code is None:
            raise TimeLimit(reply)
        if check and reply.exit_code != 0:
            raise CommandError(reply)
        return reply


def once(work: Callable[P, T]) -> Callable[P, T]:
    """Make a function of a cluster work once for each arm, step and options, and remember what it gave.

    The same question in the same step has one answer. What is given is shared: nobody may change it.
    """

    @wraps(work)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> T:
        cluster = cast("Cluster", args[0])
        question = (work, cluster.step, repr((args[1:], sorted(kwargs.items()))))
        if question not in cluster.memo:
            cluster.memo[question] = work(*args, **kwargs)
        return cast("T", cluster.memo[question])

    return remembered
