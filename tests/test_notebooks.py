"""Finding, choosing and running notebooks; the tiny ones in tests/notebooks are named after what they do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.analysis.parity import require
from labkit.errors import ParameterError, ParityError, RecordingError, ReportError, SourceError
from labkit.notebooks import Run, discover, find_folder, refresh, run, select
from labkit.notebooks.book import Notebook, given
from labkit.notebooks.execute import Job, execute
from labkit.notebooks.gate import alike, hold
from labkit.notebooks.kernels import Kernels
from tests.conftest import arm

HERE = Path(__file__).parent / "notebooks"
TINY = {n.name: n for n in discover(HERE)}


class Seen:
    """Remembers what it was told."""

    def __init__(self):
        self.begun, self.outcomes, self.doings = [], [], []

    def started(self, notebook):
        self.begun.append(notebook)

    def ended(self, outcome):
        self.outcomes.append(outcome)

    def told(self, arm, doing):
        self.doings.append((arm, doing))


@pytest.fixture(scope="module")
def seen():
    return Seen()


@pytest.fixture(scope="module")
def done(tmp_path_factory, seen):
    """One run of all of them but the one that never ends."""
    chosen = [n for name, n in TINY.items() if name != "sleeps"]
    settings = {
        "name": "b",
        "count": "2",
        "share": "1",
        "deep": "true",
        "sizes": "[2, 3]",
        "labels": "{'x': 1}",
    }
    return run(chosen, seen, settings=settings, out=tmp_path_factory.mktemp("runs") / "all")


def output(path, cell=-1):
    """The outputs of a code cell of an executed notebook."""
    cells = json.loads(path.read_text())["cells"]
    return [c for c in cells if c["cell_type"] == "code"][cell]["outputs"]


def test_notebooks_are_found_in_order():
    assert list(TINY) == ["dies", "finds", "no_parameters", "raises", "shows", "sleeps", "typed"]
    with pytest.raises(ParameterError, match="no notebooks in"):
        discover(HERE.parent)
    assert find_folder().name == "notebooks"


def with_arms(folder, name, arms):
    """A copy of a tiny notebook that starts with other arms."""
    book = json.loads((HERE / "shows.ipynb").read_text())
    cell = next(c for c in book["cells"] if "parameters" in c["metadata"].get("tags", []))
    lines = [line for line in "".join(cell["source"]).splitlines() if not line.startswith("arms")]
    cell["source"] = "\n".join([f"arms: dict = {arms}  # arms", *lines])
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps(book))
    return Notebook(path)


def test_each_notebook_runs_on_its_own_arms_where_none_are_named(tmp_path):
    one = with_arms(tmp_path, "one", {"a": "replay:cilium"})
    two = with_arms(tmp_path, "two", {"b": "replay:overlay-routed"})
    made = run([one, two], Seen(), out=tmp_path / "run")
    assert set(made.about["arms"]) == {"a", "b"}
    injected = {
        n: json.loads(made.executed(n).read_text())["metadata"]["papermill"]["parameters"]
        for n in ("one", "two")
    }
    assert injected["one"]["arms"] == {"a": "replay:cilium"}
    assert injected["two"]["arms"] == {"b": "replay:overlay-routed"}
    clash = with_arms(tmp_path, "three", {"a": "replay:overlay-vxlan"})
    with pytest.raises(
        ParameterError, match="three starts with a=replay:overlay-vxlan, another with a=replay:cilium"
    ):
        run([one, clash], Seen(), out=tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("wanted", ["raises", "raises.ipynb", "ra", str(HERE / "raises.ipynb")])
def test_a_notebook_is_chosen_by_name_beginning_or_path(wanted):
    assert [n.name for n in select(list(TINY.values()), [wanted])] == ["raises"]


def test_no_choice_is_all_and_twice_is_once():
    found = list(TINY.values())
    assert select(found, []) == found
    assert len(select(found, ["raises", "raises"])) == 1


def test_an_unknown_notebook_is_named_beside_those_there_are():
    with pytest.raises(ParameterError, match="'nothing' is no notebook; there are: dies, finds"):
        select(list(TINY.values()), ["nothing"])
    with pytest.raises(ParameterError, match="'s' is more than one notebook; there are: shows, sleeps"):
        select(list(TINY.values()), ["s"])


def test_a_file_that_is_no_notebook(tmp_path):
    (tmp_path / "x.ipynb").write_text("{")
    with pytest.raises(ParameterError, match=r"x.ipynb is no notebook"):
        _ = Notebook(tmp_path / "x.ipynb").title


def test_what_a_notebook_says_of_itself():
    assert TINY["shows"].title == "A table and a figure"
    assert {"labkit.collect.kubernetes", "labkit.figures.style"} <= set(TINY["shows"].modules)
    assert TINY["typed"].parameters["count"] == {
        "name": "count", "inferred_type_name": "int", "default": "1", "help": "how many",
    }  # fmt: skip
    assert TINY["no_parameters"].parameters == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("count", "many"),
        ("count", "1.5"),
        ("count", "true"),
        ("share", "half"),
        ("deep", "2"),
        ("sizes", "{}"),
        ("labels", "["),
    ],
)
def test_a_setting_of_the_wrong_type(name, text):
    with pytest.raises(ParameterError, match=f"parameter '{name}' is declared .*; '.*' is none"):
        given([TINY["typed"]], {name: text})


def test_an_unknown_setting_is_named_beside_those_there_are():
    with pytest.raises(ParameterError, match="parameter 'colour'; there are: count, deep, labels, name"):
        given(list(TINY.values()), {"colour": "red"})
    with pytest.raises(ParameterError, match="there are: none"):
        given([TINY["no_parameters"]], {"colour": "red"})
    with pytest.raises(ParameterError, match="'arms' is set with --arm"):
        given([TINY["shows"]], {"arms": "{}"})


def test_settings_reach_the_notebook_with_their_types(done):
    assert output(done.executed("typed"))[0]["data"]["text/plain"] == [
        "('b', 2, 1.0, True, [2, 3], {'x': 1})"
    ]


@pytest.mark.usefixtures("done")
def test_every_notebook_is_watched_to_its_end(seen):
    names = sorted(TINY.keys() - {"sleeps"})
    assert sorted(seen.begun) == names
    assert sorted(o.notebook for o in seen.outcomes) == names


def test_a_failure_names_notebook_and_cell_and_stops_no_other(done, seen):
    assert done.status == "failed"
    assert {n["name"]: n["status"] for n in done.about["notebooks"]} == {
        "dies": "failed", "finds": "ok", "no_parameters": "ok", "raises": "failed", "shows": "ok", "typed": "ok",
    }  # fmt: skip
    errors = {o.notebook: o.error for o in seen.outcomes if o.error}
    assert str(errors["raises"]).startswith("raises, cell 5: ParseError: cannot read the output of")
    assert str(errors["dies"]).startswith("dies, cell 5: the kernel died")


def test_what_ran_before_a_failure_is_kept(done):
    assert output(done.executed("raises"), 3)[0]["data"]["text/plain"] == [str(len(str(done.path)))]
    assert output(done.executed("raises"), 4)[0]["ename"] == "ParseError"
    assert output(done.executed("raises"), 5) == []
    assert output(done.executed("dies"), 3)


def test_a_run_leaves_tables_figures_and_findings(done):
    left = {p.relative_to(done.path).as_posix() for p in done.path.rglob("*.*")}
    assert {
        "run.json", "findings.json", "decisions.json", "notebooks/shows.ipynb", "tables/shows_pods.parquet",
        "tables/shows_pods.csv", "figures/shows_line.svg", "figures/shows_line.png",
    } <= left  # fmt: skip
    found = done.findings()
    assert {(f.claim, f.arm) for f in found} >= {("azure-cni-pods", "overlay"), ("azure-cni-pods", "cilium")}
    assert done.decisions()[0]["winner"] == "unknown"


def test_a_finding_is_kept_once(tmp_path):
    twice = tmp_path / "finds_again.ipynb"
    shutil.copy(HERE / "finds.ipynb", twice)
    made = run([TINY["finds"], Notebook(twice)], Seen(), arms={"only": "replay:cilium"}, out=tmp_path / "run")
    keys = [(f.claim, f.arm, f.versus) for f in made.findings()]
    assert keys
    assert len(keys) == len(set(keys))
    assert {arm for _, arm, _ in keys} == {"only"}


def test_run_json_pins_the_arms_down(done):
    read = Run.open(done.path)
    assert read.about == done.about
    told = read.about["arms"]["cilium"]
    assert told["source"] == "replay:cilium"
    assert told["origin"] == "live"
    assert "Not AKS" in told["note"]
    assert len(told["replies_sha256"]) == 64
    assert read.about["parameters"]["count"] == "2"
    assert read.about["ended_at"] > read.about["started_at"]


def test_a_forked_kernel_shows_what_an_ordinary_one_shows(done, tmp_path):
    target = tmp_path / "shows.ipynb"
    arms = {arm: about["source"] for arm, about in done.about["arms"].items()}
    with Kernels((), nursery=False) as kernels:
        outcome = execute(Job(TINY["shows"], target, {"arms": arms, "out": str(tmp_path)}), kernels)
    assert outcome.status == "ok"
    for cell in (-1, -2):
        assert output(target, cell) == output(done.executed("shows"), cell)


@pytest.mark.parametrize(
    ("arms", "error", "message"),
    [
        ({"a": "replay:nowhere"}, SourceError, "no recording 'nowhere'; there are: cilium"),
        ({"a": "cloud:x"}, SourceError, "unknown source 'cloud:x'"),
    ],
)
def test_an_arm_that_cannot_be_had_leaves_no_run(arms, error, message, tmp_path):
    with pytest.raises(error, match=message):
        run([TINY["shows"]], Seen(), arms=arms, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_broken_recording_is_found_before_anything_runs(tmp_path):
    (tmp_path / "recording.json").write_text('{"format": 1, "origin": "live"}')
    (tmp_path / "replies.jsonl").write_text('{"id": "r0')
    seen = Seen()
    with pytest.raises(RecordingError, match=r"replies.jsonl, line 1: not JSON"):
        run([TINY["shows"]], seen, arms={"a": f"replay:{tmp_path}"}, out=tmp_path / "run")
    assert seen.begun == []


def test_a_run_never_writes_over_anything(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(ParameterError, match="is not empty; name a new folder"):
        run([TINY["typed"]], Seen(), out=tmp_path)
    with pytest.raises(ParameterError, match=r"cannot write to .*precious.txt"):
        run([TINY["typed"]], Seen(), out=tmp_path / "precious.txt" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_a_folder_that_is_no_run_or_a_damaged_one(tmp_path):
    with pytest.raises(ParameterError, match=r"is no run: it has no run\.json"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"arms": {}}')
    with pytest.raises(ReportError, match=r"run\.json cannot be read"):
        Run.open(tmp_path)


def test_refresh_stores_outputs_and_nothing_of_the_day(tmp_path):
    for name in ("shows", "raises"):
        shutil.copy(HERE / f"{name}.ipynb", tmp_path)
    before = {n.name: n.path.read_text() for n in discover(tmp_path)}
    outcomes = refresh(discover(tmp_path), Seen())
    assert {o.notebook: o.status for o in outcomes} == {"raises": "failed", "shows": "ok"}
    assert (tmp_path / "raises.ipynb").read_text() == before["raises"]
    stored = json.loads((tmp_path / "shows.ipynb").read_text())
    code = [c for c in stored["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == [1, 2, 3, 4, 5]
    assert "image/png" in code[-1]["outputs"][0]["data"]
    for cell in code:
        cell |= {"execution_count": None, "outputs": []}
    assert stored == json.loads(before["shows"])


def test_an_interrupt_ends_kernels_and_keeps_what_was_done(tmp_path):
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-c",
        "from labkit.cli import main; main()",
        "run",
        "sleeps",
        "--out",
        str(out),
        "--jobs",
        "1",
    ]
    process = subprocess.Popen(
        command, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not (out / "pid").is_file() or not (out / "pid").read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "1 interrupted" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((out / "pid").read_text()), 0)
    made = Run.open(out)
    assert made.status == "partial"
    assert made.executed("sleeps").is_file()
    assert (out / "report" / "index.html").is_file()


ARMS = {"overlay": arm("overlay-vxlan"), "cilium": arm("cilium")}


def test_arms_that_differ_in_what_must_be_equal_are_not_measured():
    with pytest.raises(ParityError, match="CoreDNS pods, measured at"):
        require(alike(ARMS, []))
    allowed = require(alike(ARMS, ["coredns-pods", "measured-at-utc"]))
    assert allowed.loc[allowed["allowed_by"] == "--allow", "fact"].tolist() == [
        "CoreDNS pods",
        "measured at (UTC)",
    ]


def test_a_recording_measures_nothing_so_nothing_holds_it():
    hold(ARMS, [])
    assert alike(ARMS, [])["status"].eq("blocking").sum() == 2
