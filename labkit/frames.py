"""Every declared frame as one page: `python -m labkit.frames` writes labkit/FRAMES.md."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["page", "schemas"]

PAGE = Path(__file__).parent / "FRAMES.md"
PACKAGES = ("parse", "collect", "analysis", "provision", "azure")
HEAD = """# Frames

Made by `make frames` from the declarations beside the parsers; a test keeps it current.

One row is one observation. A collector puts the `node` or `pod` it asked in front of a parser's columns and
`reply` (the id of the reply, within its arm's recording) behind them; `Lab.each` puts `arm` before all. Units
are part of a name: `_us` microseconds, `_s` seconds, `_bps` bits a second, `_bytes` bytes, `_pps` packets a
second, `_pct` percent; no suffix is a count, a ratio or a name. Missing is NA; zero is a measurement.
"""


def schemas() -> Iterator[tuple[str, Schema]]:
    """Module and schema of every frame that a module declares (not of those it imports), by module."""
    for package in PACKAGES:
        home = importlib.import_module(f"labkit.{package}")
        for info in sorted(pkgutil.iter_modules(home.__path__), key=lambda i: i.name):
            module = importlib.import_module(f"labkit.{package}.{info.name}")
            exported = {name: getattr(module, name) for name in getattr(module, "__all__", [])}
            for value in exported.values():
                if isinstance(value, Schema):
                    yield f"{package}/{info.name}", value


def page() -> str:
    """The page: a section a module, a table a frame."""
    parts = [HEAD]
    module = ""
    for home, schema in schemas():
        if home != module:
            parts.append(f"\n## {home}\n")
            module = home
        parts.append(_table(schema))
    return "\n".join(parts)


def _table(schema: Schema) -> str:
    key = f" Key: {', '.join(f'`{name}`' for name in schema.key)}." if schema.key else ""
    rows = "".join(
        f"| `{column.name}` | {column.dtype} | {column.unit} | {column.meaning} |\n"
        for column in schema.columns
    )
    return f"\n### {schema.name}\n\n{schema.meaning}{key}\n\n| column | dtype | unit | meaning |\n|---|---|---|---|\n{rows}"


if __name__ == "__main__":
    PAGE.write_text(page())
