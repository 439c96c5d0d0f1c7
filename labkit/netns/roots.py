"""The root of a container: the machine's programs, read-only, and files of its own.

A folder on the lab's tmpfs, and the mounts on it as the lines of an fstab, which the container's first process
mounts in a mount namespace of its own. So nothing is to be unmounted: it goes with the last process.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labkit.netns.images import Image

__all__ = ["Root", "build"]

FOLDERS = (
    "dev/shm", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var/cache", "var/lib", "var/log", "var/tmp",
)  # fmt: skip
#: Device files (character, 1:3 and so on) as every container runtime makes them.
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
    "var/run": "/run",
}
#: With a merged /usr these are links into it; without, folders of their own.
PROGRAMS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True, slots=True)
class Root:
    """`top` becomes `/` of a container once the mounts of `fstab` are done."""

    top: Path
    fstab: Path


def build(
    folder: Path, image: Image, texts: Mapping[str, str], binds: Iterable[tuple[str, str, str]]
) -> Root:
    """The files of a container of an image, with `texts` by path; `binds` are (source, path, options)."""
    top, etc, local = folder / "root", folder / "etc", folder / "local"
    for part in (*(top / name for name in FOLDERS), etc, folder / "etc.work", local / "bin"):
        part.mkdir(parents=True)
    mounts = [("/usr", "/usr", "none", "bind,ro"), *_programs(top)]
    mounts += [
        ("overlay", "/etc", "overlay", f"lowerdir=/etc,upperdir={etc},workdir={folder / 'etc.work'}"),
        (str(local), "/usr/local", "none", "bind"),
        ("proc", "/proc", "proc", "defaults"),
        ("sysfs", "/sys", "sysfs", "defaults"),
    ]
    _devices(top)
    for path, content in {**_files(image), **texts}.items():
        _write(_place(folder, path), content)
    for path in image.folders:
        _place(folder, path).mkdir(parents=True, exist_ok=True)
    for source, path, options in binds:
        _place(folder, path).mkdir(parents=True, exist_ok=True)
        mounts.append((source, path, "bpf" if source == "bpf" else "none", options))
    fstab = folder / "fstab"
    fstab.write_text("".join(_line(top, *mount) for mount in mounts))
    return Root(top, fstab)


def _programs(top: Path) -> list[tuple[str, str, str, str]]:
    mounts = []
    for name in PROGRAMS:
        there = Path("/", name)
        if there.is_symlink():
            (top / name).symlink_to(there.readlink())
        elif there.is_dir():
            (top / name).mkdir()
            mounts.append((str(there), str(there), "none", "bind,ro"))
    return mounts


def _devices(top: Path) -> None:
    for name, numbers in DEVICES.items():
        os.mknod(top / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(*numbers))
        (top / "dev" / name).chmod(0o666)
    for name, to in LINKS.items():
        (top / name).symlink_to(to)
    for name in ("tmp", "var/tmp", "dev/shm"):
        (top / name).chmod(0o1777)


def _files(image: Image) -> dict[str, str]:
    stand_ins = resources.files("labkit.netns") / "stand_ins"
    return {path: (stand_ins / name).read_text() for path, name in image.files.items()}


def _place(folder: Path, path: str) -> Path:
    """Where a path of the container is before anything is mounted."""
    for mounted, part in (("/etc/", "etc"), ("/usr/local/", "local")):
        if path.startswith(mounted):
            return folder / part / path.removeprefix(mounted)
    return folder / "root" / path.removeprefix("/")


def _write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    if content.startswith("#!"):
        file.chmod(0o755)


def _line(top: Path, source: str, path: str, kind: str, options: str) -> str:
    return " ".join(_escaped(word) for word in (source, f"{top}{path}", kind, options)) + " 0 0\n"


def _escaped(word: str) -> str:
    """fstab(5): a space is written \\040, a tabulator \\011, a backslash \\134."""
    return word.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
