import pandas as pd
import pytest

from labkit import Lab
from labkit.analysis.flows import translations
from labkit.analysis.packets import example, journeys
from labkit.collect import captures, kubernetes
from labkit.figures.packets import packet_path
from tests.analysis.wire import ASKED, PODS, SERVICES, geneve, seen, syn

ARMS = {"vxlan": "replay:overlay-vxlan", "routed": "replay:overlay-routed", "cilium": "replay:cilium"}


@pytest.fixture(scope="module")
def found() -> tuple[pd.DataFrame, pd.DataFrame]:
    lab = Lab(ARMS)
    whole = journeys(lab.each(captures.packets), lab.each(kubernetes.pods), lab.each(kubernetes.services))
    return whole, translations(whole, lab.each(captures.asked))


def bars(ax) -> list[list[tuple[float, float]]]:
    """The bars of a panel row by row, as where they begin and end in bytes."""
    rows: dict[float, list[tuple[float, float]]] = {}
    for patch in ax.patches:
        if 0 < patch.get_height() < 0.9:  # the bands behind a node's rows are taller
            rows.setdefault(patch.get_y(), []).append((patch.get_x(), patch.get_x() + patch.get_width()))
    return [rows[y] for y in sorted(rows)]


def words(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_headers_are_drawn_to_scale_and_in_one_place(found):
    figure = packet_path(example(found[0]), found[1])
    vxlan, routed, cilium = (bars(ax) for ax in figure.axes)
    assert [len(rows) for rows in (vxlan, routed, cilium)] == [9, 5, 4]
    bare, wrapped = [(-14, 0), (0, 20), (20, 60)], [(-64, -50), (-50, -30), (-30, -22), (-22, -14)]
    assert vxlan[4] == vxlan[5] == wrapped + bare
    assert all(row == bare for row in [*vxlan[:4], *vxlan[6:], *routed, *cilium])
    assert len({ax.get_xlim() for ax in figure.axes}) == 1


def test_it_says_where_the_service_address_was_rewritten(found):
    vxlan, routed, cilium = (words(ax) for ax in packet_path(example(found[0]), found[1]).axes)
    service = "(Service cni-lab/backend-service)"
    assert f"destination rewritten: 10.0.68.134 {service} → 10.244.1.3" in vxlan
    assert f"destination rewritten: 10.0.49.29 {service} → 10.246.1.3" in routed
    assert any(
        text.startswith("destination rewritten inside the pod, before its first packet: 10.0.234.81")
        for text in cilium
    )
    assert "the network between the nodes routes it: TTL 63 → 62" in routed
    assert any("past every interface that was captured" in text for text in cilium)
    assert "in VXLAN 10.240.0.4 → 10.240.0.5, UDP 8472, VNI 1" in vxlan


def test_an_echo_request_has_a_payload_and_no_translation(found):
    for ax in packet_path(example(found[0], of="ping")).axes:
        assert all(row[-1] == (28, 84) for row in bars(ax))
        assert not any("rewritten" in text for text in words(ax))


@pytest.mark.parametrize("arms", [["vxlan"], ["cilium"], ["vxlan", "cilium"]])
def test_one_panel_an_arm(found, arms):
    journey = example(found[0])
    figure = packet_path(journey[journey["arm"].isin(arms)], found[1])
    assert len(figure.axes) == len(arms)
    for ax, arm in zip(figure.axes, arms, strict=True):
        assert any(text.startswith(f"{arm}: the first packet of a connection") for text in words(ax))


def test_no_text_lies_on_another(found):
    figure = packet_path(example(found[0]), found[1])
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in ax.texts]
        edge = figure.bbox.x1
        for i, (text, box) in enumerate(boxes):
            assert box.x1 <= edge, text
            assert not [other for other, place in boxes[i + 1 :] if box.overlaps(place)], text


def test_nothing_captured_says_so(found):
    (ax,) = packet_path(example(found[0]).head(0), found[1]).axes
    assert words(ax) == ["No packet between pods on different nodes was captured."]


def test_geneve_and_source_translation():
    way = journeys(
        seen(
            ("client", "pod", syn(dst="10.0.0.80")),
            ("n0 eth0", "nic", geneve(syn(src="192.0.2.1", ttl=63))),
        ),
        PODS,
        SERVICES,
    ).assign(arm="a")
    (ax,) = packet_path(way, translations(way, ASKED.assign(arm="a"))).axes
    assert "source rewritten: 10.1.0.2 → 192.0.2.1" in words(ax)
    assert "in GENEVE 192.0.2.1 → 192.0.2.2, UDP 6081, VNI 9" in words(ax)
    assert bars(ax)[1][:4] == [(-64, -50), (-50, -30), (-30, -22), (-22, -14)]
