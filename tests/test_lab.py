import pandas as pd
import pytest

from labkit import Lab
from labkit.collect import kubernetes
from labkit.collect.gather import NODE, collects
from labkit.errors import ParameterError, RecordingError, SourceError
from labkit.figures.style import new_figure
from labkit.source import connect, recordings


@collects(kubernetes.nodes.schema, NODE)
def agents(cluster):
    """Needs an agent, so that only the Cilium arm answers."""
    kubernetes.agent_targets(cluster)
    raise AssertionError


def test_each_asks_every_arm_in_order(lab):
    frame = lab.each(kubernetes.nodes)
    assert frame["arm"].tolist() == ["overlay", "overlay", "cilium", "cilium"]
    assert lab.missing().empty


def test_several_collectors_are_asked_by_name(lab):
    frames = lab.each_of({"who": kubernetes.pods, "where": kubernetes.nodes})
    assert list(frames) == ["who", "where"]
    assert len(frames["where"]) == 4


def test_what_no_arm_has_is_an_empty_frame_with_columns_and_a_reason():
    lab = Lab({"routed": "replay:overlay-routed"})
    frame = lab.each(agents)
    assert frame.empty
    assert list(frame.columns)[:2] == ["arm", "node"]
    assert lab.missing().to_numpy().tolist() == [["routed", "nodes", "no Cilium agent in this arm"]]


def test_what_was_not_recorded_is_a_gap_with_the_request(lab):
    assert lab.each(kubernetes.nodes, step="capture").empty
    assert set(lab.missing()["inconclusive because"]) == {"not recorded: GET /api/v1/nodes in step capture"}


def test_tables_and_figures_are_left_where_asked(tmp_path):
    lab = Lab({"cilium": "replay:cilium"}, out=str(tmp_path))
    frame = lab.table(lab.each(kubernetes.pods), "pods")
    figure, _ = new_figure()
    picture = lab.figure(figure, "empty")
    assert picture.figure is figure
    assert picture._repr_png_() == (tmp_path / "figures" / "empty.png").read_bytes()
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert repr(picture) == "<figure empty>"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "tables" / "pods.parquet"), frame)
    assert {p.name for p in tmp_path.glob("*/*")} == {"pods.parquet", "pods.csv", "empty.svg", "empty.png"}


def test_figures_are_the_same_bytes_each_time(tmp_path):
    for name in ("a", "b"):
        lab = Lab({"cilium": "replay:cilium"}, out=str(tmp_path / name))
        figure, (axes,) = new_figure()
        axes.plot([1, 2], [3, 4])
        lab.figure(figure, "line")
    assert (tmp_path / "a/figures/line.svg").read_bytes() == (tmp_path / "b/figures/line.svg").read_bytes()


def test_no_arms_is_a_misuse():
    with pytest.raises(ParameterError, match="no arms"):
        Lab({})


def test_sources_are_found_by_name_and_by_path():
    assert {"cilium", "overlay-routed", "overlay-vxlan"} <= {path.name for path in recordings()}
    path = next(path for path in recordings() if path.name == "cilium")
    assert connect(f"replay:{path}", "x").about["name"] == "cilium"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("replay:nowhere", "no recording 'nowhere'; there are: .*cilium"),
        ("overlay", "unknown source 'overlay'; write replay:<recording>"),
        ("replay:", "unknown source"),
        ("ssh:host", "unknown source"),
        ("netns:star", "no topology 'star'.*vxlan"),
        ("live:no-such-context", "kubeconfig"),
        ("socket:/nowhere/arm", "nothing answers at /nowhere/arm"),
    ],
)
def test_a_source_that_cannot_be_had_says_what_can(source, says):
    with pytest.raises(SourceError, match=says):
        connect(source)


def test_a_broken_recording_is_named(tmp_path):
    (tmp_path / "recording.json").write_text("{")
    with pytest.raises(RecordingError, match=str(tmp_path)):
        connect(f"replay:{tmp_path}")
