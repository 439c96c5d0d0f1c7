"""Before and after: one cluster, measured as overlay, moved to Cilium's dataplane, measured again."""

import pytest

from labkit.azure import parity
from labkit.azure.down import down
from labkit.azure.move import WARNING, move
from labkit.azure.up import up
from labkit.errors import PlanError, ProvisionError
from labkit.provision.state import State
from tests.azure.conftest import BEFORE_AFTER, Heard, pace, plan_of


@pytest.fixture
def plan():
    return plan_of(BEFORE_AFTER)


@pytest.fixture
def standing(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    return arm


def dataplane(arm):
    net = arm.clusters["labkit-cni", "before"]["properties"]["networkProfile"]
    return net["networkDataplane"], net["networkPolicy"]


def test_up_creates_one_cluster_only(standing):
    assert list(standing.clusters) == [("labkit-cni", "before")]
    assert dataplane(standing) == ("azure", "none")


def test_move_changes_the_dataplane_and_nothing_else(standing, clients, plan, state):
    move(plan, "after", clients, state, Heard(), pace())
    assert dataplane(standing) == ("cilium", "cilium")
    before, after = (seen.body for seen in standing.sent("put cluster"))
    for body in (before, after):
        for key in ("networkDataplane", "networkPolicy"):
            del body["properties"]["networkProfile"][key]
    assert before == after


def test_a_second_move_changes_nothing(standing, clients, plan, state):
    move(plan, "after", clients, state, Heard(), pace())
    move(plan, "after", clients, state, Heard(), pace())
    assert len(standing.sent("put cluster")) == 2


def test_an_interrupted_move_goes_on(standing, clients, plan, state):
    standing.polls = 6
    with pytest.raises(KeyboardInterrupt):
        move(plan, "after", clients, state, Heard(interrupt_at=1), pace())
    move(plan, "after", clients, State.open(state.folder, plan), Heard(), pace())
    assert len(standing.sent("put cluster")) == 2


def test_a_move_that_failed_is_asked_for_again(standing, clients, plan, state):
    standing.fail("put cluster", late=True, code="AKSCapacityHeavyUsage", message="no capacity", nth=1)
    with pytest.raises(ProvisionError, match="after: moving the cluster before: no capacity"):
        move(plan, "after", clients, state, Heard(), pace())
    move(plan, "after", clients, state, Heard(), pace())
    assert len(standing.sent("put cluster")) == 3


def test_up_after_a_move_does_not_move_back(standing, clients, plan, state):
    move(plan, "after", clients, state, Heard(), pace())
    found = up(plan, clients, state, Heard(), pace())
    assert list(found) == ["after"], "the cluster is told as what it has become"
    assert len(standing.sent("put cluster")) == 2


@pytest.mark.usefixtures("standing")
def test_what_it_was_before_is_kept_for_the_parity_gate(clients, plan, state):
    parity.keep(parity.facts(up(plan, clients, state, Heard(), pace())), plan, state.folder)
    after = {"after": move(plan, "after", clients, state, Heard(), pace())}
    kept = parity.keep(parity.facts(after), plan, state.folder)
    assert kept[kept["fact"] == "dataplane"][["arm", "value"]].to_numpy().tolist() == [
        ["before", "azure"],
        ["after", "cilium"],
    ]
    assert parity.saved(state.folder).equals(kept)


@pytest.mark.usefixtures("arm")
def test_there_is_nothing_to_move_before_up(clients, plan, state):
    with pytest.raises(ProvisionError, match="`labkit up` creates it"):
        move(plan, "after", clients, state, Heard(), pace())


@pytest.mark.parametrize("name", ["before", "nobody"])
@pytest.mark.usefixtures("standing")
def test_only_an_arm_that_says_so_is_moved(clients, plan, state, name):
    with pytest.raises(PlanError, match="those are: after"):
        move(plan, name, clients, state, Heard(), pace())


def test_a_cluster_that_does_not_stand_is_not_moved(standing, clients, plan, state):
    standing.clusters["labkit-cni", "before"]["properties"]["provisioningState"] = "Failed"
    with pytest.raises(ProvisionError, match="is Failed"):
        move(plan, "after", clients, state, Heard(), pace())


def test_somebody_elses_cluster_is_not_moved(standing, clients, plan, state):
    standing.clusters["labkit-cni", "before"]["tags"] = {}
    with pytest.raises(ProvisionError, match="is not this plan's"):
        move(plan, "after", clients, state, Heard(), pace())


def test_the_warning_says_what_cannot_be_undone():
    assert "cannot be undone" in WARNING


def test_down_after_a_move(standing, clients, plan, state):
    move(plan, "after", clients, state, Heard(), pace())
    assert down(plan, clients, state, Heard(), pace()) == []
    assert standing.groups == {}
