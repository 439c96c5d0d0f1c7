"""All of a report as files: an index, a page a notebook and a page a claim, and one style sheet."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import ReportError
from labkit.findings import MARKS
from labkit.report.evidence import SHOWN, Library
from labkit.report.ledger import VERDICTS, Arm, ClaimRow, arms_of, by_topic, decided
from labkit.report.pages import Page, Pages
from labkit.report.words import FILTERS, coded, warned

if TYPE_CHECKING:
    from jinja2 import Environment

    from labkit.findings import Finding
    from labkit.notebooks import Run

__all__ = ["build"]

HERE = Path(__file__).parent


def build(run: Run) -> Path:
    """Write `report/` of a run anew, and return its index.html. Raises ReportError where it cannot."""
    folder = run.path / "report"
    try:
        if folder.exists():
            shutil.rmtree(folder)
        for part in ("notebooks", "claims"):
            (folder / part).mkdir(parents=True)
        return Report(run, folder).write()
    except OSError as error:
        raise ReportError(f"cannot write {folder}: {error}") from None


class Report:
    """One rendering of a run."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.findings = run.findings()
        self.arms: list[Arm] = arms_of(run.about, self.findings)
        self.topics = by_topic(self.findings, run.about["arms"])
        self.claims = {row.id: row for rows in self.topics.values() for row in rows}
        self.templates = _templates()
        self.templates.globals |= {
            "run": run,
            "arms": self.arms,
            "claims": self.claims,
            "replayed": bool(self.arms) and not self.run.live,
            "unanswered": self.run.unanswered(),
            "verdicts": VERDICTS,
            "marks": MARKS,
            "colours": {arm.name: arm.colour for arm in self.arms},
        }

    def write(self) -> Path:
        """Every file of the report."""
        shutil.copyfile(HERE / "style.css", self.folder / "style.css")
        pages = self._notebooks()
        self._claims(pages)
        notebooks = [entry | {"page": pages.get(entry["name"])} for entry in self.run.about["notebooks"]]
        return self._page(
            "index.html",
            "index.html",
            root="",
            notebooks=notebooks,
            topics=self.topics,
            decisions=[decided(d, self.run.about["arms"]) for d in self.run.decisions()],
            figures=_files(self.run.path / "figures", ".svg", (".svg", ".png")),
            tables=_files(self.run.path / "tables", ".csv", (".csv", ".parquet")),
        )

    def _notebooks(self) -> dict[str, Page]:
        """A page for each notebook that was run, at least in part."""
        ran = [entry for entry in self.run.about["notebooks"] if self.run.executed(entry["name"]).is_file()]
        if not ran:
            return {}
        make = Pages(self._ledger_part, self._decisions_part)
        pages = {entry["name"]: make.page(self.run.executed(entry["name"])) for entry in ran}
        for i, entry in enumerate(ran):
            near = {"before": ran[i - 1] if i else None, "after": ran[i + 1] if i + 1 < len(ran) else None}
            name = f"notebooks/{entry['name']}.html"
            self._page("notebook.html", name, root="../", entry=entry, page=pages[entry["name"]], **near)
        return pages

    def _claims(self, pages: dict[str, Page]) -> None:
        """A page for each claim: its findings, each with the replies it rests on."""
        library = Library({arm: path for arm in self.run.live if (path := self.run.recording(arm))})
        titles = {entry["name"]: entry["title"] for entry in self.run.about["notebooks"]}
        for row in self.claims.values():
            shown_in = {name: titles[name] for name, page in pages.items() if row.id in page.claims}
            found = [(finding, library.evidence(finding)) for finding in row.all]
            self._page(
                "claim.html",
                f"claims/{row.page}",
                root="../",
                row=row,
                found=found,
                shown_in=shown_in,
                most=SHOWN,
            )

    def _ledger_part(self, findings: list[Finding]) -> str:
        topics: dict[str, list[ClaimRow]] = by_topic(findings, self.run.about["arms"])
        return self._part("ledger", topics=topics)

    def _decisions_part(self, decisions: list[dict[str, Any]]) -> str:
        return self._part("decisions", decisions=[decided(d, self.run.about["arms"]) for d in decisions])

    def _part(self, macro: str, **values: object) -> str:
        parts: Any = self.templates.get_template("parts.html").make_module({"root": "../"})
        return str(getattr(parts, macro)(**values, root="../"))

    def _page(self, template: str, name: str, **values: object) -> Path:
        target = self.folder / name
        target.write_text(self.templates.get_template(template).render(values), encoding="utf-8")
        return target


def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415
    from markupsafe import Markup  # noqa: PLC0415

    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    safe = {"coded": coded, "warned": warned}  # both escape what they are given
    made.filters |= FILTERS | {name: lambda text, f=f: Markup(f(text)) for name, f in safe.items()}  # noqa: S704
    return made


def _files(folder: Path, main: str, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """The files of a run by name: the main one of each, with all kinds of it and their sizes."""
    names = sorted(file.stem for file in folder.glob(f"*{main}"))
    return [
        {
            "name": name,
            "main": f"{folder.name}/{name}{main}",
            "kinds": [
                (kind.lstrip("."), f"{folder.name}/{name}{kind}", (folder / f"{name}{kind}").stat().st_size)
                for kind in kinds
                if (folder / f"{name}{kind}").is_file()
            ],
        }
        for name in names
    ]
