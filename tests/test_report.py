"""The report of a run: whole, without a network, and true to where its numbers come from."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from labkit.errors import ParameterError, ReportError
from labkit.findings import Finding
from labkit.notebooks import Run, discover, run, select
from labkit.report import build
from labkit.report.evidence import LINES, Library, excerpt
from labkit.report.tables import dressed
from labkit.report.words import amount, coded, duration, label, size, slug, warned

HERE = Path(__file__).parent
VOID = {"meta", "link", "img", "input", "br", "hr", "wbr"}
STYLE = HERE.parent / "labkit" / "report" / "style.css"


class Quiet:
    """Watches nothing."""

    def started(self, notebook):
        pass

    def ended(self, outcome):
        pass

    def told(self, arm, doing):
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a notebook with findings and decisions, one with a table and a figure, and one that fails."""
    chosen = select(discover(HERE / "notebooks"), ["finds", "raises", "shows"])
    done = run(chosen, Quiet(), out=tmp_path_factory.mktemp("report") / "run")
    build(done)
    return done


@pytest.fixture(scope="module")
def pages(made):
    """Every page by its path in the report, parsed."""
    folder = made.path / "report"
    return {p.relative_to(folder).as_posix(): Page(p) for p in sorted(folder.rglob("*.html"))}


class Page(HTMLParser):
    """A page's text, tags and links. Fails on a tag that is closed twice or never."""

    def __init__(self, path):
        super().__init__()
        self.path, self.raw = path, path.read_text()
        self.tags, self.open, self.words = [], [], []
        self.feed(self.raw)
        assert self.open == [], f"{path}: never closed"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, f"{self.path}, line {self.getpos()[0]}: </{tag}>"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def ids(self):
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}


def test_there_is_a_page_for_each_notebook_and_claim(made, pages):
    claims = {f"claims/{f.claim}.html" for f in made.findings()}
    books = {f"notebooks/{n['name']}.html" for n in made.about["notebooks"]}
    assert set(pages) == {"index.html"} | claims | books


def test_every_page_says_where_its_numbers_come_from(pages):
    for page in pages.values():
        assert "These arms are recordings; nothing was measured in this run." in page.text
        assert page.text.count("Not AKS.") >= 2
        for source in ("replay:overlay-vxlan", "replay:cilium"):
            assert source in page.text


def test_every_link_leads_somewhere(pages):
    for page in pages.values():
        for link in [a["href"] for a in page.all("a") if "href" in a]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            assert target.is_file(), f"{page.path}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in Page(target).ids, f"{page.path}: {link}"


def test_nothing_is_fetched_from_a_network(pages):
    for page in pages.values():
        sources = [
            a.get("src") or a.get("href", "")
            for tag in ("img", "link", "script", "iframe")
            for a in page.all(tag)
        ]
        assert [s for s in sources if not s.startswith("data:") and urlsplit(s).scheme] == []
        assert page.all("script") == []
        assert "@import" not in page.raw
    assert "url(" not in STYLE.read_text()


def test_pages_can_be_read_by_anyone(pages):
    for page in pages.values():
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("h1")) == 1
        assert all(image.get("alt") for image in page.all("img"))
        assert "width=device-width" in page.raw
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1


def test_the_index_shows_summary_decisions_ledger_and_files(pages):
    index = pages["index.html"]
    assert index.ids >= {"summary", "decisions", "ledger", "notebooks", "figures", "tables", "azure-cni-pods"}
    assert "Which arm has an agent on every node? unknown" in index.text
    files = {a["href"] for a in index.all("a") if "download" in a}
    assert files >= {"../tables/shows_pods.csv", "../tables/shows_pods.parquet", "../figures/shows_line.svg"}


def test_a_verdict_is_marked_by_sign_and_word(pages):
    for verdict, mark in (("supported", "✔"), ("refuted", "✘"), ("inconclusive", "?")):
        assert f"{mark} {verdict}" in pages["index.html"].text


def test_a_failure_is_on_the_index_and_on_its_page(pages):
    for name in ("index.html", "notebooks/raises.html"):
        assert "ParseError: cannot read the output of" in pages[name].text
        assert "failed in cell 5" in pages[name].text
    assert "never reached" in pages["notebooks/raises.html"].text


def test_a_verdict_leads_to_the_bytes_it_rests_on(made, pages):
    finding = next(f for f in made.findings() if f.claim == "azure-cni-pods" and f.arm == "cilium")
    page = pages["claims/azure-cni-pods.html"]
    assert "cilium" in page.ids
    evidence = Library().evidence(finding)[0]
    for part in (finding.reason, evidence.id, "GET /api/v1/pods", "the API server", '{"kind":"PodList"'):
        assert part in page.text
    assert f"{evidence.reply.started_at:%Y-%m-%d %H:%M:%S} UTC" in page.text


def test_a_comparison_has_evidence_from_both_arms(made):
    finding = next(f for f in made.findings() if f.versus)
    found = Library().evidence(finding)
    assert {e.arm for e in found} == {finding.arm, finding.versus}
    assert all(e.reply for e in found)


def test_a_notebook_page_has_its_code_folded_and_its_figure_named(pages):
    page = pages["notebooks/shows.html"]
    assert all("open" not in details for details in page.all("details"))
    assert "parameters of this run" in page.text
    assert [i["alt"] for i in page.all("img")] == ["Figure: A line"]
    assert "Do both reach the page" in page.text
    assert [d for d in pages["notebooks/raises.html"].all("details") if "open" in d]


def test_verdicts_in_a_notebook_lead_to_their_claims(pages):
    links = {a.get("href") for a in pages["notebooks/finds.html"].all("a")}
    assert "../claims/azure-cni-pods.html#overlay" in links


def test_the_report_is_the_same_each_time(made, pages):
    build(Run.open(made.path))
    for name, page in pages.items():
        assert (made.path / "report" / name).read_text() == page.raw


def test_words_from_outside_cannot_become_markup(made, tmp_path):
    """A claim, a reason or a note that holds HTML is shown, not obeyed."""
    copy = tmp_path / "run"
    shutil.copytree(made.path, copy)
    evil = "<script>alert(1)</script>"
    findings = json.loads((copy / "findings.json").read_text())
    findings[0] |= {"text": evil, "reason": evil, "topic": evil, "numbers": {evil: evil}, "evidence": [evil]}
    (copy / "findings.json").write_text(json.dumps(findings))
    about = json.loads((copy / "run.json").read_text())
    about["arms"]["overlay"]["note"] = evil
    about["notebooks"][0]["title"] = evil
    (copy / "run.json").write_text(json.dumps(about))
    build(Run.open(copy))
    for path in (copy / "report").rglob("*.html"):
        assert evil not in path.read_text()
        Page(path)


def test_evidence_that_cannot_be_had_is_said_to_be_missing():
    finding = Finding.from_json(
        {"claim": "c", "text": "t", "topic": "x", "said": "s", "arm": "a", "versus": "b", "verdict": "refuted",
         "reason": "r", "numbers": {}, "evidence": ["r1", "versus:r1", "r99999"], "source": "replay:cilium",
         "versus_source": "replay:gone", "origin": "live"}
    )  # fmt: skip
    found = Library().evidence(finding)
    assert [(e.arm, e.reply is None) for e in found] == [("a", True), ("b", True), ("a", True)]
    assert found[0].problem == "the recording holds no such reply"
    assert found[1].problem.startswith("no recording 'gone'")


def test_a_report_of_what_is_no_run(tmp_path):
    with pytest.raises(ParameterError, match="is no run"):
        build(Run.open(tmp_path))


def test_a_run_whose_findings_are_damaged(made, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(made.path, copy)
    (copy / "findings.json").write_text("[{")
    with pytest.raises(ReportError, match=r"findings\.json cannot be read"):
        build(Run.open(copy))


def test_a_report_that_cannot_be_written(made, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(made.path, copy, ignore=shutil.ignore_patterns("report"))
    (copy / "report").write_text("a file is in the way")
    with pytest.raises(ReportError, match="cannot write"):
        build(Run.open(copy))


@pytest.mark.parametrize(
    ("data", "text", "note"),
    [
        (b"one\ntwo\n", "one\ntwo", ""),
        (b"", "", ""),
        (b"\xd4\xc3\xb2\xa1\0\0", "", "binary, 6 bytes, SHA-256 "),
        (b"a\n" * 100, "a\n" * (LINES - 1) + "a", "first 60 of 100 lines; 200 bytes in all"),
        (b"x" * 5000, "x" * 4096, "first 4,096 characters; 5,000 bytes in all"),
    ],
)
def test_an_excerpt_says_what_it_leaves_out(data, text, note):
    found = excerpt(data)
    assert found.text == text
    assert found.note.startswith(note)
    assert bool(found.note) == bool(note)


def test_numbers_are_told_with_their_unit():
    assert (label("connect_p50_us"), amount(1234.56, "connect_p50_us")) == ("connect p50", "1,235 µs")
    assert amount(9_412_000_000, "median_bps") == "9.412 Gbit/s"
    assert amount(0.25, "share") == "0.25"
    assert (amount(8472, "udp_port"), amount(8472, "packets")) == ("8472", "8,472")
    assert amount(12, "loss_pct") == "12 %"
    assert amount("better", "contrast") == "better"
    assert (duration(0.0123), duration(14.2)) == ("12.3 ms", "14.2 s")
    assert (size(999), size(64_000), size(5_200_000)) == ("999 bytes", "64 kB", "5 MB")


def test_text_becomes_safe_html():
    assert coded("`a<b>` & c") == "<code>a&lt;b&gt;</code> &amp; c"
    assert warned("A rig. Not AKS; near it.") == "A rig. <strong>Not AKS;</strong> near it."
    assert slug("a vs b/../c") == "a-vs-b-..-c"


def test_tables_have_numbers_at_the_right_and_gaps_dim():
    import pandas as pd  # noqa: PLC0415

    frame = pd.DataFrame(
        {"pod": ["a", "b"], "count": [1, 2000], "mtu": [1500, None], "what": ["x" * 50, None]}
    )
    html = dressed(frame.to_html())
    assert '<th class="n">count</th>' in html
    assert '<td class="n">2000</td>' in html
    assert '<td class="n na">NaN</td>' in html
    assert f'<td class="long">{"x" * 50}</td>' in html
    assert "<td>a</td>" in html
    assert "border=" not in html


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast(scheme):
    """WCAG AA, 4.5 to 1, for the words and the verdicts, in both colour schemes."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", blocks[0]))
    colour |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", blocks[1])) if scheme else {}
    pairs = [(ink, paper) for ink in ("ink", "soft", "link") for paper in ("paper", "wash")]
    pairs += [(verdict, f"{verdict}-wash") for verdict in ("good", "bad", "open")]
    for ink, paper in pairs:
        light, dark = sorted((luminance(colour[ink]), luminance(colour[paper])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {paper}"


def luminance(colour):
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
