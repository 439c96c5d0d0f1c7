"""Hours are counted, prices are the plan's, and what has no price has no cost."""

import pytest

from labkit.provision.cost import assumptions, estimate
from labkit.provision.plan import parse

HEAD = (
    'name = "cni"\nregion = "westeurope"\nhours = 4\n[cluster]\nkubernetes_version = "1.34"\nvm_size = "D4"\n'
)
ENVIRON = {"AZURE_SUBSCRIPTION_ID": "11111111-2222-3333-4444-555555555555"}


def costs(text):
    return estimate(parse(HEAD + text, "plan.toml", ENVIRON)).set_index("arm")


@pytest.mark.parametrize(
    ("text", "arm", "cost"),
    [
        ("[arms.overlay]\n[prices]\nnode = 0.5\n", "overlay", 3 * 4 * 0.5),
        ("[arms.overlay]\n[prices]\nnode = 0\n", "overlay", 0),
        (
            'tier = "Standard"\n[arms.overlay]\n[prices]\nnode = 0.5\ncluster = 0.1\n',
            "overlay",
            3 * 4 * 0.5 + 4 * 0.1,
        ),
        ("[arms.cilium-acns]\n[prices]\nnode = 0.5\nacns_node = 0.02\n", "cilium-acns", 3 * 4 * (0.5 + 0.02)),
    ],
)
def test_cost(text, arm, cost):
    assert costs(text).loc[arm, "cost"] == pytest.approx(cost)


@pytest.mark.parametrize(
    ("text", "arm", "lacks"),
    [
        ("[arms.overlay]\n", "overlay", "prices.node"),
        ('tier = "Standard"\n[arms.overlay]\n[prices]\nnode = 1\n', "overlay", "prices.cluster"),
        ("[arms.cilium-acns]\n", "cilium-acns", "prices.node, prices.acns_node"),
    ],
)
def test_what_lacks_a_price_has_no_cost(text, arm, lacks):
    row = costs(text).loc[arm]
    assert row["lacks"] == lacks
    assert costs(text)["cost"].isna().all()
    assert row["node_hours"] == 12


def test_a_moved_arm_costs_nothing_of_its_own():
    text = '[arms.before]\nkind = "overlay"\n[arms.after]\nkind = "cilium"\nof = "before"\n'
    assert costs(text).index.tolist() == ["before"]
    assert any("moved arm" in sentence for sentence in assumptions(parse(HEAD + text, "p", ENVIRON)))
