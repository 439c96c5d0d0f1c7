"""Bad recordings are refused with the thing and the remedy; good ones round-trip to the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from labkit.errors import (
    ApiError,
    ConnectionLost,
    MissingFeature,
    NoTarget,
    RecordingError,
    RecordingFormatError,
    ReplayMiss,
)
from labkit.exec import Apply, Exec, Read, Reply
from labkit.exec.format import write_header
from labkit.exec.recording import Recorder, Recording
from labkit.exec.redaction import Redaction
from labkit.exec.replay import Replay
from tests.conftest import RECORDINGS, arm

ABOUT = {"format": 1, "name": "small", "origin": "synthetic", "note": "made by a test", "namespace": "x"}
QUESTIONS = [
    Exec(step="s", target="node/a", argv=("ip", "route")),
    Exec(step="s", target="node/a", argv=("ip", "route"), sample=1),
    Read(step="s", path="/version"),
]


class Parrot:
    """Answers every request with what it was told to say."""

    def __init__(self, *says: bytes, origin: str = "synthetic") -> None:
        self.says, self.about = list(says), {**ABOUT, "origin": origin}

    def run(self, request):
        when = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
        return Reply("x", request, when, 0.25, 0, self.says.pop(0), b"a warning\n")

    def wait(self, seconds):
        """Nothing to wait for."""

    def close(self):
        """Nothing to close."""


@pytest.fixture
def small(tmp_path):
    """A recording with text, bytes that are no text, and text over 64 KiB."""
    recorder = Recorder(
        Parrot(b"default via 10.0.0.1\n", b"\xd4\xc3\xb2\xa1\x00", b"x" * 70_000), tmp_path / "small"
    )
    for question in QUESTIONS:
        recorder.run(question)
    recorder.close()
    return tmp_path / "small"


def lines(path):
    return [json.loads(line) for line in (path / "replies.jsonl").read_text().splitlines()]


def rewrite(path, rows):
    (path / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_was_written_is_read_again(small):
    replay = Replay(Recording.open(small))
    said = [replay.run(question).stdout for question in reversed(QUESTIONS)]
    assert said == [b"x" * 70_000, b"\xd4\xc3\xb2\xa1\x00", b"default via 10.0.0.1\n"]
    reply = replay.run(QUESTIONS[0])
    assert (reply.id, reply.exit_code, reply.duration_s, reply.stderr) == ("r00001", 0, 0.25, b"a warning\n")
    assert reply.started_at.microsecond == 678901
    assert Recording.open(small).verify() == []


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_real_recording_passes_through_a_recorder_unchanged(name, tmp_path):
    source = arm(name).executor.recording
    recorder = Recorder(Replay(source), tmp_path / "again")
    for request in source.requests():
        recorder.run(request)
    recorder.close()
    again = Recording.open(tmp_path / "again")
    assert len(again) == len(source)
    for request in source.requests():
        old, new = Redaction().reply(source.find(request)), again.find(request)
        assert (old.stdout, old.exit_code, old.started_at) == (new.stdout, new.exit_code, new.started_at)


@pytest.mark.parametrize("name", RECORDINGS)
def test_shipped_recordings_are_whole(name):
    assert arm(name).executor.recording.verify() == []


def test_a_request_that_was_answered_gets_the_same_answer_again(tmp_path):
    recorder = Recorder(Parrot(b"first", b"second"), tmp_path / "twice")
    with ThreadPoolExecutor(8) as pool:
        said = {reply.stdout for reply in pool.map(recorder.run, [QUESTIONS[0]] * 50)}
    assert said == {b"first"}
    recorder.close()
    assert len(Recording.open(tmp_path / "twice")) == 1


def test_a_cut_line_says_where_and_how_much_is_whole(small):
    text = (small / "replies.jsonl").read_text()
    (small / "replies.jsonl").write_text(text[:-40])
    with pytest.raises(RecordingError, match=r"line 3: not JSON.*2 replies before it are whole"):
        Recording.open(small)


def test_an_altered_blob_is_named(small):
    blob = next(small.glob("blobs/*"))
    blob.write_bytes(b"altered")
    recording = Recording.open(small)
    assert any(blob.name in problem and "altered" in problem for problem in recording.verify())


def test_a_missing_blob_fails_the_reply_that_needs_it_and_no_other(small):
    (small / "blobs" / "r00003.bin").unlink()
    replay = Replay(Recording.open(small))
    assert replay.run(QUESTIONS[0]).stdout == b"default via 10.0.0.1\n"
    with pytest.raises(RecordingError, match=r"r00003\.bin is missing"):
        replay.run(QUESTIONS[2])


def test_a_blob_outside_the_recording_is_refused(small):
    rows = lines(small)
    rows[1]["stdout_blob"] = "../secret"
    rewrite(small, rows)
    with pytest.raises(RecordingError, match="outside the recording"):
        Replay(Recording.open(small)).run(QUESTIONS[1])


def test_a_stray_blob_is_a_problem(small):
    (small / "blobs" / "r99999.bin").write_bytes(b"")
    assert any("no reply refers to it" in problem for problem in Recording.open(small).verify())


def test_a_newer_format_names_the_remedy(small):
    (small / "recording.json").write_text(json.dumps({**ABOUT, "format": 2}))
    with pytest.raises(RecordingFormatError, match="format 2; this labkit reads format 1"):
        Recording.open(small)


@pytest.mark.parametrize("header", ["{", json.dumps({"format": 1, "origin": "guesswork"}), None])
def test_a_bad_header_is_refused(small, header):
    file = small / "recording.json"
    if header is None:
        file.unlink()
    else:
        file.write_text(header)
    with pytest.raises(RecordingError, match=r"recording\.json"):
        Recording.open(small)


SPOILS = {
    "no exit code": lambda row: row.pop("exit_code"),
    "no argv": lambda row: row["request"].pop("argv"),
    "unknown kind": lambda row: row["request"].update(kind="guess"),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_reply_that_lacks_a_part_is_refused(small, spoil):
    rows = lines(small)
    SPOILS[spoil](rows[0])
    rewrite(small, rows)
    with pytest.raises(RecordingError):
        Recording.open(small)


def test_the_same_request_twice_is_refused(small):
    rows = lines(small)
    rewrite(small, [*rows, rows[0]])
    with pytest.raises(RecordingError, match="line 4: r00001 answers a request that was already answered"):
        Recording.open(small)


def test_a_recording_without_replies_is_refused(small):
    (small / "replies.jsonl").unlink()
    with pytest.raises(RecordingError, match=r"replies\.jsonl is missing"):
        Recording.open(small)


def test_a_recorder_never_writes_over_a_recording(small):
    with pytest.raises(RecordingError, match="record into another folder"):
        Recorder(Parrot(), small)


def test_a_miss_names_the_nearest_and_asks_nothing_else(cilium):
    with pytest.raises(ReplayMiss, match=r"'ip -j link' on node/cilium-node-0") as miss:
        cilium.run("node/cilium-node-0", ["ip", "-j", "link"])
    assert "ip -j link show on node/cilium-node-0" in str(miss.value)
    assert miss.value.request.words == "ip -j link"


def test_step_and_sample_are_part_of_the_question(cilium):
    with pytest.raises(ReplayMiss):
        cilium.at("capture").run("node/cilium-node-0", ["nproc"])
    with pytest.raises(ReplayMiss):
        cilium.run("node/cilium-node-0", ["nproc"], sample=1)


def test_a_recording_is_copied_and_found_by_path(tmp_path):
    copy = tmp_path / "mine"
    shutil.copytree(arm("overlay-routed").executor.recording.path, copy)
    assert len(Recording.open(copy)) == len(arm("overlay-routed").executor.recording)


def test_a_recording_says_that_it_is_written_until_it_is_ended(tmp_path):
    recorder = Recorder(Parrot(b"one"), tmp_path / "now", about={"plan": "quick"})
    recorder.run(QUESTIONS[0])
    during = Recording.open(tmp_path / "now")
    assert (len(during), during.about["plan"], during.about["ended_at"]) == (1, "quick", None)
    assert "not ended" in during.verify()[0]
    recorder.close()
    recorder.close()
    assert Recording.open(tmp_path / "now").verify() == []
    with pytest.raises(ConnectionLost, match="its run has ended"):
        recorder.run(QUESTIONS[1])


def killed(path, says):
    """What is left of a recording whose writer was killed after it had written this much."""
    recorder = Recorder(Parrot(*says), path)
    for question in QUESTIONS[: len(says)]:
        recorder.run(question)
    recorder.close()
    write_header(path, {**Recording.open(path).about, "ended_at": None})


def test_whatever_is_cut_of_the_last_line_the_rest_is_readable_and_goes_on(tmp_path):
    killed(tmp_path / "whole", [b"one", b"\xff\x00", b"three"])
    text = (tmp_path / "whole" / "replies.jsonl").read_bytes()
    last = text.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(text), 7):
        path = tmp_path / f"cut-{cut}"
        shutil.copytree(tmp_path / "whole", path)
        (path / "replies.jsonl").write_bytes(text[:cut])
        assert [Recording.open(path).find(q).stdout for q in QUESTIONS[:2]] == [b"one", b"\xff\x00"]
        recorder = Recorder.open(Parrot(b"again"), path)
        assert recorder.find(QUESTIONS[0]).stdout == b"one"
        assert [recorder.run(q).stdout for q in QUESTIONS] == [b"one", b"\xff\x00", b"again"]
        recorder.close()
        ended = Recording.open(path)
        assert ended.verify() == []
        assert ended.about["resumed"][0]["bytes_cut"] == cut - last
        assert [ended.find(q).id for q in QUESTIONS] == ["r00001", "r00002", "r00003"]


@pytest.mark.parametrize(
    "left", [["blobs/"], ["blobs/", "replies.jsonl"], ["blobs/", "replies.jsonl", "recording.json.new"]]
)
def test_one_whose_writer_was_killed_before_its_header_is_begun_again(tmp_path, left):
    for name in left:
        path = tmp_path / "x" / name
        path.mkdir(parents=True) if name.endswith("/") else path.write_text("")
    recorder = Recorder(Parrot(b"one"), tmp_path / "x")
    recorder.run(QUESTIONS[0])
    recorder.close()
    assert Recording.open(tmp_path / "x").verify() == []


def test_a_blob_whose_line_was_never_written_is_removed_when_it_goes_on(tmp_path):
    killed(tmp_path / "x", [b"one"])
    (tmp_path / "x" / "blobs" / "r00002.bin").write_bytes(b"of nobody")
    recorder = Recorder.open(Parrot(b"two"), tmp_path / "x")
    recorder.run(QUESTIONS[1])
    recorder.close()
    assert Recording.open(tmp_path / "x").verify() == []


WRITER = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from labkit.exec import Exec, Reply
from labkit.exec.recording import Recorder

class Endless:
    about = {"format": 1, "name": "endless", "origin": "netns", "note": "", "namespace": "x"}
    def run(self, request):
        n = request.sample
        said = bytes([255]) * 300_000 if n % 3 == 0 else b"x" * 200_000 if n % 3 == 1 else b"line %d" % n
        return Reply("", request, datetime.now(UTC), 0.0, 0, said)
    def close(self): ...

path = Path(sys.argv[1])
recorder = (Recorder.open if path.exists() else Recorder)(Endless(), path)
held = (path / "replies.jsonl").read_bytes().count(10)
for n in range(held, 1_000_000):
    recorder.run(Exec(step="s", target="node/a", argv=("true",), sample=n))
    if n == held:
        print("writes", flush=True)
"""


def test_what_a_killed_writer_wrote_is_whole_each_time(tmp_path):
    """Killed with no warning, again and again, at moments that nobody chose; each goes on where the last was."""
    before = 0
    for turn in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "endless")], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout.readline() == b"writes\n"
            time.sleep(0.01 + 0.037 * turn)
            os.kill(writer.pid, signal.SIGKILL)
        recording = Recording.open(tmp_path / "endless")
        assert len(recording) > before
        assert [p for p in recording.verify() if "not ended" not in p and "no reply refers" not in p] == []
        assert [r.sample for r in recording.requests()] == list(range(len(recording)))
        before = len(recording)
    Recorder.open(Parrot(origin="netns"), tmp_path / "endless").close()
    assert Recording.open(tmp_path / "endless").verify() == []


def test_one_from_elsewhere_is_not_gone_on_with(tmp_path):
    killed(tmp_path / "x", [b"one"])
    with pytest.raises(RecordingError, match="came from synthetic, this arm is live"):
        Recorder.open(Parrot(origin="live"), tmp_path / "x")


def test_a_change_is_made_each_time_and_recorded_once(tmp_path):
    change = Apply(step="s", objects=("Pod/x",), manifest="[]")
    parrot = Parrot(b"created", b"unchanged", b"created again")
    recorder = Recorder(parrot, tmp_path / "x")
    assert [recorder.run(change).stdout for _ in range(2)] == [b"created"] * 2
    recorder.close()
    recorder = Recorder.open(parrot, tmp_path / "x")
    assert recorder.run(change).stdout == b"created"
    assert parrot.says == []
    recorder.close()
    assert len(Recording.open(tmp_path / "x")) == 1


@pytest.mark.parametrize("error", [
    NoTarget("no such pod", QUESTIONS[0]),
    ApiError("pods is forbidden", QUESTIONS[0], status=403, reason="Forbidden"),
    MissingFeature("mine", "read-only"),
])  # fmt: skip
def test_what_got_an_error_gets_it_again_in_a_replay_unless_it_was_answered_later(tmp_path, error):
    recorder = Recorder(Parrot(b"at last"), tmp_path / "x")
    for _ in range(3):
        assert str(recorder.failed(QUESTIONS[0], error)) == str(error)
    assert (tmp_path / "x" / "failures.jsonl").read_text().count("\n") == 1
    with pytest.raises(type(error)) as caught:
        Replay(Recording.open(tmp_path / "x")).run(QUESTIONS[0])
    assert str(caught.value) == str(error)
    recorder.run(QUESTIONS[0])
    recorder.close()
    assert Replay(Recording.open(tmp_path / "x")).run(QUESTIONS[0]).stdout == b"at last"


def test_a_full_disk_is_named_and_leaves_no_half_line(tmp_path):
    """A file that may not grow stands for a disk that is full."""
    code = f"""
import resource, signal
from pathlib import Path
from tests.exec.test_recording import Parrot, QUESTIONS
from labkit.exec.recording import Recorder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
recorder = Recorder(Parrot(b"one", b"x" * 60_000), Path({str(tmp_path / "x")!r}))
recorder.run(QUESTIONS[0])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
recorder.run(QUESTIONS[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "RecordingError: cannot write to" in done.stderr
    assert [r.sample for r in Recording.open(tmp_path / "x").requests()] == [0]
