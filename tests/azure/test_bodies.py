"""What is sent: every field is one that the installed SDK knows, and arms are equal but for their network."""

import enum
import types
import typing

import pytest
import typing_extensions
from azure.mgmt.containerservice import models
from azure.mgmt.containerservice import types as shapes

from labkit.azure import bodies, tags
from labkit.provision.kinds import KINDS
from tests.azure.conftest import HEAD, NOW, plan_of

ALL_KINDS = HEAD + "".join(f"[arms.{kind}]\n" for kind in KINDS)
PLAN = plan_of(ALL_KINDS)
TAGS = tags.made(PLAN, NOW)
ENUMS = {n: e for n, e in vars(models).items() if isinstance(e, type) and issubclass(e, enum.Enum)}


def problems(value, hint, where):
    """Where a body does not fit the SDK's TypedDict of it: unknown keys, and words that are not in its enum."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    enums = [o for o in options if isinstance(o, type) and issubclass(o, enum.Enum)]
    if isinstance(value, str) and enums:
        known = [member.value for one in enums for member in one]
        return [] if value in known else [f"{where}: {value!r} is none of {known}"]
    if isinstance(value, list):
        parts = [a for o in options for a in typing.get_args(o) if typing.get_origin(o) is list]
        return [p for part in value for p in problems(part, parts[0], f"{where}[]")]
    shape = next((o for o in options if typing_extensions.is_typeddict(o)), None)
    if not isinstance(value, dict) or shape is None:
        return []
    hints = typing.get_type_hints(shape, localns=ENUMS)
    found = [f"{where}.{key} is unknown to the SDK" for key in value if key not in hints]
    return found + [
        p for key, part in value.items() if key in hints for p in problems(part, hints[key], f"{where}.{key}")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_sdk_knows_every_field_and_word_of_a_body(kind):
    body = bodies.cluster(PLAN, PLAN.arms[kind], TAGS)
    assert problems(body, shapes.ManagedCluster, "cluster") == []


def test_the_check_itself_finds_what_is_wrong():
    body = {"properties": {"networkProfile": {"networkPolicy": "npm"}, "kubernetesRelease": "1.34"}}
    assert len(problems(body, shapes.ManagedCluster, "cluster")) == 2


def test_entra_id_is_known_too():
    plan = plan_of(HEAD + "entra_id = true\n[arms.cilium]\n")
    body = bodies.cluster(plan, plan.arms["cilium"], TAGS)
    assert problems(body, shapes.ManagedCluster, "cluster") == []
    assert body["properties"]["aadProfile"] == {"managed": True, "enableAzureRBAC": True}


def test_the_preview_of_nftables_is_the_one_thing_the_sdk_does_not_know():
    """So it is asked for in the preview version of the API that has it; all other arms stay with the stable one."""
    plan = plan_of(HEAD + '[arms.overlay]\nkube_proxy = "nftables"\n[arms.cilium]\n')
    body = bodies.cluster(plan, plan.arms["overlay"], TAGS)
    assert problems(body, shapes.ManagedCluster, "c") == [
        "c.properties.networkProfile.kubeProxyConfig is unknown to the SDK"
    ]
    assert body["properties"]["networkProfile"]["kubeProxyConfig"] == {"enabled": True, "mode": "NFTABLES"}
    assert bodies.api_version(plan.arms["overlay"]) == "2025-09-02-preview"
    assert bodies.api_version(plan.arms["cilium"]) == bodies.CLUSTER_API


@pytest.mark.parametrize("kind", KINDS)
def test_arms_differ_in_names_and_network_only(kind):
    mine, other = (bodies.cluster(PLAN, PLAN.arms[name], TAGS) for name in (kind, "overlay"))
    for body in (mine, other):
        for key in ("networkProfile", "dnsPrefix", "nodeResourceGroup"):
            del body["properties"][key]
    assert mine == other


def test_the_networks_of_the_kinds():
    nets = {
        kind: bodies.cluster(PLAN, PLAN.arms[kind], TAGS)["properties"]["networkProfile"] for kind in KINDS
    }
    assert {(net["networkPlugin"], net["networkPluginMode"]) for net in nets.values()} == {
        ("azure", "overlay")
    }
    assert {kind: (n["networkDataplane"], n["networkPolicy"]) for kind, n in nets.items()} == {
        "overlay": ("azure", "none"),
        **dict.fromkeys(list(KINDS)[1:], ("cilium", "cilium")),
    }
    acns = {kind: net["advancedNetworking"] for kind, net in nets.items()}
    assert acns["overlay"] == acns["cilium"] == {"enabled": False}
    assert acns["cilium-acns"]["security"]["advancedNetworkPolicies"] == "FQDN"
    assert acns["cilium-acns-l7"]["security"]["advancedNetworkPolicies"] == "L7"
    modes = {kind: part["performance"]["accelerationMode"] for kind, part in acns.items() if part["enabled"]}
    assert modes == {"cilium-acns": "None", "cilium-acns-l7": "None", "cilium-bpfveth": "BpfVeth"}


def test_nothing_is_left_to_azure_that_could_differ_between_arms():
    properties = bodies.cluster(PLAN, PLAN.arms["cilium"], TAGS)["properties"]
    (pool,) = properties["agentPoolProfiles"]
    assert {
        "vmSize": "Standard_D4s_v5",
        "osSKU": "Ubuntu2404",
        "availabilityZones": ["1"],
        "count": 3,
        "maxPods": 110,
        "orchestratorVersion": "1.34",
        "enableAutoScaling": False,
        "enableNodePublicIP": False,
        "localDNSProfile": {"mode": "Disabled"},
    }.items() <= pool.items()
    assert properties["autoUpgradeProfile"] == {"upgradeChannel": "none", "nodeOSUpgradeChannel": "None"}
    assert properties["nodeProvisioningProfile"] == {"mode": "Manual"}


def test_every_resource_carries_the_four_tags():
    for request in bodies.requests(PLAN, TAGS):
        assert request.body["tags"] == {
            "labkit": "0.1.0",
            "run": "cni",
            "owner": "ada",
            "expiry": "2026-11-23T17:00:00Z",
        }
    pool = bodies.requests(PLAN, TAGS)[1].body["properties"]["agentPoolProfiles"][0]
    assert pool["tags"] == TAGS


def test_no_name_is_longer_than_azure_takes():
    plan = plan_of(HEAD.replace('"cni"', '"' + "n" * 20 + '"') + f"[arms.{'a' * 20}]\nkind = 'cilium'\n")
    (arm,) = plan.created
    assert len(bodies.managed_group_name(plan, arm)) <= 80
    assert len(bodies.cluster(plan, arm, TAGS)["properties"]["dnsPrefix"]) <= 54
    assert len(arm.cluster) <= 63
