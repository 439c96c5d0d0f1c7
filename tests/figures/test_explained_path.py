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
    forth = found[found["way"].str.startswith("1") & (found["place"] == "device")]
    for row in forth.to_dict("records"):
        inside = "" if row["tap"] == "node" else f" in {row['tap']}"
        wanted = f"{row['device'].replace('|', ' or ')}{inside}, {row['direction']}"
        assert any(text and wanted.startswith(text) for text in shown), wanted
    assert any("TTL 62" in text for text in shown)
    assert any(text.startswith("tunnel: VXLAN 1 in UDP 8472") for text in shown)


def test_only_so_many_ways_and_the_other_direction():
    found = explained()
    assert sum(text.startswith("arm ") for text in words(explained_path(found, most=1))) == 1
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
