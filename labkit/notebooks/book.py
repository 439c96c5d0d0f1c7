"""What a notebook is, and which parameters it takes."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Notebook", "default_arms", "discover", "find_folder", "given", "select"]

CHECKOUT = Path(__file__).resolve().parent.parent.parent
OWN = {"arms": "--arm NAME=SOURCE", "out": "--out DIR"}  # parameters that have an option of their own
TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "dict": (dict,),
    "list": (list,),
}


@dataclass(frozen=True)
class Notebook:
    """A notebook file. Raises ParameterError where it cannot be read as one."""

    path: Path

    @property
    def name(self) -> str:
        """The file name without `.ipynb`."""
        return self.path.stem

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """The cells as they are in the file."""
        try:
            cells: list[dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))["cells"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ParameterError(f"{self.path} is no notebook: {error!r}") from None
        return cells

    @property
    def title(self) -> str:
        """The first heading; the file's name where there is none."""
        lines = (line for cell in self.cells if cell["cell_type"] == "markdown" for line in _lines(cell))
        return next((line.lstrip("# ").strip() for line in lines if line.startswith("#")), self.name)

    @property
    def modules(self) -> Iterator[str]:
        """The modules that its import cells name."""
        for cell in self.cells:
            if cell["cell_type"] == "code":
                yield from _imported("\n".join(_lines(cell)))

    @cached_property
    def parameters(self) -> dict[str, dict[str, str]]:
        """By name: type, default (as source) and help of each parameter, as papermill reads them."""
        from papermill import inspect_notebook  # type: ignore[import-untyped]  # noqa: PLC0415

        tagged = any("parameters" in cell.get("metadata", {}).get("tags", []) for cell in self.cells)
        return dict(inspect_notebook(self.path)) if tagged else {}


def find_folder() -> Path:
    """The folder `notebooks/` of this folder, one above it, or labkit's own checkout."""
    here = Path.cwd()
    for top in (here, *here.parents, CHECKOUT):
        if any((top / "notebooks").glob("*.ipynb")):
            return top / "notebooks"
    raise ParameterError(f"no folder notebooks/ with notebooks in it, in {here} or above")


def discover(folder: Path) -> list[Notebook]:
    """The notebooks of a folder, in the order of their names."""
    found = [Notebook(path) for path in sorted(folder.glob("*.ipynb"))]
    if not found:
        raise ParameterError(f"no notebooks in {folder}")
    return found


def select(found: Sequence[Notebook], wanted: Iterable[str]) -> list[Notebook]:
    """Those that are wanted, by name (`02_overlay_routing`), its beginning (`02`) or path; all for none."""
    chosen = dict.fromkeys(_find(found, name) for name in wanted)
    return list(chosen) or list(found)


def _find(found: Sequence[Notebook], wanted: str) -> Notebook:
    if wanted.endswith(".ipynb") and Path(wanted).is_file():
        return Notebook(Path(wanted).resolve())
    stem = Path(wanted).stem
    matches = [n for n in found if n.name == stem] or [n for n in found if wanted and n.name.startswith(stem)]
    if len(matches) != 1:
        among = matches or found
        problem = "is more than one notebook" if matches else "is no notebook"
        raise ParameterError(f"{wanted!r} {problem}; there are: {', '.join(n.name for n in among)}")
    return matches[0]


def default_arms(notebook: Notebook) -> dict[str, str]:
    """The arms that a notebook starts with. Empty where it takes none."""
    told = notebook.parameters.get("arms", {"default": "{}"})
    return dict(ast.literal_eval(told["default"]))


def given(notebooks: Sequence[Notebook], settings: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """For each notebook the settings it takes, converted to the type of their annotation.

    Raises ParameterError for a setting that no notebook takes, or that is not of its type.
    """
    known = {name for n in notebooks for name in n.parameters} - OWN.keys()
    for name in settings:
        if name in OWN:
            raise ParameterError(f"parameter {name!r} is set with {OWN[name]}")
        if name not in known:
            raise ParameterError(
                f"no notebook of this run has a parameter {name!r}; there are: {', '.join(sorted(known)) or 'none'}"
            )
    return {
        n.name: {
            key: _typed(key, text, n.parameters[key]["inferred_type_name"])
            for key, text in settings.items()
            if key in n.parameters
        }
        for n in notebooks
    }


def _typed(name: str, text: str, annotation: str) -> Any:  # noqa: ANN401  (whatever the notebook declares)
    if annotation == "str":
        return text
    value = _literal(text)
    allowed = TYPES.get(annotation)
    wrong = allowed is not None and (
        not isinstance(value, allowed) or (isinstance(value, bool) and annotation != "bool")
    )
    if wrong:
        raise ParameterError(f"parameter {name!r} is declared {annotation}; {text!r} is none")
    return float(value) if annotation == "float" else value


def _literal(text: str) -> Any:  # noqa: ANN401
    """The JSON or Python value that is written; the text itself where it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def _lines(cell: dict[str, Any]) -> list[str]:
    source = cell["source"]
    return ("".join(source) if isinstance(source, list) else source).splitlines()


def _imported(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # running the notebook will say so, with its cell
        return
    for found in tree.body:
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom) and found.module and not found.level:
            yield found.module
            yield from (f"{found.module}.{alias.name}" for alias in found.names)
