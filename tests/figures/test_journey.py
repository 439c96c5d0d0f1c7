import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from labkit import Lab
from labkit.analysis.clocks import clocks
from labkit.analysis.flows import translations
from labkit.analysis.journeys import answered, hops
from labkit.analysis.packets import journeys
from labkit.collect import captures, kubernetes, node, pod
from labkit.figures.journey import STRETCHES, journey
from tests.analysis.test_journeys import AHEAD_US, CHANGES, NODES, TIMES, WAY
from tests.analysis.wire import PODS, SERVICES, at, seen

ARMS = {name: f"replay:{name}" for name in CHANGES}


@pytest.fixture(scope="module")
def recorded() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The journeys of a connection's first packet and its answer, and the clocks."""
    lab = Lab(ARMS)
    found = journeys(lab.each(captures.packets), lab.each(kubernetes.pods), lab.each(kubernetes.services))
    fetches = translations(found, lab.each(captures.asked))
    apart = clocks(found, lab.each(kubernetes.nodes))
    return answered(hops(found, apart, lab.each(node.links), lab.each(pod.links), fetches), found), apart


def planted(nodes: pd.DataFrame = NODES, *, answers: bool = True) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generated sightings on two nodes with clocks of their own."""
    part = slice(None if answers else 5)
    found = at(seen(*WAY[part]), TIMES[part]).assign(arm="a")
    ways = journeys(found, PODS.assign(arm="a"), SERVICES.assign(arm="a"))
    apart = clocks(ways, nodes.assign(arm="a"))
    return answered(hops(ways, apart), ways), apart


def bars(ax: Axes) -> list[tuple[float, float]]:
    return [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]


def words(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_bars_reach_from_point_to_point(recorded):
    frame, apart = recorded
    figure = journey(frame, apart)
    assert len(figure.axes) == len(ARMS)
    for ax, arm in zip(figure.axes, ARMS, strict=True):
        times = frame.loc[frame["arm"] == arm, "since_us"].tolist()
        assert bars(ax) == list(zip([0, *times[:-1]], times, strict=True))
        assert ax.get_yticklabels()[0].get_text() == "client pod  eth0  ▸"
    assert len({ax.get_xlim() for ax in figure.axes}) == 1


def test_what_does_not_fit_is_cut():
    (ax,) = journey(*planted()).axes
    assert "DNAT 10.0.0.80:80 → 10.1.1.2:80; TTL 64 → 63; into geneve, +50 bytes" in words(ax)  # an early bar
    assert words(ax)[-1] == "DNAT undone 10.1.1.2:80 → 10.0.0.80:80; TTL 63 → 62; out …"


def test_what_changed_stands_beside_each_point(recorded):
    for ax, arm in zip(journey(*recorded).axes, ARMS, strict=True):
        assert [text for text in words(ax) if text[0] != "+"] == [text for text in CHANGES[arm] if text]


def test_titles_say_how_long_it_took_and_by_which_clock(recorded):
    first = journey(*recorded).axes[0]
    assert (
        first.get_title(loc="left")
        == "overlay-vxlan: the first packet of a connection and its answer, 119 µs"
    )
    assert first.get_title(loc="right") == "vxlan-node-0 and vxlan-node-1 share a clock"


def test_the_offset_of_clocks_is_stated():
    frame, apart = planted()
    (ax,) = journey(frame, apart).axes
    assert ax.get_title(loc="right") == f"n1's clock less n0's: +{AHEAD_US} ± 5 µs"
    assert [end for _, end in bars(ax)] == [0, 3, 20, 25, 40, 90, 95, 100, 110]
    (without,) = journey(frame).axes
    assert without.get_title(loc="right") == ""


def test_without_a_common_clock_there_is_no_bar_but_what_changed():
    frame, apart = planted(answers=False)
    (ax,) = journey(frame, apart).axes
    assert ax.get_title(loc="right") == "the clock of n1 is not known against n0's"
    assert len(bars(ax)) == 3  # of five points
    assert "TTL 63 → 62; out of geneve, -50 bytes" in words(ax)
    assert words(ax).count("?") == 2


def test_each_stretch_has_the_colour_of_its_place(recorded):
    frame, apart = recorded
    ax = journey(frame, apart).axes[1]
    colours = {name: colour.lower() for name, colour in STRETCHES.items()}
    own, between, other, server = colours.values()
    found = [
        "#" + "".join(f"{round(part * 255):02x}" for part in bar.get_facecolor()[:3]) for bar in ax.patches
    ]
    assert found == [own, own, own, between, other, server, other, between, own, own]


def test_no_text_lies_on_another_or_beyond_the_edge(recorded):
    figure = journey(*recorded)
    figure.canvas.draw()
    for ax in figure.axes:
        texts = [text for text in ax.texts if text.get_text()]
        boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in texts]
        for i, (text, box) in enumerate(boxes):
            assert box.x1 <= figure.bbox.x1, text
            assert not [other for other, place in boxes[i + 1 :] if box.overlaps(place)], text


def test_long_names_of_nodes_are_cut_where_they_stay_apart():
    frame, apart = planted()
    names = {"n0": "aks-nodepool1-12345678-vmss000000", "n1": "aks-nodepool1-12345678-vmss000001"}
    frame["node"] = frame["node"].replace(names)
    apart[["node", "other"]] = apart[["node", "other"]].replace(names)
    figure = journey(frame, apart)
    (ax,) = figure.axes
    assert ax.get_title(loc="right") == "…vmss000001's clock less …vmss000000's: +1000000 ± 5 µs"
    assert ax.get_yticklabels()[1].get_text() == "…vmss000000  veth1 veth  ▸"
    frame["node"] = frame["node"].str.replace("vmss0", "pool-") + "-x"  # the ends are alike
    assert (
        journey(frame)
        .axes[0]
        .get_yticklabels()[1]
        .get_text()
        .startswith("aks-nodepool1-12345678-pool-00000-x")
    )


def test_titles_do_not_meet():
    frame, apart = planted()
    figure = journey(frame, apart)
    figure.canvas.draw()
    (ax,) = figure.axes
    texts = {text.get_text(): text.get_window_extent() for text in ax.findobj(Text)}
    left, right = (texts[ax.get_title(loc=side)] for side in ("left", "right"))
    assert left.x1 < right.x0


def test_nothing_captured_says_so(recorded):
    (ax,) = journey(recorded[0].head(0)).axes
    assert words(ax) == ["No packet between pods on different nodes was captured."]
