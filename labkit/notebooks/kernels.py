"""Where the kernels of a run come from, and how they all end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from jupyter_client.manager import AsyncKernelManager

__all__ = ["Kernels"]


@dataclass(frozen=True, slots=True)
class Forked:
    """A kernel that the nursery forked, as jupyter_client handles a Popen."""

    pid: int
    stdin: ClassVar[None] = None
    stdout: ClassVar[None] = None
    stderr: ClassVar[None] = None

    def poll(self) -> int | None:
        """None while it lives. The system has buried it when it is gone, and its exit code with it."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def wait(self) -> int:
        """Asked only of one that has ended."""
        return 0

    def send_signal(self, signum: int) -> None:
        """Only to this process; its group is signalled by jupyter_client."""
        os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)

    terminate = kill


class Kernels:
    """The kernels of a run: forked from a nursery where there is one, else started by themselves.

    They talk over sockets in a folder of their own, which only this user can open: no TCP port, and no
    clash between kernels that start at the same time. Leaving the `with` ends those that still run.
    What is put into `environ` is in the environment of kernels that start after that.
    """

    def __init__(self, modules: Iterable[str], *, nursery: bool = hasattr(os, "fork")) -> None:
        self._modules = list(dict.fromkeys(modules))
        self._wanted = nursery
        self._nursery: subprocess.Popen[str] | None = None
        self._one_order = threading.Lock()
        self._managers: list[AsyncKernelManager] = []
        self.environ: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="labkit-")
        if self._wanted:
            command = [sys.executable, "-P", "-m", "labkit.notebooks.nursery", *self._modules]
            self._nursery = subprocess.Popen(  # noqa: S603  (this very interpreter)
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if self._nursery:
            self._nursery.kill()
            self._nursery.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def end(self) -> None:
        """End every kernel that still runs; whoever waits for one is told that it died."""
        for manager in self._managers:
            process = getattr(manager.provisioner, "process", None)
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def manager(self) -> type[AsyncKernelManager]:
        """The kernel manager to give to nbclient."""
        from jupyter_client.manager import AsyncKernelManager  # noqa: PLC0415

        kernels = self

        class Manager(AsyncKernelManager):
            def __init__(self, **options: Any) -> None:  # noqa: ANN401
                address = f"{kernels._folder}/{len(kernels._managers)}"
                super().__init__(transport="ipc", ip=address, **options)
                kernels._managers.append(self)

            async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:  # noqa: ANN401
                pid = kernels.fork(kernel_cmd, options.get("cwd"))
                if pid is None:
                    options["env"] = {**(options.get("env") or os.environ), **kernels.environ}
                    await super()._async_launch_kernel(kernel_cmd, **options)
                    return
                provisioner: Any = self.provisioner
                provisioner.process = Forked(pid)
                provisioner.pid = provisioner.pgid = pid
                self._reconcile_connection_info(provisioner.connection_info)

        return Manager

    def fork(self, command: list[str], cwd: str | None) -> int | None:
        """The pid of a kernel forked for this command, or None where there is no nursery (any more)."""
        if self._nursery is None or "-f" not in command:
            return None
        order = {
            "argv": command[command.index("-f") :],
            "cwd": cwd or str(os.getcwd()),  # noqa: PTH109
            "environ": self.environ,
        }
        with self._one_order, contextlib.suppress(OSError, ValueError):
            assert self._nursery.stdin and self._nursery.stdout  # noqa: S101, PT018  (both are pipes)
            self._nursery.stdin.write(json.dumps(order) + "\n")
            self._nursery.stdin.flush()
            return int(self._nursery.stdout.readline())
        return None
