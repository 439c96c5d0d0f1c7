"""What Azure says of the arms, judged by the gate: before anything costs, and when they stand."""

import pytest

from labkit.analysis.parity import blocking, gate, require
from labkit.azure import parity
from labkit.azure.up import up
from labkit.errors import ParityError
from labkit.provision.kinds import KINDS
from tests.azure.conftest import HEAD, Heard, pace, plan_of


@pytest.mark.usefixtures("arm")
def test_arms_that_stand_as_planned_are_comparable(clients, plan, state):
    gated = require(gate(parity.facts(up(plan, clients, state, Heard(), pace()))))
    differing = gated[gated["status"] != "same"].set_index("fact")
    assert differing["status"].eq("allowed").all()
    assert differing[["overlay", "cilium"]].T.to_dict("list") == {
        "dataplane": ["azure", "cilium"],
        "policy engine of AKS": ["none", "cilium"],
        "kube-proxy": ["iptables", "none"],
    }


def test_the_plan_of_all_kinds_is_comparable():
    plan = plan_of(HEAD + "".join(f"[arms.{kind}]\n" for kind in KINDS))
    gated = gate(parity.planned(plan))
    assert blocking(gated) == []
    acns = gated.set_index("fact").loc["ACNS", list(KINDS)].tolist()
    assert acns == ["off", "off", "FQDN, flows", "L7, flows", "BpfVeth, FQDN, flows"]


@pytest.mark.parametrize(
    ("setting", "fact"),
    [
        ('vm_size = "Standard_D8s_v5"', "VM size"),
        ("nodes = 5", "node count"),
        ('zone = "2"', "zones of node pools"),
        ('os_sku = "AzureLinux3"', "OS SKU"),
        ("max_pods = 30", "max pods"),
        ('local_dns = "Required"', "LocalDNS"),
        ('kubernetes_version = "1.33"', "Kubernetes version"),
        ('pod_cidr = "10.100.0.0/16"', "pod range"),
        ('tier = "Standard"', "control plane tier"),
    ],
)
def test_an_arm_that_states_its_own_blocks(setting, fact):
    planned = parity.planned(plan_of(HEAD + f"[arms.overlay]\n[arms.cilium]\n{setting}\n"))
    assert blocking(gate(planned)) == [fact]
    with pytest.raises(ParityError, match=f"--allow '{fact}'"):
        require(gate(planned))
    allowed = require(gate(planned, [fact.lower().replace(" ", "_")]))
    assert allowed.set_index("fact").loc[fact, ["status", "allowed_by"]].tolist() == ["allowed", "--allow"]


@pytest.mark.usefixtures("arm")
def test_what_azure_did_by_itself_is_found(clients, plan, state):
    """LocalDNS that is on in one arm only, an add-on somebody turned on, another node image."""
    found = up(plan, clients, state, Heard(), pace())
    pool = found["overlay"]["properties"]["agentPoolProfiles"][0]
    pool["localDNSProfile"] = {"mode": "Preferred", "state": "Enabled"}
    pool["nodeImageVersion"] = "AKSUbuntu-2404gen2-202612.01.0"
    found["cilium"]["properties"]["addonProfiles"] = {
        "azurepolicy": {"enabled": True},
        "omsagent": {"enabled": False},
    }
    found["cilium"]["properties"]["securityProfile"]["defender"]["securityMonitoring"]["enabled"] = True
    assert blocking(gate(parity.facts(found))) == ["node image", "LocalDNS", "add-ons"]


@pytest.mark.usefixtures("arm")
def test_facts_come_back_as_they_were_kept(clients, plan, state):
    facts = parity.facts(up(plan, clients, state, Heard(), pace()))
    parity.keep(facts, plan, state.folder)
    assert parity.saved(state.folder).equals(facts)
    assert parity.saved(state.folder / "nowhere").empty


def test_arms_that_the_plan_no_longer_has_are_forgotten(plan, state):
    parity.keep(parity.planned(plan), plan, state.folder)
    one = plan_of(HEAD + "[arms.cilium]\n")
    assert set(parity.keep(parity.planned(one), one, state.folder)["arm"]) == {"cilium"}
