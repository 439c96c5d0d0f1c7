"""Files of a run that only their owner may read, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

__all__ = ["write"]


def write(path: Path, data: bytes) -> None:
    """Replace a file by `data`, mode 0600. Where `path` is a link, what it points to is replaced."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp creates with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)  # gone already where it took its place
