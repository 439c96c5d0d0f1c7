"""An executor behind a socket answers as it would in this process: replies, errors, many at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from labkit.errors import ApiError, ConnectionLost, MissingFeature, NoTarget, ReplayMiss
from labkit.exec import Apply, Exec, Read, Reply
from labkit.exec.remote import Remote, Server
from tests.conftest import arm

ASKED = Exec(step="baseline", target="node/a", argv=("printf", "\N{SNOWMAN}"), sample=3)


class Echo:
    """Answers with what it was asked, and fails where it is told to."""

    about: ClassVar = {"name": "echo", "origin": "synthetic", "namespace": "x"}

    def __init__(self, fails=None):
        self.fails = fails

    def run(self, request):
        if self.fails:
            raise self.fails
        said = json.dumps([request.step, request.to_json(), getattr(request, "manifest", "")])
        return Reply(
            "r00007", request, datetime(2026, 1, 2, tzinfo=UTC), 0.5, None, said.encode(), b"\xff\x00"
        )

    def wait(self, seconds):
        """Nothing to wait for."""

    def close(self):
        """Nothing to close."""


@pytest.fixture
def served(tmp_path):
    with Server(Echo(), tmp_path / "arm"):
        yield Remote(tmp_path / "arm")


def test_a_reply_crosses_whole(served):
    reply = served.run(ASKED)
    assert (reply.id, reply.request, reply.duration_s, reply.exit_code) == ("r00007", ASKED, 0.5, None)
    assert json.loads(reply.stdout) == ["baseline", ASKED.to_json(), ""]
    assert reply.stderr == b"\xff\x00"
    assert served.about == Echo.about


def test_what_is_noted_while_it_answers_is_known(tmp_path):
    class Notes(Echo):
        def __init__(self):
            super().__init__()
            self.about = {**Echo.about, "noted": []}

        def run(self, request):
            self.about["noted"].append(request.sample)
            return super().run(request)

    server = Server(Notes(), tmp_path / "arm")
    remote = Remote(tmp_path / "arm")
    assert remote.about["noted"] == []
    remote.run(ASKED)
    assert remote.about["noted"] == [3]
    server.close()
    with pytest.raises(ConnectionLost):
        remote.run(ASKED)
    assert remote.about["noted"] == [3]


def test_what_is_applied_crosses_too(served):
    request = Apply(step="s", objects=("Pod/x",), manifest='[{"kind": "Pod"}]')
    assert json.loads(served.run(request).stdout)[2] == '[{"kind": "Pod"}]'


@pytest.mark.parametrize("error", [
    NoTarget("no such pod", ASKED),
    ApiError("pods is forbidden", ASKED, status=403, reason="Forbidden"),
    ReplayMiss("not recorded", ASKED),
    MissingFeature("mine", "no Cilium here"),
])  # fmt: skip
def test_errors_cross_with_what_they_carry(tmp_path, error):
    with Server(Echo(error), tmp_path / "arm"), pytest.raises(type(error)) as caught:
        Remote(tmp_path / "arm").run(ASKED)
    assert str(caught.value) == str(error)
    assert {k: v for k, v in vars(caught.value).items() if k != "request"} == {
        k: v for k, v in vars(error).items() if k != "request"
    }


def test_many_at_once_get_their_own_answers(served):
    asked = [Exec(step="s", target=f"node/{n}", argv=("true",)) for n in range(64)]
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(served.run, asked))
    assert [json.loads(r.stdout)[1]["target"] for r in replies] == [a.target for a in asked]


def test_a_real_recording_is_the_same_through_a_socket(tmp_path):
    replay = arm("overlay-routed").executor
    with Server(replay, tmp_path / "arm"):
        there = Remote(tmp_path / "arm")
        for request in list(replay.recording.requests())[::50]:
            assert there.run(request) == replay.run(request)


def test_who_serves_no_more_is_named(served, tmp_path):
    (tmp_path / "arm").unlink()
    with pytest.raises(ConnectionLost, match="start the run again"):
        served.run(Read(step="s", path="/version"))


def test_a_defect_of_who_serves_is_no_answer_of_the_arm(tmp_path, caplog):
    with (
        Server(Echo(KeyError("x")), tmp_path / "arm"),
        pytest.raises(RuntimeError, match=r"a defect.*KeyError: 'x'"),
    ):
        Remote(tmp_path / "arm").run(ASKED)
    assert "a request could not be served" in caplog.text
