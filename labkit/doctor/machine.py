"""What every run needs of this machine: Python, the packages, a kernel for the notebooks."""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from labkit.doctor.check import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["machine"]

LEAST = (3, 11)


def machine() -> Iterator[Check]:
    """Python, what labkit requires, and the kernel `python3`."""
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < LEAST:
        wanted = ".".join(map(str, LEAST))
        yield Check("Python", "missing", found, f"install Python {wanted} or newer, then `make`")
    else:
        yield Check("Python", "ok", found)
    yield _packages()
    yield _kernel()


def _packages() -> Check:
    """Those that labkit requires to run (not those of its tests)."""
    required = [text for text in metadata.requires("labkit") or () if "extra ==" not in text]
    names = [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in required]
    missing = [name for name in names if not _installed(name)]
    if missing:
        return Check(
            "packages", "missing", f"not installed: {', '.join(missing)}", "make report (or make lab)"
        )
    return Check(
        "packages", "ok", f"labkit {metadata.version('labkit')} and the {len(names)} that it requires"
    )


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _kernel() -> Check:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel  # noqa: PLC0415

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Check("Jupyter kernel", "missing", "no kernel python3", "pip install ipykernel")
    return Check("Jupyter kernel", "ok", f"{spec.display_name}, {spec.resource_dir}")
