"""Runs of live arms: held once, served, recorded, put back; interrupted, gone on with, promoted."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from labkit import promotion
from labkit.chain import Terms
from labkit.errors import ParameterError, ParityError, SourceError
from labkit.exec.recording import Recording
from labkit.notebooks import Run, discover, resume, run, select
from labkit.report import build
from labkit.report.evidence import Library
from labkit.source import connect
from tests.live_arms import Opens, Talks
from tests.test_notebooks import Seen

HERE = Path(__file__).parent / "notebooks"
BOOKS = discover(HERE)
ARMS = {"one": "netns:vxlan", "two": "netns:routed"}


def opens(**options):
    return Opens(netns_vxlan=Talks("overlay-vxlan", **options), netns_routed=Talks("overlay-routed"))


@pytest.fixture(scope="module")
def opener():
    return opens()


@pytest.fixture(scope="module")
def seen():
    return Seen()


@pytest.fixture(scope="module")
def done(tmp_path_factory, opener, seen):
    chosen = select(BOOKS, ["shows", "finds"])
    out = tmp_path_factory.mktemp("live") / "run"
    made = run(chosen, seen, arms=ARMS, out=out, opener=opener)
    build(made)
    return made


def test_every_arm_is_held_once_and_closed_at_the_end(done, opener):
    assert done.status == "complete"
    assert len(opener.terms) == 2
    assert [talker.closed for talker in opener.talkers.values()] == [1, 1]
    assert opener.terms[0].recorded_at == opener.terms[1].recorded_at


@pytest.mark.usefixtures("done")
def test_notebooks_run_in_their_order_and_live_arms_tell_what_they_do(seen):
    assert seen.begun == ["shows", "finds"]
    assert ("one", "step baseline") in seen.doings
    assert ("two", "putting back what was changed") in seen.doings


def test_nothing_is_asked_twice_and_all_that_was_asked_is_recorded(done, opener):
    for arm, talker in zip(ARMS, opener.talkers.values(), strict=True):
        assert len(talker.asked) == len(set(talker.asked))
        recording = Recording.open(done.recording(arm))
        assert {request.key for request in recording.requests()} == set(talker.asked)
        assert recording.verify() == []
        assert done.about["arms"][arm]["replies"] == len(recording)
        assert len(done.about["arms"][arm]["replies_sha256"]) == 64


def test_notebooks_and_findings_name_the_source_that_was_given(done):
    for name in ("shows", "finds"):
        text = done.executed(name).read_text()
        assert "netns:vxlan" in text
        assert "labkit-arms-" not in text
        assert "socket" not in text
    assert {finding.source for finding in done.findings()} == set(ARMS.values())


def test_the_report_says_live_and_leads_to_the_replies(done):
    page = (done.path / "report" / "index.html").read_text()
    assert "nothing was measured in this run" not in page
    assert page.count("measured in this run on a running cluster") >= 2
    finding = next(f for f in done.findings() if f.evidence)
    recordings = {arm: done.recording(arm) for arm in done.live}
    found = Library(recordings).evidence(finding)
    assert found[0].reply is not None
    assert "is not in this run" in Library().evidence(finding)[0].problem
    assert found[0].id in (done.path / "report" / "claims" / f"{finding.claim}.html").read_text()


def test_a_recording_replays_to_the_same_and_is_promoted(done, tmp_path):
    paths = {arm: done.recording(arm) for arm in done.live}
    chosen = promotion.Promotion(paths, {"one": "first"})
    assert promotion.problems(paths["one"]) == []
    assert chosen.differences(done.findings()) == ([], len(done.findings()))
    (tmp_path / "recordings.sha256").write_text("")
    (made,) = chosen.to(tmp_path / "recordings")
    assert Recording.open(made).about["name"] == "first"
    assert connect(f"replay:{made}").origin == "live"
    sums = (tmp_path / "recordings.sha256").read_text().splitlines()
    assert {line.split("  ")[1] for line in sums} >= {
        "recordings/first/replies.jsonl",
        "recordings/first/recording.json",
    }
    with pytest.raises(ParameterError, match="never overwritten"):
        chosen.to(tmp_path / "recordings")


def test_what_a_replay_tells_otherwise_is_shown(done, tmp_path):
    findings = done.findings()
    changed = [type(f).from_json({**f.to_json(), "reason": "because"}) for f in findings[:1]] + findings[1:]
    paths = {arm: done.recording(arm) for arm in done.live}
    differences, compared = promotion.Promotion(paths, {"one": "x"}).differences(changed)
    assert compared == len(findings)
    assert [(d.part, d.live) for d in differences] == [("reason", "because")]
    assert list(tmp_path.iterdir()) == []


def test_a_recording_with_a_secret_or_of_a_run_that_goes_on_is_not_promoted(done, tmp_path):
    for name in ("secret", "open"):
        shutil.copytree(done.recording("one"), tmp_path / name)
    lines = (tmp_path / "secret" / "replies.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    lines[0] = json.dumps({**first, "stdout": "Authorization: Bearer planted0123456789"})
    (tmp_path / "secret" / "replies.jsonl").write_text("\n".join(lines) + "\n")
    assert "holds what must not be written" in promotion.problems(tmp_path / "secret")[0]
    about = json.loads((tmp_path / "open" / "recording.json").read_text())
    (tmp_path / "open" / "recording.json").write_text(json.dumps({**about, "ended_at": None}))
    assert "not ended" in promotion.problems(tmp_path / "open")[0]


def test_arms_that_differ_are_not_measured_and_what_was_asked_is_kept(tmp_path):
    opener = Opens(netns_vxlan=Talks("overlay-vxlan"), netns_routed=Talks("cilium"))
    with pytest.raises(ParityError) as error:
        run(select(BOOKS, ["finds"]), Seen(), arms=ARMS, out=tmp_path / "run", opener=opener)
    assert "--resume" in error.value.__notes__[0]
    assert Run.open(tmp_path / "run").status == "failed"
    assert [talker.closed for talker in opener.talkers.values()] == [1, 1]
    made = resume(tmp_path / "run", BOOKS, Seen(), allow=error.value.fields, opener=(again := opener.anew()))
    assert made.status == "complete"
    assert again.talkers["netns:vxlan"].asked
    assert not set(again.talkers["netns:vxlan"].asked) & set(opener.talkers["netns:vxlan"].asked)


def test_an_arm_that_does_not_answer_is_a_gap_of_its_own(tmp_path):
    opener = opens(refuses=["/api/v1/pods"])
    chosen = select(BOOKS, ["finds", "shows"])
    made = run(
        chosen,
        Seen(),
        arms={"one": "netns:vxlan", "two": "replay:cilium"},
        out=tmp_path / "run",
        opener=opener,
    )
    assert {n["name"]: n["status"] for n in made.about["notebooks"]} == {"finds": "ok", "shows": "ok"}
    assert made.status == "partial"
    assert {one["arm"] for one in made.unanswered()} == {"one"}
    mine = [f for f in made.findings() if f.arm == "one" and f.reason.startswith("not answered: ")]
    assert mine
    assert all("the server is busy" in f.reason for f in mine)
    assert [f for f in made.findings() if f.arm == "two" and f.verdict == "supported"]
    chosen = promotion.Promotion({"one": made.recording("one")}, {"one": "x"}, {"two": "replay:cilium"})
    assert chosen.differences(made.findings()) == ([], len(made.findings()))
    build(made)
    assert "A live arm did not answer everything" in (made.path / "report" / "index.html").read_text()
    later = resume(made.path, BOOKS, Seen(), opener=opens())
    assert later.status == "complete"
    assert later.unanswered() == []


class Refuses(Opens):
    """The second arm cannot be had."""

    def __call__(self, source, *rest):
        if source == "netns:routed":
            raise SourceError("netns:routed needs what this machine does not have")
        return super().__call__(source, *rest)


def test_an_arm_that_cannot_be_had_leaves_no_run_and_closes_the_others(tmp_path):
    opener = Refuses(netns_vxlan=Talks("overlay-vxlan"))
    with pytest.raises(SourceError, match="does not have"):
        run(select(BOOKS, ["finds"]), Seen(), arms=ARMS, out=tmp_path / "run", opener=opener)
    assert not (tmp_path / "run").exists()
    assert opener.talkers["netns:vxlan"].closed == 1
    assert opener.talkers["netns:vxlan"].asked == []  # nothing was set up on it for nothing


def test_live_arms_run_one_notebook_at_a_time(tmp_path):
    with pytest.raises(ParameterError, match="--jobs is for replays"):
        run(select(BOOKS, ["finds"]), Seen(), arms=ARMS, jobs=2, out=tmp_path / "run", opener=opens())
    with pytest.raises(ParameterError, match="no plan 'long'"):
        Terms(plan="long")


def test_what_cannot_be_gone_on_with_is_said(done, tmp_path):
    with pytest.raises(ParameterError, match="is complete"):
        resume(done.path, BOOKS, Seen())
    replayed = run(select(BOOKS, ["raises"]), Seen(), out=tmp_path / "run")
    with pytest.raises(ParameterError, match="has no live arm"):
        resume(replayed.path, BOOKS, Seen())


class Renamed(Talks):
    """Its pods have other names now: the workload was set up anew."""

    def run(self, request):
        reply = super().run(request)
        return replace(reply, output=reply.stdout.replace(b"app-frontend-", b"app-frontend-new-"))


def test_a_recording_of_other_pods_is_not_gone_on_with(tmp_path):
    arms = {"one": "netns:vxlan"}
    opener = Opens(netns_vxlan=Talks("overlay-vxlan"))
    made = run(select(BOOKS, ["shows"]), Seen(), arms=arms, out=tmp_path / "run", opener=opener)
    made.about["status"] = "running"
    made.save()
    before = (made.recording("one") / "replies.jsonl").read_text()
    with pytest.raises(SourceError, match="set up anew since"):
        resume(made.path, BOOKS, Seen(), opener=Opens(netns_vxlan=Renamed("overlay-vxlan")))
    assert (made.recording("one") / "replies.jsonl").read_text().startswith(before)
    assert Run.open(made.path).status == "partial"


RUNS = """
import sys
from pathlib import Path
from labkit.notebooks import discover, run, select
from tests.live_arms import Opens, Talks
from tests.test_notebooks import Seen
import signal

signal.signal(signal.SIGTERM, signal.default_int_handler)
class Tells(Talks):
    def close(self):
        super().close()
        Path(sys.argv[1] + ".closed").write_text("put back")
books = select(discover(Path("tests/notebooks")), ["finds", "sleeps"])
made = run(books, Seen(), arms={"one": "netns:vxlan"}, out=Path(sys.argv[1]), opener=Opens(netns_vxlan=Tells("overlay-vxlan")))
print(made.status)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_is_put_back_and_gone_on_with(tmp_path, number):
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", RUNS, str(out)], stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (out / "pid").is_file() or not (out / "pid").read_text():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    left = Run.open(out)
    stands = {n["name"]: n["status"] for n in left.about["notebooks"]}
    if number == signal.SIGKILL:
        assert left.status == "running"
        assert stands == {"finds": "ok", "sleeps": "running"}
        assert not Path(f"{out}.closed").exists()
    else:
        assert said.strip() == left.status == "partial"
        assert stands == {"finds": "ok", "sleeps": "interrupted"}
        assert Path(f"{out}.closed").read_text() == "put back"
    recorded = len(Recording.open(left.recording("one")))
    assert recorded > 0
    left.about["notebooks"] = [n for n in left.about["notebooks"] if n["name"] == "finds"]
    left.save()
    opener = Opens(netns_vxlan=Talks("overlay-vxlan"))
    made = resume(out, BOOKS, Seen(), opener=opener)
    assert made.status == "complete"
    assert [words for words in opener.talkers["netns:vxlan"].asked if "pods" not in words] == []
    assert Recording.open(made.recording("one")).verify() == []
