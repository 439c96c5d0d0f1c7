"""The folders of running labs, by which they are found: who owns each, and whether both still live.

    <temporary folder>/labkit-netns-XXXXXXXX/   mode 0700
        lab.json    {"topology", "pids", "lab": {"pid", "started"}, "owner": {"pid", "started"}}
        socket      where the lab answers
        log         what the lab wrote to stderr
        state/      the lab's tmpfs, in its own mount namespace; empty for everybody else

A process is known by its number and its start time, since numbers are used again. Numbers mean something in their PID
namespace (`pids`) only: containers may share a temporary folder, and leave each other's labs alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from labkit.errors import SourceError

__all__ = ["Lab", "Process", "make", "remove", "running", "sweep"]

PREFIX = "labkit-netns-"
FILES = ("lab.json", "lab.json.new", "socket", "log")
#: The longest name that a Unix socket can have: unix(7).
SOCKET_BYTES = 107
GONE_S = 5.0
#: A folder without word in it that is older than this was left.
YOUNG_S = 60.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine: its number, and when it started in clock ticks since the machine did."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Raises OSError where there is no such process."""
        return cls(pid, _stat(pid)[1])

    def lives(self) -> bool:
        """Whether it is this process that still runs. A zombie has ended."""
        try:
            state, started = _stat(self.pid)
        except OSError:
            return False
        return started == self.started and state != "Z"


def _stat(pid: int) -> tuple[str, int]:
    """Fields 3 and 22 of proc_pid_stat(5), counted behind the name, which may hold anything."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that was started on this machine."""

    folder: Path
    topology: str
    lab: Process
    owner: Process

    def write(self) -> None:
        """Leave word in the folder, whole."""
        told = asdict(self)
        del told["folder"]
        told["pids"] = _pids()
        (self.folder / "lab.json.new").write_text(json.dumps(told))
        (self.folder / "lab.json.new").replace(self.folder / "lab.json")


def make() -> Path:
    """A new folder with the place of its state.

    Raises SourceError where the temporary folder's name leaves no room for that of a socket.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    if len(os.fsencode(folder / "socket")) > SOCKET_BYTES:
        folder.rmdir()
        raise SourceError(
            f"{folder.parent} is too long a name for a folder with a socket in it; set TMPDIR to a shorter one"
        )
    (folder / "state").mkdir()
    return folder


def remove(folder: Path) -> None:
    """Take a folder away: its own files and no others, so that nothing mounted in it is ever touched."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for left in (folder / "state", folder):
        with contextlib.suppress(FileNotFoundError):
            left.rmdir()


def running() -> list[Lab]:
    """The labs of this user that run, with their owners."""
    return [lab for lab in _all() if lab.lab.lives()]


def sweep() -> list[Path]:
    """End labs whose owner is gone, and remove the folders that nobody owns any more; those folders."""
    swept = []
    for lab in _all():
        if lab.owner.lives():
            continue
        if lab.lab.lives():
            os.kill(lab.lab.pid, signal.SIGKILL)
            _wait_until_gone(lab.lab)
        remove(lab.folder)
        swept.append(lab.folder)
    for folder in _folders():
        if not (folder / "lab.json").exists() and time.time() - folder.stat().st_mtime > YOUNG_S:
            remove(folder)  # whoever made it was killed before it started anything
            swept.append(folder)
    return swept


def _pids() -> str:
    """The PID namespace of this process."""
    return str(Path("/proc/self/ns/pid").readlink())


def _wait_until_gone(process: Process) -> None:
    end = time.monotonic() + GONE_S
    while process.lives() and time.monotonic() < end:
        time.sleep(0.01)


def _folders() -> list[Path]:
    """The folders of this user's labs."""
    found = []
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        with contextlib.suppress(FileNotFoundError):  # it is being removed
            if folder.stat().st_uid == os.geteuid():
                found.append(folder)
    return found


def _all() -> list[Lab]:
    found = []
    for folder in _folders():
        with contextlib.suppress(FileNotFoundError):
            told = json.loads((folder / "lab.json").read_text())
            if told.get("pids") != _pids():
                continue
            found.append(Lab(folder, told["topology"], Process(**told["lab"]), Process(**told["owner"])))
    return found
