"""The shape every notebook has: short, told in sentences, all logic in labkit, outputs committed."""

import ast
import json
import re
from pathlib import Path

import pytest

from labkit.findings import MIME
from labkit.notebooks.book import Notebook

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = [Notebook(path) for path in sorted(FOLDER.glob("*.ipynb"))]
EXPECTED = [
    "01_setup", "02_overlay_routing", "02_paths", "03_cilium_maps", "04_measurement", "04_performance", "04_scaling",
    "05_policies", "06_observability", "07_comparison", "08_cleanup",
]  # fmt: skip
FIRST_PARAMETERS = [
    'arms: dict = {"overlay": "replay:overlay-vxlan", "cilium": "replay:cilium"}  # arm: source, one or more',
    'out: str = ""  # folder for tables and figures; empty leaves none',
]
#: Notebooks that begin with other arms: those that were measured in turns.
OTHER_ARMS = {
    "04_measurement": 'arms: dict = {"vxlan": "replay:netns-vxlan", "routed": "replay:netns-routed"}  # arm: source, one or more',
}
FORBIDDEN = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.AsyncFor, ast.While,
    ast.Try, ast.With, ast.If, ast.Global, ast.Delete, ast.Assert, ast.Raise,
)  # fmt: skip
#: Names that would tie an output to a place or a day, or go around labkit.
NAMES = {
    "print",
    "open",
    "exec",
    "eval",
    "time",
    "datetime",
    "os",
    "sys",
    "subprocess",
    "get_ipython",
    "random",
}
LONGEST = 8

each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.name)


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def code(notebook):
    """The code cells."""
    return [cell for cell in notebook.cells if cell["cell_type"] == "code"]


def imports(cell):
    """Whether a cell is one of imports: nothing else is in it."""
    body = ast.parse(source(cell)).body
    return bool(body) and all(isinstance(part, ast.Import | ast.ImportFrom) for part in body)


def plain(notebook):
    """The code cells that do something: neither parameters nor imports."""
    return [cell for cell in code(notebook) if "parameters" not in tags(cell) and not imports(cell)]


def test_all_are_there():
    assert [n.name for n in NOTEBOOKS] == EXPECTED


@each
def test_it_is_of_a_length_to_be_read(notebook):
    assert 10 <= len(notebook.cells) <= 25
    for cell in plain(notebook):
        assert len(source(cell).splitlines()) <= LONGEST, source(cell)


@each
def test_it_starts_with_a_title_and_a_question(notebook):
    first = notebook.cells[0]
    assert first["cell_type"] == "markdown"
    title, *rest = source(first).splitlines()
    assert re.fullmatch(rf"# {notebook.name[:2]} \S.*", title)
    assert "?" in "".join(rest), "what question does it answer?"


@each
def test_one_cell_holds_the_parameters(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    assert len(tagged) == 1
    assert code(notebook)[0] is tagged[0]
    lines = source(tagged[0]).splitlines()
    assert lines[:2] == [OTHER_ARMS.get(notebook.name, FIRST_PARAMETERS[0]), FIRST_PARAMETERS[1]]
    for line, part in zip(lines, ast.parse("\n".join(lines)).body, strict=True):
        assert isinstance(part, ast.AnnAssign), f"not annotated: {line}"
        assert "  # " in line, f"not explained: {line}"


@each
def test_one_cell_holds_the_imports_and_the_next_opens_the_arms(notebook):
    where = [i for i, cell in enumerate(code(notebook)) if imports(cell)]
    assert where == [1]
    assert source(code(notebook)[2]).splitlines()[0] == "lab = Lab(arms, out)"


@each
def test_all_logic_is_in_labkit(notebook):
    for cell in plain(notebook):
        text = source(cell)
        assert not re.search(r"^\s*[!%]|;\s*$", text, re.MULTILINE), f"shell, magic or semicolon: {text}"
        for part in ast.walk(ast.parse(text)):
            assert not isinstance(part, (*FORBIDDEN, ast.Import, ast.ImportFrom)), text
            assert not (isinstance(part, ast.Name) and part.id in NAMES), text
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                assert not re.match(r"/(?!api)|~|[A-Z]:\\", part.value), f"an absolute path: {part.value}"


@each
def test_a_sentence_stands_before_what_is_shown(notebook):
    """No more than four code cells follow each other once the arms are open."""
    kinds = [cell["cell_type"] for cell in notebook.cells]
    opened = notebook.cells.index(code(notebook)[2])
    run = 0
    for kind in kinds[opened + 1 :]:
        run = run + 1 if kind == "code" else 0
        assert run <= 4


@each
def test_outputs_are_committed_and_whole(notebook):
    counts = [cell["execution_count"] for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run `labkit refresh`"
    for cell in code(notebook):
        kinds = [output["output_type"] for output in cell["outputs"]]
        shows = isinstance(ast.parse(source(cell)).body[-1], ast.Expr)
        assert kinds == (["execute_result"] if shows else []), source(cell)


@each
def test_it_ends_with_findings(notebook):
    found = [MIME in output.get("data", {}) for cell in code(notebook) for output in cell["outputs"]]
    assert any(found)


@each
def test_nothing_of_the_day_is_stored(notebook):
    document = json.loads(notebook.path.read_text())
    assert set(document["metadata"]) == {"kernelspec", "language_info"}
    assert document["metadata"]["language_info"] == {"name": "python"}
    for cell in document["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        assert re.fullmatch(rf"{notebook.name[:2]}-\d\d", cell["id"])
