"""The frames that notebooks show of a plan, which ask nobody."""

from labkit.azure import shown
from tests.azure.conftest import BEFORE_AFTER, NOW, plan_of


def test_the_arms(plan):
    frame = shown.arms(plan)
    assert frame[["arm", "dataplane", "policy", "kube_proxy", "context"]].to_numpy().tolist() == [
        ["overlay", "azure", "none", "iptables", "labkit-cni-overlay"],
        ["cilium", "cilium", "cilium", "none", "labkit-cni-cilium"],
    ]


def test_a_moved_arm_has_the_context_of_its_cluster():
    frame = shown.arms(plan_of(BEFORE_AFTER)).set_index("arm")
    assert frame.loc["after", ["of", "context"]].tolist() == ["before", "labkit-cni-before"]


def test_everything_that_is_created_is_tagged(plan):
    frame = shown.tagged(plan, NOW)
    assert frame["resource"].tolist() == ["labkit-cni", "overlay", "cilium"]
    assert set(frame["expiry"]) == {"2026-11-23T17:00:00Z"}


def test_what_down_removes(plan):
    assert shown.removed(plan)["resource"].tolist() == [
        "resource group labkit-cni",
        "cluster overlay",
        "managed group MC_labkit-cni_overlay_westeurope",
        "cluster cilium",
        "managed group MC_labkit-cni_cilium_westeurope",
        "kubeconfig of the run",
    ]
