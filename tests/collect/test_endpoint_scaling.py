import pytest
from pandas.testing import assert_frame_equal

from labkit.cluster import Cluster
from labkit.collect import endpoint_scaling
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature
from labkit.exec.netns import Netns
from labkit.exec.recording import Recorder, Recording
from labkit.exec.replay import Replay
from labkit.experiments.staged import Staged
from tests.netns.conftest import require

PLAN = Plan(endpoints=(1, 5), repetitions=2, fetches=8, waits=True)


def test_recordings_that_scaled_none_say_so(cluster):
    with pytest.raises(MissingFeature, match="no numbers of endpoints"):
        endpoint_scaling.connections(cluster)


def test_every_fetch_is_answered_by_few_and_by_more_and_replays(tmp_path):
    require("routed")
    inner = Netns("routed")
    about = {"plan": PLAN.to_json(), "recorded_at": "2026-11-27T00:00:00Z"}
    staged = Staged(Recorder(inner, tmp_path / "x", about=about), inner)
    try:
        frame = endpoint_scaling.connections(Cluster("routed", "netns:routed", staged))
        assert [move.step for move in staged.moves] == ["setup", "endpoints-1", "endpoints-5"]
    finally:
        staged.close()
    assert frame.groupby("endpoints").size().to_dict() == {1: 16, 5: 16}
    assert (frame["http_code"] == 200).all()
    replayed = Cluster("routed", "replay:x", Replay(Recording.open(tmp_path / "x")))
    assert_frame_equal(endpoint_scaling.connections(replayed), frame)
