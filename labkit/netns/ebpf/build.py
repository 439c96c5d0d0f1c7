"""The programs, compiled from their sources beside this file."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from labkit.errors import ProvisionError
from labkit.netns.ebpf.layout import CAPACITY

__all__ = ["SOURCES", "compiled"]

SOURCES = Path(__file__).parent
#: Where Debian has the headers of the machine (`asm/types.h`).
INCLUDES = Path(f"/usr/include/{platform.machine()}-linux-gnu")


def compiled() -> bytes:
    """The object file with all programs and maps. Takes half a second. Raises ProvisionError where clang fails."""
    argv = [
        "clang", "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", f"-I{SOURCES}", f"-I{INCLUDES}",
        *(f"-DMAX_{name.upper()}={entries}" for name, entries in CAPACITY.items()),
        "-c", str(SOURCES / "dataplane.bpf.c"), "-o", "-",
    ]  # fmt: skip
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise ProvisionError(
            "the eBPF programs cannot be compiled: there is no clang; apt install clang"
        ) from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ProvisionError(f"clang could not compile the eBPF programs: {said[-600:]}")
    return done.stdout
