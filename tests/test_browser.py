"""The main job as a user gets it: all notebooks run, and the report opened in a browser with no network."""

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from labkit.cli.app import app

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
]  # fmt: skip
#: Hosts that the browser asks for itself, whatever page is open.
ITS_OWN = re.compile(r"https?://([a-z0-9.-]+\.)?(google|googleapis|gvt1)\.com/")


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        reason = "no chromium on this machine: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return CHROMIUM


@dataclass
class Visit:
    console: list[str]
    asked: set[str]
    screenshot: bytes


def visit(browser, page, folder):
    """What a page says on the console, what it asks of the network, and how it looks."""
    log, picture = folder / "net.json", folder / "page.png"
    command = [
        browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
        f"--screenshot={picture}", "--window-size=1280,1600", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text()))
    return Visit(console, {url for url in asked if not ITS_OWN.match(url)}, picture.read_bytes())


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A whole run on the default arms."""
    folder = tmp_path_factory.mktemp("run") / "default"
    done = CliRunner().invoke(app, ["run", "--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def pages(run):
    return sorted((run / "report").rglob("*.html"))


def test_the_run_leaves_what_was_promised(run):
    assert json.loads((run / "run.json").read_text())["status"] == "complete"
    there = Path(__file__).parent.parent.glob("notebooks/*.ipynb")
    assert {path.name for path in run.glob("notebooks/*.ipynb")} == {path.name for path in there}
    assert len(json.loads((run / "findings.json").read_text())) > 150
    tables = {path.stem for path in run.glob("tables/*.parquet")}
    figures = {path.stem for path in run.glob("figures/*.svg")}
    assert tables == {path.stem for path in run.glob("tables/*.csv")}
    assert figures == {path.stem for path in run.glob("figures/*.png")}
    assert len(tables) > 60
    assert len(figures) >= 20


def test_the_wire_decides_about_vxlan(run):
    findings = json.loads((run / "findings.json").read_text())
    verdicts = {f["arm"]: f["verdict"] for f in findings if f["claim"] == "vxlan-between-nodes"}
    assert verdicts == {"overlay": "supported", "cilium": "refuted"}


def test_every_page_says_where_the_answers_come_from(run):
    for page in pages(run):
        text = page.read_text()
        assert "Not AKS" in text, page
        assert "replay:overlay-vxlan" in text, page


def test_no_page_refers_to_the_network(run):
    for page in [*pages(run), *(run / "report").rglob("*.css")]:
        loads = re.findall(
            r"""(?:\bsrc\s*=|<link[^>]*href\s*=|url\()\s*["']?((?:https?:)?//[^"')\s]+)""", page.read_text()
        )
        assert loads == [], page


def test_every_link_inside_the_report_leads_somewhere(run):
    for page in pages(run):
        text = page.read_text()
        ids = set(map(html.unescape, re.findall(r'\bid="([^"]+)"', text)))
        for target in map(html.unescape, re.findall(r'\bhref="([^"]+)"', text)):
            path, _, anchor = target.partition("#")
            if path.startswith(("http:", "https:", "mailto:", "data:")):
                continue
            if path:
                assert (page.parent / path).exists(), f"{page.name}: {target}"
            elif anchor:
                assert anchor in ids, f"{page.name}: {target}"


@pytest.mark.parametrize(
    "name", ["index.html", "notebooks/02_overlay_routing.html", "claims/vxlan-between-nodes.html"]
)
def test_a_page_opens_in_a_browser_without_complaint(run, browser, name, tmp_path):
    seen = visit(browser, run / "report" / name, tmp_path)
    assert seen.console == []
    assert seen.asked == set()
    assert len(seen.screenshot) > 50_000, "the page looks blank"


def test_the_browser_would_have_seen_a_bad_page(browser, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('no')</script><img src='http://127.0.0.1:47999/x.png'>")
    seen = visit(browser, page, tmp_path)
    assert any("no" in line for line in seen.console)
    assert seen.asked == {"http://127.0.0.1:47999/x.png"}
    assert len(seen.screenshot) < 50_000
