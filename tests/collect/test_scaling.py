import pytest

from labkit.collect import scaling
from tests.conftest import RECORDINGS
from tests.measured import read


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("collector", [scaling.connections, scaling.slices, scaling.holdings])
def test_frames_are_as_declared(name, collector):
    frame = read(name, collector)
    assert list(frame.columns) == collector.schema.names
    assert [str(dtype) for dtype in frame.dtypes] == [column.dtype for column in collector.schema.columns]
    assert not frame.duplicated(list(collector.schema.key)).any()


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_connection_is_there(name):
    frame = read(name, scaling.connections)
    sizes = sorted(frame["services"].unique())
    assert sizes == ([7, 107, 1007] if name == "cilium" else [4, 104, 1004])
    counts = frame.groupby(["services", "position"]).size()
    assert counts.eq(600).all()
    assert len(counts) == 5


@pytest.mark.parametrize(("name", "failed"), [("overlay-vxlan", 10), ("overlay-routed", 13), ("cilium", 500)])
def test_connections_to_the_newest_service_failed_at_first_in_every_arm(name, failed):
    frame = read(name, scaling.connections)
    bad = frame[frame["exit_code"] != 0]
    assert len(bad) == failed
    assert set(bad["position"]) == {"last"}
    assert bad["services"].min() > 1000
    assert bad["connect_us"].isna().all()


@pytest.mark.parametrize(
    ("name", "missing"), [("overlay-vxlan", 93), ("overlay-routed", 105), ("cilium", 98)]
)
def test_slices_that_the_control_plane_still_owed(name, missing):
    frame = read(name, scaling.slices)
    assert frame.groupby("services").size().tolist() == [100, 1000]
    owed = frame[frame["slice_at"].isna()]
    assert len(owed) == missing
    assert "scale-00999" in set(owed["service"])


def test_rules_grow_and_cilium_keeps_its_own_map():
    vxlan = read("overlay-vxlan", scaling.holdings)
    rules = vxlan[vxlan["holds"] == "iptables rules"].groupby("services")["entries"].max()
    assert rules.to_dict() == {4: 81, 104: 881, 1004: 8081}
    cilium = read("cilium", scaling.holdings)
    assert set(cilium.loc[cilium["holds"] == "iptables rules", "entries"]) == {29}
    assert cilium.loc[cilium["holds"] == "KUBE-SVC chains", "entries"].eq(0).all()
    slots = cilium[cilium["holds"] == "service map slots"].groupby("services")["entries"].max()
    assert slots.to_dict() == {7: 27, 107: 427, 1007: 3725}
