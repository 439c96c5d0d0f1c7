"""Bad recordings are refused with the thing and the remedy; good ones round-trip to the same bytes."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from labkit.errors import RecordingError, RecordingFormatError, ReplayMiss
from labkit.exec import Exec, Read, Reply
from labkit.exec.recording import Recorder, Recording
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

    about = ABOUT

    def __init__(self, *says: bytes) -> None:
        self.says = list(says)

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
        old, new = source.find(request), again.find(request)
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
    with pytest.raises(FileExistsError):
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
