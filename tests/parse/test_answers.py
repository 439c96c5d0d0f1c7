import pytest

from labkit.errors import ParseError
from labkit.parse.answers import ANSWERS, answers
from tests.conftest import RECORDINGS, recorded


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_loop_is_read(name):
    for reply in recorded(name, "sh -c for i in $(seq 500)", step="load-balancing"):
        frame = answers(reply.stdout)
        assert len(frame) == 500
        assert frame["backend"].nunique() == 2
        assert frame.groupby("backend")["backend_node"].nunique().eq(1).all()


def test_no_answer_is_no_row():
    assert list(answers(b"").columns) == ANSWERS.names


@pytest.mark.parametrize("data", [b"<html>\n", b"app-backend-1\n", b"pod node\n\npod node\n", b"\xff"])
def test_what_is_no_answer_is_refused(data):
    with pytest.raises(ParseError, match="the backend"):
        answers(data)
