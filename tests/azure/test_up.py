"""Arms are created once, all at the same time; what stands is kept, what was begun goes on."""

import json

import pytest

from labkit.azure import bodies, tags
from labkit.azure.up import up
from labkit.errors import AzureError, OwnershipError, ProvisionError
from labkit.provision.state import State
from tests.azure.conftest import HEAD, NOW, SUBSCRIPTION, Heard, pace, plan_of


def test_up_creates_the_group_and_every_arm(arm, clients, plan, state):
    found = up(plan, clients, state, Heard(), pace())
    assert list(found) == ["overlay", "cilium"]
    assert {f["properties"]["provisioningState"] for f in found.values()} == {"Succeeded"}
    assert arm.tagged() == [
        "MC_labkit-cni_cilium_westeurope",
        "MC_labkit-cni_overlay_westeurope",
        "labkit-cni",
    ]


def test_what_is_sent_is_what_the_plan_comes_to(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    asked = bodies.requests(plan, tags.made(plan, NOW))
    sent = [*arm.sent("put group"), *arm.sent("put cluster")]
    assert [(s.method, s.path, s.api_version, s.body) for s in sent] == [
        (a.method, a.path.format(subscription=SUBSCRIPTION), a.api_version, a.body) for a in asked
    ]


def test_arms_are_created_at_the_same_time(arm, clients, plan, state):
    """The second is asked for before the first stands, however long that takes."""
    arm.polls = 300
    up(plan, clients, state, Heard(), pace())
    names = [seen.name for seen in arm.seen]
    second = [i for i, name in enumerate(names) if name == "put cluster"][1]
    assert names[:second].count("poll operation") < 300


def test_progress_tells_what_azure_is_doing(arm, clients, plan, state):
    arm.polls = 300  # so that there is something to see, however slow this machine is
    heard = Heard()
    up(plan, clients, state, heard, pace())
    assert ("cilium", "Creating", "node pool system: Creating") in heard.told_of
    assert heard.told_of[-1][1:] == ("ready", "node pool system: Succeeded")


def test_a_second_up_changes_nothing(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    before = len(arm.seen)
    up(plan, clients, state, Heard(), pace(now=NOW.replace(hour=11)))
    assert {seen.method for seen in arm.seen[before:]} == {"GET"}
    assert arm.groups["labkit-cni"]["tags"]["expiry"] == "2026-11-23T17:00:00Z", "an expiry once set is kept"


def test_a_second_up_needs_no_state(arm, clients, plan, state, tmp_path):
    """What exists is Azure's to say: a lost folder changes nothing."""
    up(plan, clients, state, Heard(), pace())
    before = len(arm.seen)
    up(plan, clients, State.open(tmp_path / "elsewhere", plan), Heard(), pace())
    assert {seen.method for seen in arm.seen[before:]} == {"GET"}


@pytest.mark.parametrize("told", range(1, 6))
def test_an_interrupted_up_goes_on(arm, clients, plan, state, told):
    """Ctrl-C at every step. What Azure was doing is awaited, not asked for again."""
    arm.polls = 4
    with pytest.raises(KeyboardInterrupt):
        up(plan, clients, state, Heard(interrupt_at=told), pace())
    up(plan, clients, State.open(state.folder, plan), Heard(), pace(limit_s=10**9))
    assert len(arm.sent("put group")) == 1
    assert len(arm.sent("put cluster")) == 2
    assert {c["properties"]["provisioningState"] for c in arm.clusters.values()} == {"Succeeded"}


@pytest.mark.usefixtures("arm")
def test_what_an_interrupted_up_began_is_on_disk(clients, plan, state):
    with pytest.raises(KeyboardInterrupt):
        up(plan, clients, state, Heard(interrupt_at=2), pace())
    told = json.loads((state.folder / "state.json").read_text())
    assert told["about"]["group"] == "labkit-cni"
    assert {name: part["stage"] for name, part in told["arms"].items()} == {
        "overlay": "creating",
        "cilium": "creating",
    }


def test_an_arm_that_failed_is_asked_for_again(arm, clients, plan, state):
    arm.fail("put cluster", late=True, code="AKSCapacityHeavyUsage", message="no capacity")
    with pytest.raises(ProvisionError):
        up(plan, clients, state, Heard(), pace())
    up(plan, clients, state, Heard(), pace())
    assert [seen.path.rsplit("/", 1)[1] for seen in arm.sent("put cluster")] == [
        "overlay",
        "cilium",
        "overlay",
    ]


def test_a_failure_of_what_an_earlier_up_began_says_its_reason(arm, clients, plan, state):
    """No poller is left that knows the operation: the reason is read from the cluster."""
    arm.polls = 10**6
    arm.fail("put cluster", late=True, code="QuotaExceeded", message="Total Regional Cores quota is used up")
    with pytest.raises(KeyboardInterrupt):
        up(plan, clients, state, Heard(interrupt_at=2), pace())

    class Fails(Heard):
        def told(self, subject, state, doing):
            super().told(subject, state, doing)
            if subject == "overlay":
                arm.finish()

    with pytest.raises(
        ProvisionError, match=r"overlay: creating the cluster overlay: Total Regional Cores quota"
    ):
        up(plan, clients, state, Fails(), pace())


def test_one_arm_that_fails_does_not_stop_the_others(arm, clients, plan, state):
    arm.fail(
        "put cluster",
        status=400,
        bare=True,
        code="ErrCode_InsufficientVCPUQuota",
        message="Insufficient vcpu quota",
    )
    with pytest.raises(ProvisionError) as caught:
        up(plan, clients, state, Heard(), pace())
    assert arm.clusters["labkit-cni", "cilium"]["properties"]["provisioningState"] == "Succeeded"
    assert "overlay: creating the cluster overlay: Insufficient vcpu quota" in str(caught.value)
    assert caught.value.left == ["resource group labkit-cni", "cluster cilium (Succeeded)"]
    assert "exists now, and costs: resource group labkit-cni, cluster cilium (Succeeded)" in str(caught.value)


def test_a_group_that_is_not_known_everywhere_yet_is_waited_for(arm, clients, plan, state):
    arm.fail("put cluster", status=404, code="ResourceGroupNotFound", message="could not be found")
    up(plan, clients, state, Heard(), pace())
    assert len(arm.sent("put cluster")) == 3


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"environment": "production"},
        {"labkit": "0.1.0", "run": "cni", "owner": "bob", "expiry": "2026-11-23T17:00:00Z"},
        {"labkit": "0.1.0", "run": "other", "owner": "ada", "expiry": "2026-11-23T17:00:00Z"},
        {"run": "cni", "owner": "ada", "expiry": "2026-11-23T17:00:00Z"},
    ],
)
def test_a_group_of_somebody_else_is_refused_by_name(arm, clients, plan, state, marks):
    arm.add_group("labkit-cni", marks)
    with pytest.raises(OwnershipError, match="resource group labkit-cni exists and is not this plan's"):
        up(plan, clients, state, Heard(), pace())
    assert {seen.method for seen in arm.seen} == {"GET"}


def test_a_cluster_of_somebody_else_is_refused(arm, clients, plan, state):
    arm.add_group("labkit-cni", tags.made(plan, NOW))
    arm.clusters["labkit-cni", "cilium"] = {
        "name": "cilium",
        "tags": {},
        "properties": {"provisioningState": "Succeeded"},
    }
    with pytest.raises(ProvisionError, match="the cluster cilium exists and is not this plan's"):
        up(plan, clients, state, Heard(), pace())
    assert [seen.path.rsplit("/", 1)[1] for seen in arm.sent("put cluster")] == ["overlay"]


def test_a_group_on_its_way_out_is_not_built_in(arm, clients, plan, state):
    arm.add_group("labkit-cni", tags.made(plan, NOW), properties={"provisioningState": "Deleting"})
    with pytest.raises(ProvisionError, match="is being deleted"):
        up(plan, clients, state, Heard(), pace())


def test_a_cluster_that_stands_is_never_changed(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    before = len(arm.seen)
    other = plan_of(
        HEAD + 'nodes = 5\nlocal_dns = "Required"\n[arms.overlay]\npolicy = "calico"\n[arms.cilium]\n'
    )
    with pytest.raises(ProvisionError) as caught:
        up(other, clients, state, Heard(), pace())
    assert "agentPoolProfiles.system.count is 3, not 5" in str(caught.value)
    assert "agentPoolProfiles.system.localDNSProfile.mode is Disabled, not Required" in str(caught.value)
    assert "networkProfile.networkPolicy is none, not calico" in str(caught.value)
    assert "location" not in str(caught.value)
    assert {seen.method for seen in arm.seen[before:]} == {"GET"}


def test_a_cluster_that_stands_elsewhere_is_another_one(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    arm.clusters["labkit-cni", "cilium"]["location"] = "northeurope"
    with pytest.raises(ProvisionError, match="location is northeurope, not westeurope"):
        up(plan, clients, state, Heard(), pace())


def test_what_azure_leaves_out_when_it_is_off_is_no_difference(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    properties = arm.clusters["labkit-cni", "overlay"]["properties"]
    for key in (
        "azureMonitorProfile",
        "securityProfile",
        "workloadAutoScalerProfile",
        "nodeProvisioningProfile",
    ):
        del properties[key]
    del properties["networkProfile"]["advancedNetworking"]
    properties["networkProfile"]["networkPolicy"] = None
    properties["agentPoolProfiles"][0]["orchestratorVersion"] = "1.34.7"
    assert list(up(plan, clients, state, Heard(), pace())) == ["overlay", "cilium"]


def test_a_cluster_that_takes_too_long_is_told_and_left_to_azure(arm, clients, plan, state):
    arm.polls = 10**6
    with pytest.raises(ProvisionError, match="still Creating after 0 min; `labkit up` goes on waiting"):
        up(plan, clients, state, Heard(), pace(limit_s=3))
    for operation in arm.operations.values():
        operation.polls = 1


def test_a_look_that_fails_is_no_reason_to_give_up(arm, clients, plan, state):
    arm.polls = 300
    for nth in (3, 4):
        arm.fail("get cluster", status=403, code="AuthorizationFailed", nth=nth)
    up(plan, clients, state, Heard(), pace())


def test_a_state_of_another_plan_is_not_used(state):
    state.note(group="labkit-cni")
    other = plan_of(HEAD.replace('"ada"', '"bob"') + "[arms.cilium]\n")
    with pytest.raises(ProvisionError, match="owner is 'ada', that of the plan 'bob'"):
        State.open(state.folder, other)


@pytest.mark.usefixtures("arm")
def test_the_state_names_no_subscription(clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    assert SUBSCRIPTION not in (state.folder / "state.json").read_text()


def test_an_error_is_an_azure_error(arm, clients, plan, state):
    arm.fail("put group", status=403, code="AuthorizationFailed", message="does not have authorization")
    with pytest.raises(AzureError) as caught:
        up(plan, clients, state, Heard(), pace())
    assert (caught.value.status, caught.value.code, caught.value.about) == (
        403,
        "AuthorizationFailed",
        "permission",
    )
    assert arm.tagged() == []
