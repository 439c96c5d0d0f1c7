"""A fault at any step, then `down`: no group with our tags is left, and none that AKS manages for it."""

import contextlib

import pytest

from labkit.azure.credentials import fetch
from labkit.azure.down import down
from labkit.azure.up import up
from labkit.errors import AzureError, LabError
from labkit.provision.state import State
from tests.azure.conftest import Heard, pace

#: Requests of an `up` and a `down`, in order of first appearance, and how often each may be hit.
STEPS = {
    "get group": 2,
    "put group": 1,
    "get cluster": 2,
    "put cluster": 2,
    "poll operation": 2,
    "user credential": 2,
    "list groups": 1,
    "list resources": 1,
    "delete group": 1,
    "poll location": 2,
}
FAULTS = {
    "forbidden": {"status": 403, "code": "AuthorizationFailed"},
    "outage": {"status": 500},
    "lost answer": {"lost": True},
    "no answer": {"drop": True},
    "throttled": {"status": 429, "code": "TooManyRequests", "headers": {"Retry-After": "0"}},
}
LATE = {
    "quota": ("put cluster", {"code": "QuotaExceeded", "message": "Cores quota"}),
    "capacity": ("put cluster", {"code": "AKSCapacityHeavyUsage"}),
    "internal": ("put cluster", {"code": "InternalOperationError"}),
    "deletion blocked": ("delete group", {"code": "ResourceGroupDeletionBlocked"}),
}


def attempt(plan, clients, state, tools):
    """`up`, as somebody would run it who is not there to help."""
    with contextlib.suppress(LabError, KeyboardInterrupt):
        up(plan, clients, state, Heard(), pace())
        fetch(plan, clients, state, tools)


def assert_taken_down(plan, clients, state, arm):
    """`down`, again if the fault hit it: the second finds what the first left."""
    for _ in range(2):
        with contextlib.suppress(AzureError):
            if down(plan, clients, State.open(state.folder, plan), Heard(), pace()) == []:
                break
    assert arm.tagged() == []
    assert arm.clusters == {}
    assert not state.kubeconfig.exists()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("step", "nth"), [(step, n + 1) for step, times in STEPS.items() for n in range(times)]
)
def test_a_fault_at_a_request(arm, clients, plan, state, tools, step, nth, fault):
    arm.fail(step, nth=nth, **FAULTS[fault])
    attempt(plan, clients, state, tools)
    assert_taken_down(plan, clients, state, arm)
    assert arm.faults[0].seen >= nth, "the fault was never met, so the test shows nothing"


@pytest.mark.parametrize("name", LATE)
def test_an_operation_that_fails_late(arm, clients, plan, state, tools, name):
    step, fault = LATE[name]
    arm.fail(step, late=True, **fault)
    attempt(plan, clients, state, tools)
    assert_taken_down(plan, clients, state, arm)


@pytest.mark.parametrize("told", range(1, 8))
def test_a_kill_during_up(arm, clients, plan, state, told):
    arm.polls = 4
    with contextlib.suppress(KeyboardInterrupt):
        up(plan, clients, state, Heard(interrupt_at=told), pace())
    assert_taken_down(plan, clients, state, arm)


def test_a_kill_and_a_lost_folder(arm, clients, plan, state, tmp_path):
    """`down` needs the plan and nothing else."""
    arm.polls = 10**6
    with pytest.raises(KeyboardInterrupt):
        up(plan, clients, state, Heard(interrupt_at=2), pace())
    arm.polls = 2
    elsewhere = State.open(tmp_path / "elsewhere", plan)
    assert down(plan, clients, elsewhere, Heard(), pace()) == []
    assert arm.tagged() == []
