"""Network namespaces, each with a host name: made, held by files, entered by threads and by commands."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from labkit.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Namespace", "inside", "make", "unmake"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network and a UTS namespace. They live as long as the bind mounts in `folder`, or who entered them."""

    folder: Path

    @property
    def net(self) -> Path:
        """The file that holds the network namespace."""
        return self.folder / "net"

    @property
    def uts(self) -> Path:
        """The file that holds the host name."""
        return self.folder / "uts"

    def enter(self) -> list[str]:
        """What stands before a command that runs in it."""
        return ["nsenter", f"--net={self.net}", f"--uts={self.uts}"]


def make(folder: Path, hostname: str) -> Namespace:
    """A new namespace with nothing but a loopback device that is down."""
    made = Namespace(folder)
    folder.mkdir(parents=True)
    for file in (made.net, made.uts):
        file.touch()
    named = 'printf %s "$1" >/proc/sys/kernel/hostname'
    _run("unshare", f"--net={made.net}", f"--uts={made.uts}", "sh", "-ec", named, "sh", hostname)
    return made


def unmake(namespace: Namespace) -> None:
    """Let a namespace go: the kernel takes its devices, routes and rules away."""
    _run("umount", str(namespace.net), str(namespace.uts))
    namespace.net.unlink()
    namespace.uts.unlink()
    namespace.folder.rmdir()


def inside(namespace: Namespace, work: Callable[[], T]) -> T:
    """What `work` gives in a thread that enters the network namespace, and ends."""
    from pyroute2 import netns  # noqa: PLC0415

    def entered() -> T:
        netns.setns(str(namespace.net), flags=0)
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(entered).result()


def _run(*argv: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ProvisionError(
            f"{' '.join(argv[:3])} exited {done.returncode}: {said}; see what `labkit doctor` says"
        )
