import pytest

from labkit.collect import load_balancing
from labkit.errors import MissingFeature
from tests.conftest import arm


def test_500_answers_of_each_frontend(cluster):
    frame = load_balancing.answers(cluster)
    assert list(frame.columns) == load_balancing.answers.schema.names
    assert frame.groupby("pod").size().tolist() == [500, 500]
    backends = load_balancing.backends(cluster)
    assert set(frame["backend"]) == set(backends["pod"])
    nodes = backends.set_index("pod")["node"]
    assert (frame["backend"].map(nodes) == frame["backend_node"]).all()


def test_200_timings_of_each_frontend(cluster):
    frame = load_balancing.timings(cluster)
    assert frame.groupby("pod").size().tolist() == [200, 200]
    assert frame["num_connects"].eq(1).all()


@pytest.mark.parametrize(
    ("name", "tcp", "udp"),
    [("overlay-vxlan", "10.244.1.5", "10.244.0.6"), ("overlay-routed", "10.246.1.5", "10.246.1.5")],
)
def test_the_rules_say_which_server_the_service_led_to(name, tcp, udp):
    frame = load_balancing.servers(arm(name))
    assert list(frame.columns) == load_balancing.servers.schema.names
    used = frame[frame["connections"] > 0].set_index("protocol")
    # a run has a control connection and one for each stream: 2 + 5 + 2, and 1 beside UDP; six times
    assert (used.loc["TCP", "server"], used.loc["TCP", "connections"]) == (tcp, 60)
    assert (used.loc["UDP", "server"], used.loc["UDP", "connections"]) == (udp, 6)
    assert used.loc["TCP", "path"] == "other-node"


def test_cilium_counts_no_servers(cilium):
    with pytest.raises(MissingFeature, match="nothing in this arm counts"):
        load_balancing.servers(cilium)
