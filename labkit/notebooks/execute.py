"""One notebook through papermill, and many at once.

Threads suffice: the work is in the kernels, and the parent only passes messages on.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from labkit.errors import NotebookError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from labkit.notebooks.book import Notebook
    from labkit.notebooks.kernels import Kernels

__all__ = ["Job", "Outcome", "Status", "Watch", "execute", "execute_all"]

Status = Literal["ok", "failed", "interrupted", "not run"]


@dataclass(frozen=True, slots=True)
class Job:
    """A notebook to run: where its executed copy goes, and what it is told."""

    notebook: Notebook
    target: Path
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a notebook ended. A failed one has the error; the executed part is in its target all the same."""

    notebook: str
    status: Status
    seconds: float
    error: NotebookError | None = None


class Watch(Protocol):
    """Whoever wants to see the progress of a run."""

    def started(self, notebook: str) -> None:
        """A notebook's turn has come."""

    def ended(self, outcome: Outcome) -> None:
        """A notebook has ended, well or not."""

    def told(self, arm: str, doing: str) -> None:
        """What a live arm is doing now; empty when it has ended. Any thread may tell."""


def execute(job: Job, kernels: Kernels) -> Outcome:
    """Run one notebook. Its failure is part of the outcome, not raised."""
    from jupyter_core.utils import ensure_event_loop  # noqa: PLC0415
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError  # noqa: PLC0415
    from papermill import PapermillExecutionError, execute_notebook  # type: ignore[import-untyped] # noqa: PLC0415

    for name in ("papermill", "papermill.translators"):  # what it logs as an error is in the outcome
        logging.getLogger(name).setLevel(logging.CRITICAL)
    begun = time.perf_counter()
    error: NotebookError | None = None
    try:
        execute_notebook(
            str(job.notebook.path),
            str(job.target),
            parameters=dict(job.parameters),
            kernel_name="python3",
            progress_bar=False,
            kernel_manager_class=kernels.manager(),
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(job.notebook.path.parent)}},  # the kernel's folder
        )
    except PapermillExecutionError as failed:
        message = f"{failed.ename}: {failed.evalue}".splitlines()[0]
        error = NotebookError(job.notebook.name, failed.exec_count, message)
    except (DeadKernelError, CellTimeoutError, CellExecutionError, RuntimeError) as failed:
        message = f"the kernel died or gave no answer ({failed})"
        error = NotebookError(job.notebook.name, _reached(job.target), message)
    finally:
        ensure_event_loop().close()  # nbclient made one for this thread, and leaves it open
    return Outcome(job.notebook.name, "failed" if error else "ok", time.perf_counter() - begun, error)


def _reached(executed: Path) -> int:
    """The number of the code cell that the written part of a notebook ends in."""
    if not executed.is_file():
        return 0
    cells: list[dict[str, Any]] = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    begun = [c for c in cells if c["metadata"].get("papermill", {}).get("start_time")]
    return sum(cell["cell_type"] == "code" for cell in begun)


def execute_all(jobs: Sequence[Job], kernels: Kernels, workers: int | None, watch: Watch) -> list[Outcome]:
    """Run the jobs in this order, so many at a time (one a processor); what came of each, in the same order.

    Ctrl-C ends the kernels and marks what had not ended as interrupted, the rest as not run; it is not raised again.
    """
    interrupted = threading.Event()

    def turn(job: Job) -> Outcome:
        if interrupted.is_set():
            return Outcome(job.notebook.name, "not run", 0.0)
        watch.started(job.notebook.name)
        outcome = execute(job, kernels)
        if interrupted.is_set() and outcome.status == "failed":
            outcome = Outcome(job.notebook.name, "interrupted", outcome.seconds)
        watch.ended(outcome)
        return outcome

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        futures: list[Future[Outcome]] = [pool.submit(turn, job) for job in jobs]
        try:
            wait(futures)
        except KeyboardInterrupt:
            interrupted.set()
            _end_all(futures, kernels)
        return [future.result() for future in futures]


def _end_all(futures: Sequence[Future[Outcome]], kernels: Kernels) -> None:
    """End kernels until nobody waits for one: a thread may be starting one at this very moment."""
    pending = set(futures)
    while pending:
        kernels.end()
        _, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
