"""The figure of an explained path shows each hop of each way."""

import pandas as pd

from labkit import Lab
from labkit.explain import hops
from labkit.figures.explained_path import explained_path


def words(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.axes[0].texts]


def explained():
    lab = Lab({"overlay": "replay:overlay-vxlan", "cilium": "replay:cilium"})
    return lab.each(hops, src="app=frontend", dst="backend-service")


def test_every_device_of_every_way_is_drawn_with_its_chance():
    found = explained()
    shown = words(explained_path(found))
    assert shown.count("arm overlay, 50%") == shown.count("arm cilium, 50%") == 2
    assert shown.count("10.244.0.4 to 10.0.68.134: delivered") == 2
    nodes = [
        text for text in shown if text in ("vxlan-node-0", "vxlan-node-1", "cilium-node-0", "cilium-node-1")
    ]
    assert sorted(nodes) == [
        "cilium-node-0",
        "cilium-node-0",
        "cilium-node-1",
        "vxlan-node-0",
        "vxlan-node-0",
        "vxlan-node-1",
    ]
    forth = found[found["way"].str.startswith("1") & (found["place"] == "device")]
    for row in forth.to_dict("records"):
        inside = "" if row["tap"] == "node" else f" in {row['tap']}"
        wanted = f"{row['device'].replace('|', ' or ')}{inside}, {row['direction']}"
        assert any(text and wanted.startswith(text) for text in shown), wanted
    assert any("TTL 62" in text for text in shown)
    assert any(text.startswith("tunnel: VXLAN 1 in UDP 8472") for text in shown)


def test_only_so_many_ways_of_each_arm_and_the_other_direction():
    found = explained()
    assert [text for text in words(explained_path(found, most=1)) if text.startswith("arm ")] == [
        "arm overlay, 50%",
        "arm cilium, 50%",
    ]
    back = words(explained_path(found, way="2 answer"))
    assert "becomes 10.0.68.134 again" in " ".join(back)


def test_what_goes_wrong_is_marked():
    found = explained()
    found.loc[found["place"] == "tunnel", "verdict"] = "dropped"
    edges = {patch.get_edgecolor() for patch in explained_path(found).axes[0].patches}
    assert len(edges) > len({patch.get_edgecolor() for patch in explained_path(explained()).axes[0].patches})


def test_no_way_is_said():
    found = explained()
    (text,) = words(explained_path(found.iloc[:0]))
    assert text == "No arm explains a way."
    assert isinstance(found, pd.DataFrame)


def test_ways_of_one_shape_are_one_column():
    found = explained()
    cilium = found[found["arm"] == "cilium"]
    more = pd.concat([cilium, cilium[cilium["branch"] == 1].assign(branch=2)], ignore_index=True).assign(
        probability=0.25
    )
    shown = words(explained_path(more))
    assert [text for text in shown if text.startswith("arm ")] == [
        "arm cilium, 50% by 2 ways like this",
        "arm cilium, 25%",
    ]


def test_why_it_is_inconclusive_stands_in_the_box():
    lab = Lab({"cilium": "replay:cilium"})
    shown = words(explained_path(lab.each(hops, src="app=frontend", dst="backend-service", protocol="icmp")))
    assert "10.245.0.183 to 10.0.234.81: inconclusive" in shown
    assert any(text.startswith("not modelled: what is sent to a Service") for text in shown)
