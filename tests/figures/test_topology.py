import labkit
from labkit.collect import kubernetes
from labkit.figures.topology import topology


def texts(figure):
    return [[text.get_text() for text in ax.texts] for ax in figure.axes]


def drawn(sources):
    lab = labkit.Lab(sources)
    return topology(lab.each(kubernetes.nodes), lab.each(kubernetes.pods), lab.each(kubernetes.services))


def test_every_pod_with_an_address_of_its_own_is_drawn_in_its_arm():
    overlay, cilium = texts(drawn({"overlay": "replay:overlay-vxlan", "cilium": "replay:cilium"}))
    assert {"vxlan-node-0", "10.244.0.5", "perf-test-client"} <= set(overlay)
    assert "10.245.0.5" not in overlay
    assert "+ 3 pods in the node's own network" in cilium
    assert any("backend-service  10.0.234.81:80" in text for text in cilium)


def test_arms_are_named_in_their_titles():
    figure = drawn({"a": "replay:overlay-routed"})
    assert figure.axes[0].get_title() == "arm a"
