"""A plan is read whole, or refused with everything that is wrong with it."""

from pathlib import Path

import pytest

from labkit.errors import ParameterError, PlanError
from labkit.provision.plan import parse, read

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
ENVIRON = {"AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}
HEAD = 'name = "cni"\nregion = "westeurope"\n'
CLUSTER = '[cluster]\nkubernetes_version = "1.34"\nvm_size = "Standard_D4s_v5"\n'
PLANS = sorted((Path(__file__).parent.parent.parent / "data" / "plans").glob("*.toml"))


def plan(text):
    return parse(text, "plan.toml", ENVIRON)


def wrong(text, environ=ENVIRON):
    with pytest.raises(PlanError) as caught:
        parse(text, "plan.toml", environ)
    return caught.value.problems


@pytest.mark.parametrize("path", PLANS, ids=lambda p: p.stem)
def test_the_plans_of_the_repository_are_good(path):
    assert read(path, ENVIRON).created


def test_an_arm_is_of_the_kind_that_its_name_says():
    arms = plan(HEAD + CLUSTER + '[arms.overlay]\n[arms.fast]\nkind = "cilium-bpfveth"\n').arms
    assert [(a.name, a.kind, a.policy, a.kube_proxy) for a in arms.values()] == [
        ("overlay", "overlay", "none", "iptables"),
        ("fast", "cilium-bpfveth", "cilium", "none"),
    ]


def test_settings_are_equal_unless_an_arm_states_its_own():
    arms = plan(HEAD + CLUSTER + "nodes = 4\n[arms.overlay]\n[arms.cilium]\nmax_pods = 30\n").arms
    assert (arms["overlay"].pins.nodes, arms["cilium"].pins.nodes) == (4, 4)
    assert (arms["overlay"].pins.max_pods, arms["cilium"].pins.max_pods) == (110, 30)


def test_the_subscription_of_the_plan_goes_before_that_of_the_environment():
    other = SUBSCRIPTION.replace("1", "9")
    assert plan(HEAD + CLUSTER + "[arms.cilium]\n").subscription == SUBSCRIPTION
    assert plan(f'subscription = "{other}"\n' + HEAD + CLUSTER + "[arms.cilium]\n").subscription == other


def test_everything_wrong_is_told_at_once():
    problems = wrong(
        'name = "CNI"\nregin = "westeurope"\n[cluster]\nnods = 3\nmax_pods = "many"\n[arms.overlay]\npolicy = "npm"\n'
    )
    assert problems == [
        "the plan: unknown key 'regin'; is it 'region'?",
        "[cluster]: unknown key 'nods'; is it 'nodes'?",
        "[cluster]: max_pods = 'many' must be a whole number",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name is missing"),
        ("name = 3\n", "name = 3 must be a text in quotes"),
        ('name = "cni"\n[[arms]]\n', "[arms] must be a table"),
        (HEAD.replace('"cni"', '"CNI"') + CLUSTER + "[arms.cilium]\n", "lower-case letters"),
        (HEAD + CLUSTER, "no arms"),
        (HEAD + CLUSTER + "[arms.flannel]\n", "kind 'flannel' is not known"),
        (HEAD + CLUSTER + "[arms]\ncilium = 3\n", "[arms.cilium] must be a table"),
        (
            HEAD + CLUSTER + '[arms.overlay]\npolicy = "cilium"\n',
            "policy of a overlay arm is none or azure or calico",
        ),
        (HEAD + CLUSTER + '[arms.cilium]\nkube_proxy = "iptables"\n', "kube_proxy of a cilium arm is none"),
        ('name = "cni"\n' + CLUSTER + "[arms.cilium]\n", "region ''"),
        (HEAD + "[arms.cilium]\n", "kubernetes_version ''"),
        (HEAD + '[cluster]\nkubernetes_version = "1.34"\n[arms.cilium]\n', "vm_size is missing"),
        (HEAD + CLUSTER + 'zone = "4"\n[arms.cilium]\n', "zone '4'"),
        (HEAD + CLUSTER + "nodes = 1\n[arms.cilium]\n", "nodes = 1"),
        (HEAD + CLUSTER + "max_pods = 300\n[arms.cilium]\n", "10 to 250"),
        (HEAD + CLUSTER + 'pod_cidr = "10.0.0.0/8"\n[arms.cilium]\n', "overlap"),
        (HEAD + CLUSTER + 'pod_cidr = "172.30.0.0/16"\n[arms.cilium]\n', "keeps for itself"),
        (HEAD + CLUSTER + 'pod_cidr = "10.244.0.0/23"\n[arms.cilium]\n', "no /24 for each of 3 nodes"),
        (HEAD + CLUSTER + 'pod_cidr = "10.244.0.1/16"\n[arms.cilium]\n', "has host bits set"),
        (
            HEAD + CLUSTER + 'dns_service_ip = "10.1.0.10"\n[arms.cilium]\n',
            "must be an address of 10.0.0.0/16",
        ),
        (HEAD + CLUSTER + 'dns_service_ip = "10.0.0.1"\n[arms.cilium]\n', "not its first one"),
        (HEAD + "hours = 0\n" + CLUSTER + "[arms.cilium]\n", "hours = 0"),
        (HEAD + "hours = 1000\n" + CLUSTER + "[arms.cilium]\n", "at most 336 hours"),
        (HEAD + 'provider = "gke"\n' + CLUSTER + "[arms.cilium]\n", "provider 'gke'"),
        (
            HEAD + CLUSTER.replace("1.34", "1.32") + '[arms.overlay]\nkube_proxy = "nftables"\n',
            "needs Kubernetes 1.33",
        ),
        (HEAD + CLUSTER.replace("1.34", "1.32") + "[arms.cilium-bpfveth]\n", "needs Kubernetes 1.33"),
        (
            HEAD + CLUSTER + 'os_sku = "Ubuntu2204"\n[arms.cilium-bpfveth]\n',
            "needs os_sku Ubuntu2404 or AzureLinux3",
        ),
        (HEAD + CLUSTER + '[arms.cilium]\nof = "overlay"\n', "no cluster to create"),
        (HEAD + CLUSTER + '[arms.overlay]\n[arms.cilium]\nof = "nobody"\n', "must name an arm of this plan"),
        (HEAD + CLUSTER + '[arms.overlay]\n[arms.cilium-acns]\nof = "overlay"\n', "only to kind = 'cilium'"),
        (
            HEAD + CLUSTER + '[arms.overlay]\n[arms.cilium]\nof = "overlay"\nnodes = 5\n',
            "no settings of its own",
        ),
        (
            HEAD + CLUSTER + '[arms.overlay]\nkube_proxy = "nftables"\n[arms.cilium]\nof = "overlay"\n',
            "cannot be moved",
        ),
    ],
)
def test_what_is_wrong_is_told(text, said):
    assert any(said in problem for problem in wrong(text)), wrong(text)


def test_a_subscription_is_needed_to_send_and_not_to_plan():
    assert parse(HEAD + CLUSTER + "[arms.cilium]\n", "plan.toml", {}).subscription == ""


def test_a_subscription_is_an_id():
    (problem,) = wrong('subscription = "Pay-As-You-Go"\n' + HEAD + CLUSTER + "[arms.cilium]\n", {})
    assert "is no subscription id" in problem


def test_what_is_not_toml():
    assert wrong("name = ")[0].startswith("is not TOML")


def test_a_plan_that_is_not_there(tmp_path):
    with pytest.raises(PlanError, match="No such file"):
        read(tmp_path / "plan.toml", ENVIRON)


def test_a_wrong_plan_is_misuse():
    assert issubclass(PlanError, ParameterError)


def test_the_owner_is_who_is_logged_in_unless_stated():
    assert plan(HEAD + CLUSTER + "[arms.cilium]\n").owner
    assert plan(HEAD + 'owner = "ada"\n' + CLUSTER + "[arms.cilium]\n").owner == "ada"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[arms.cilium]\n", "write cilium_version in [kind]"),
        ('[arms.overlay]\npolicy = "calico"\n', "write calico_version in [kind]"),
        ('[arms.overlay]\npolicy = "azure"\n', "exists on AKS only"),
        (
            '[kind]\ncilium_version = "1.18.6"\n[arms.overlay]\n[arms.cilium]\nof = "overlay"\n',
            "of is for Azure",
        ),
    ],
)
def test_what_is_wrong_with_a_plan_for_kind(text, said):
    assert said in wrong('name = "local"\nprovider = "kind"\n' + text, {})[0]
