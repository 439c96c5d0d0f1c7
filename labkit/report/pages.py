"""Executed notebooks as HTML: what they say, show and found, with their code folded away."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.decisions import MIME as DECISIONS
from labkit.findings import MIME, Finding
from labkit.report.tables import dressed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Page", "Pages"]

HERE = Path(__file__).parent
SECTION = re.compile(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)
MARKERS = "papermill-error-cell-tag"


@dataclass(frozen=True, slots=True)
class Page:
    """A notebook as HTML: its body without its title, and its sections as (anchor, heading)."""

    body: str
    sections: list[tuple[str, str]]
    question: str
    claims: list[str]


class Pages:
    """Turns notebooks into pages. `ledger` and `decisions` render those outputs with links to their evidence."""

    def __init__(
        self,
        ledger: Callable[[list[Finding]], str],
        decisions: Callable[[list[dict[str, Any]]], str],
    ) -> None:
        from jinja2 import DictLoader  # noqa: PLC0415
        from nbconvert import HTMLExporter, TemplateExporter  # noqa: PLC0415
        from nbconvert.filters import Highlight2HTML  # noqa: PLC0415

        own = DictLoader({"cells.html": (HERE / "cells.html").read_text(encoding="utf-8")})
        new: Any = HTMLExporter
        self._exporter = new(template_name="basic", template_file="cells.html", extra_loaders=[own])
        coloured: Any = Highlight2HTML
        self._exporter.register_filter(
            "highlight_code", coloured(pygments_lexer="ipython3", parent=self._exporter)
        )
        self._render: Any = TemplateExporter.from_notebook_node  # HTMLExporter's parses its own output again
        self._ledger, self._decisions = ledger, decisions

    def page(self, executed: Path) -> Page:
        """The page of an executed notebook (or of the part that was executed before it failed)."""
        import nbformat  # noqa: PLC0415

        notebook: Any = nbformat.read(executed, as_version=4)  # type: ignore[no-untyped-call]
        notebook.cells = [c for c in notebook.cells if MARKERS not in c.metadata.get("tags", [])]
        question = _take_head(notebook.cells)
        claims: list[str] = []
        shown = executed.stem
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                shown = _words(cell.source) or shown
            for output in cell.get("outputs", []):
                if "data" in output:
                    self._dress(output, shown, claims)
        body, _ = self._render(self._exporter, notebook)
        sections = [(anchor, html.unescape(text)) for anchor, text in SECTION.findall(body)]
        return Page(body, sections, question, claims)

    def _dress(self, output: Any, shown: str, claims: list[str]) -> None:  # noqa: ANN401
        """Tables without pandas' style, figures with a text instead of them, verdicts with their links."""
        data = output.data
        if MIME in data:
            findings = [Finding.from_json(entry) for entry in data[MIME]]
            claims += [finding.claim for finding in findings]
            data["text/html"] = self._ledger(findings)
        elif DECISIONS in data:
            data["text/html"] = self._decisions(data[DECISIONS])
        elif "text/html" in data:
            data["text/html"] = dressed(data["text/html"])
        if "image/png" in data:
            output.metadata.setdefault("image/png", {})["alt"] = f"Figure: {shown}"


def _words(markdown: str) -> str:
    """The last sentence or heading of a markdown cell, as plain text."""
    lines = [line.strip("#>*- `") for line in markdown.splitlines() if line.strip()]
    return re.sub(r"[`*_]", "", lines[-1])[:160] if lines else ""


def _take_head(cells: list[Any]) -> str:
    """Take the title and the paragraph under it, the question, out of the first cell; the page shows them."""
    if not cells or cells[0].cell_type != "markdown":
        return ""
    lines = [line for line in cells[0].source.splitlines() if not line.startswith("# ")]
    question, _, rest = "\n".join(lines).strip().partition("\n\n")
    cells[0].source = rest
    return question.replace("\n", " ")
