import pytest

from labkit.analysis.cleanup import leftovers, plan
from labkit.collect import cleanup
from labkit.errors import ParseError
from labkit.parse.objects import objects
from tests.conftest import recorded


def by_arm(cluster, collect, step="baseline"):
    frame = collect(cluster.at(step))
    frame.insert(0, "arm", cluster.arm)
    return frame


def test_only_the_namespace_is_deleted_by_name(cluster):
    table = plan(by_arm(cluster, cleanup.made_here))
    named = table[table["action"] == "delete by name"]
    assert named[["kind", "objects", "names"]].to_numpy().tolist() == [["Namespace", 1, "cni-lab"]]
    assert table["objects"].sum() == len(cleanup.made_here(cluster))


def test_nothing_outside_the_lab_is_ever_in_the_plan(cluster):
    made = cleanup.made_here(cluster)
    assert set(made["namespace"].dropna()) == {"cni-lab"}
    assert set(cleanup.everything(cluster)["namespace"].dropna()) > {"cni-lab"}


def test_a_kind_without_namespace_is_planned_by_its_owner():
    made = objects(
        b"""{"items": [
        {"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z",
                      "labels": {"app.kubernetes.io/managed-by": "labkit"}}},
        {"metadata": {"name": "b", "creationTimestamp": "2026-01-01T00:00:00Z",
                      "ownerReferences": [{"kind": "Thing", "name": "a", "controller": true}]}}]}""",
        "Thing",
    ).assign(arm="x")
    assert plan(made)["action"].tolist() == ["delete by name", "goes with its owner"]


@pytest.mark.parametrize(("name", "left"), [("overlay-vxlan", 188), ("overlay-routed", 480), ("cilium", 512)])
def test_endpoint_slices_outlive_their_services(request, name, left):
    cluster = request.getfixturevalue({"overlay-vxlan": "vxlan", "overlay-routed": "routed"}.get(name, name))
    found = leftovers(by_arm(cluster, cleanup.everything), by_arm(cluster, cleanup.everything, "cleanup"))
    assert len(found) == left
    assert found["name"].str.startswith("scale-").all()


def test_the_same_state_leaves_nothing(cluster):
    frame = by_arm(cluster, cleanup.everything)
    assert leftovers(frame, frame).empty


def test_every_recorded_list_is_read():
    for kind, path in cleanup.KINDS.items():
        for reply in recorded("cilium", f"GET {path}"):
            assert objects(reply.stdout, kind)["created_at"].notna().all()


def test_what_has_no_name_is_refused():
    with pytest.raises(ParseError, match="a Pod without 'name'"):
        objects(b'{"items": [{"metadata": {}}]}', "Pod")
