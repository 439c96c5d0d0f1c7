"""Imports point down only. The one exception would be the one that rots the house."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "labkit"

#: Who may import whom, from the ground up. A layer may import those before it, and itself.
LAYERS = [
    ("errors", "probe"),
    ("schema",),
    ("parse", "exec", "provision"),
    ("cluster",),
    ("capture", "azure", "kind", "netns"),
    ("collect",),
    ("explain",),
    ("experiments",),
    ("measure",),
    ("chain",),
    ("source",),
    ("doctor",),
    ("findings", "lab", "run_book", "on_aks", "reference_shapes"),
    ("claims",),
    ("decisions", "promotion"),
    ("notebooks", "frames"),
    ("report",),
    ("cli",),
]
#: These stand aside: pure functions of frames, which know the schema and nothing else of labkit.
ASIDE = {"analysis": {"errors", "schema", "analysis"}, "figures": {"errors", "schema", "figures"}}
#: These may use what stands aside.
USES_ASIDE = {"claims", "explain", "measure", "report", "notebooks", "frames", "cli"}
HEAVY = ("pandas", "numpy", "scipy", "matplotlib", "nbformat", "papermill", "nbclient", "nbconvert", "kubernetes", "azure", "scapy")  # fmt: skip

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    """The labkit layers that a module imports, inside functions and for typing too."""
    names = set()
    tree = ast.parse(path.read_text())
    if path.name == "errors.py":  # an error carries its request, but only the type checker needs to know
        tree.body = [part for part in tree.body if not isinstance(part, ast.If)]
    for found in ast.walk(tree):
        if isinstance(found, ast.Import):
            names |= {alias.name for alias in found.names}
        elif isinstance(found, ast.ImportFrom) and found.module:
            names |= {f"{found.module}.{alias.name}" for alias in found.names}
    return {layer(name) for name in names if name.startswith("labkit.")}


def rank(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    relative = path.relative_to(PACKAGE)
    mine = relative.parts[0].removesuffix(".py")
    if mine == "__init__":
        return assert_only_names(path)
    for other in imported(path):
        if mine in ASIDE:
            assert other in ASIDE[mine], f"{relative} imports labkit.{other}"
        elif other in ASIDE:
            assert mine in USES_ASIDE, f"{relative} imports labkit.{other}"
        elif other != mine:
            assert rank(other) < rank(mine), f"{relative} imports labkit.{other}, which stands above it"
    return None


def assert_only_names(path):
    """The package's front door only re-exports."""
    kinds = {type(statement) for statement in ast.parse(path.read_text()).body}
    assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_modules_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 300, "is it two modules?"
    for found in ast.walk(ast.parse(text)):
        if isinstance(found, ast.FunctionDef):
            assert found.end_lineno - found.lineno <= 50, f"{found.name}: is it two functions?"


def test_importing_labkit_loads_nothing_heavy():
    code = f"import sys, labkit, labkit.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_is_named_after_nothing():
    stems = {path.stem for path in MODULES}
    assert not stems & {"utils", "util", "helpers", "common", "base", "manager", "misc"}
