"""The outputs that are committed with the notebooks, and that nbval compares with."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.notebooks.execute import Job, Outcome, Watch, execute_all
from labkit.notebooks.kernels import Kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labkit.notebooks.book import Notebook

__all__ = ["refresh"]

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def refresh(notebooks: Sequence[Notebook], watch: Watch, *, jobs: int | None = None) -> list[Outcome]:
    """Run notebooks with their own parameters and store the outputs in them.

    Cells, their ids and their tags stay; nothing that changes from day to day is stored. A notebook that
    fails is left as it was.
    """
    with (
        tempfile.TemporaryDirectory(prefix="labkit-") as folder,
        Kernels(name for notebook in notebooks for name in notebook.modules) as kernels,
    ):
        works = [Job(n, Path(folder) / f"{n.name}.ipynb", {}) for n in notebooks]
        outcomes = execute_all(works, kernels, jobs, watch)
        for work, outcome in zip(works, outcomes, strict=True):
            if outcome.status == "ok":
                _store(work.notebook.path, work.target)
    return outcomes


def _store(notebook: Path, executed: Path) -> None:
    """Take over the outputs, and write the file as Jupyter would."""
    stored = json.loads(notebook.read_text(encoding="utf-8"))
    ran = json.loads(executed.read_text(encoding="utf-8"))
    stored["metadata"] = METADATA
    count = 0
    for cell, done in zip(stored["cells"], ran["cells"], strict=True):
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key == "tags"}
        if cell["cell_type"] == "code":
            count += 1
            cell |= {"execution_count": count, "outputs": [_numbered(o, count) for o in done["outputs"]]}
    text = json.dumps(stored, indent=1, ensure_ascii=False, sort_keys=True)
    notebook.write_text(text + "\n", encoding="utf-8")


def _numbered(output: dict[str, Any], count: int) -> dict[str, Any]:
    return output | {"execution_count": count} if "execution_count" in output else output
