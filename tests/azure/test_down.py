"""What was created is removed, and nothing else; `down` says so only when it answers 404."""

import pytest

from labkit.azure import tags
from labkit.azure.credentials import fetch
from labkit.azure.down import down, inside
from labkit.azure.up import up
from labkit.errors import OwnershipError
from labkit.provision import kubeconfig
from tests.azure.conftest import NOW, Heard, pace


@pytest.fixture
def standing(arm, clients, plan, state, tools):
    up(plan, clients, state, Heard(), pace())
    fetch(plan, clients, state, tools)
    return arm


def test_down_removes_everything(standing, clients, plan, state):
    assert down(plan, clients, state, Heard(), pace()) == []
    assert standing.groups == {}
    assert standing.clusters == {}


def test_down_waits_for_the_managed_groups_too(standing, clients, plan, state):
    """They disappear later than the group of the cluster; that is waited for, and nothing is asked for twice."""
    standing.lag = 12
    heard = Heard()
    assert down(plan, clients, state, heard, pace()) == []
    gone = [subject for subject, told, _ in heard.told_of if told == "gone"]
    assert gone[0] == "resource group labkit-cni"
    assert gone[-1].startswith("managed group MC_labkit-cni_")
    assert [seen.path.rsplit("/", 1)[1] for seen in standing.sent("delete group")] == ["labkit-cni"]


@pytest.mark.usefixtures("standing")
def test_down_forgets_the_credentials(clients, plan, state, tools, tmp_path):
    mine = tmp_path / "config"
    fetch(plan, clients, state, tools, merge=mine)
    down(plan, clients, state, Heard(), pace(), merged=mine)
    assert not state.kubeconfig.exists()
    assert kubeconfig.read(mine)["contexts"] == []


def test_a_second_down_finds_nothing(standing, clients, plan, state):
    down(plan, clients, state, Heard(), pace())
    before = len(standing.sent("delete group"))
    assert down(plan, clients, state, Heard(), pace()) == []
    assert len(standing.sent("delete group")) == before


@pytest.mark.usefixtures("standing")
def test_what_is_inside_is_shown_before(clients, plan):
    frame = inside(clients, plan)
    assert frame[["resource", "ours"]].to_numpy().tolist() == [["cilium", True], ["overlay", True]]


@pytest.mark.parametrize("marks", [{}, {"labkit": "0.1.0", "run": "cni", "owner": "bob", "expiry": "x"}])
def test_a_group_of_somebody_else_is_refused_by_name(arm, clients, plan, state, marks):
    arm.add_group("labkit-cni", marks)
    with pytest.raises(OwnershipError, match="resource group labkit-cni exists and is not this plan's"):
        down(plan, clients, state, Heard(), pace())
    assert "labkit-cni" in arm.groups
    assert arm.sent("delete group") == []


def test_a_group_that_holds_something_else_is_kept(standing, clients, plan, state):
    """Our clusters in it go; what somebody else put there does not, and is named."""
    standing.others["labkit-cni"] = [
        {"id": "x", "name": "their-disk", "type": "Microsoft.Compute/disks", "tags": {}}
    ]
    left = down(plan, clients, state, Heard(), pace())
    assert [(one.name, one.why) for one in left] == [
        ("resource group labkit-cni", "also holds their-disk, which labkit did not create")
    ]
    assert standing.clusters == {}
    assert list(standing.groups) == ["labkit-cni"]
    assert state.kubeconfig.exists() is True


def test_a_managed_group_that_its_cluster_left_behind_is_deleted(arm, clients, plan, state):
    marks = tags.made(plan, NOW)
    arm.add_group("MC_labkit-cni_cilium_westeurope", marks, managedBy=f"{'/x' * 3}/labkit-cni/cluster")
    assert down(plan, clients, state, Heard(), pace()) == []
    assert arm.groups == {}


def test_a_managed_group_without_our_tags_is_left_and_named(arm, clients, plan, state):
    arm.add_group("MC_labkit-cni_cilium_westeurope", {})
    (left,) = down(plan, clients, state, Heard(), pace())
    assert left.name == "managed group MC_labkit-cni_cilium_westeurope"
    assert "does not carry the tags of run cni" in left.why


def test_a_lock_is_named_and_not_waited_for(standing, clients, plan, state):
    standing.fail("delete group", status=409, code="ScopeLocked", message="the scope is locked", nth=0)
    left = down(plan, clients, state, Heard(), pace())
    assert left[0].name == "resource group labkit-cni"
    assert "take the lock off" in left[0].why
    assert state.kubeconfig.exists(), "what still stands can still be reached"


def test_a_deletion_that_fails_late_because_azure_is_busy_is_asked_for_again(standing, clients, plan, state):
    standing.fail(
        "delete group", late=True, code="ResourceGroupDeletionBlocked", message="still being changed"
    )
    assert down(plan, clients, state, Heard(), pace()) == []
    assert len(standing.sent("delete group")) == 2


def test_what_does_not_go_in_time_is_listed(standing, clients, plan, state):
    standing.lag = 10**6
    left = down(plan, clients, state, Heard(), pace(limit_s=30))
    assert {one.name for one in left} == {
        "managed group MC_labkit-cni_cilium_westeurope",
        "managed group MC_labkit-cni_overlay_westeurope",
    }
    assert {one.state for one in left} == {"Deleting"}


def test_an_interrupted_down_goes_on(standing, clients, plan, state):
    with pytest.raises(KeyboardInterrupt):
        down(plan, clients, state, Heard(interrupt_at=1), pace())
    standing.finish()
    assert down(plan, clients, state, Heard(), pace()) == []
    assert standing.groups == {}
