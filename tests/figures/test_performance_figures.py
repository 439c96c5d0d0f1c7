import pandas as pd
import pytest

from labkit.analysis import load_balancing as balance
from labkit.analysis import scaling as scale
from labkit.analysis.statistics import MARGIN, contrasts, medians, per_repetition
from labkit.collect import load_balancing, performance, scaling
from labkit.figures import intervals, latency
from labkit.figures import load_balancing as balance_figures
from labkit.figures import scaling as scaling_figures
from labkit.figures.style import arm_colours
from tests.conftest import RECORDINGS
from tests.measured import each

CELL = ["arm", "path", "mode"]


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(match=lambda a: hasattr(a, "get_text")))


def test_every_repetition_is_a_point_and_failures_are_named():
    runs = each(performance.runs)
    udp = runs[runs["mode"] == "udp"]
    figure = intervals.repetitions(
        udp, medians(udp, "received_bps", CELL), "received_bps", "Mbit/s", scale=1e-6
    )
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "pod on the same node",
        "pod on another node",
        "Service",
    ]
    colours = arm_colours(runs["arm"])
    points = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "."]
    assert len(points) == 8  # three arms, three paths, but one of them failed each time
    assert all(len(line.get_xdata()) == 6 for line in points)
    assert {line.get_color() for line in points} == set(colours.values())
    assert words(figure).count("no result") == 1
    drawn = sorted(points[0].get_ydata() * 1e6)
    first = udp[(udp["arm"] == "overlay-vxlan") & (udp["path"] == "same-node")]["received_bps"]
    assert drawn == pytest.approx(sorted(first))


def test_points_stand_in_the_order_of_time():
    runs = each(performance.runs)
    tcp = runs[(runs["mode"] == "tcp") & (runs["path"] == "other-node") & (runs["arm"] == "cilium")]
    figure = intervals.repetitions(
        tcp, medians(tcp, "received_bps", CELL), "received_bps", "Gbit/s", scale=1e-9
    )
    (points,) = (line for line in figure.axes[0].lines if line.get_marker() == ".")
    assert list(points.get_xdata()) == sorted(points.get_xdata())
    assert list(points.get_ydata()) == pytest.approx([9.32, 9.49, 10.06, 7.74, 9.41, 8.06], abs=0.01)


def test_the_forest_shows_ratio_interval_and_verdict():
    runs = each(performance.runs)
    tcp = runs[(runs["mode"] == "tcp") & (runs["path"] != "service")]
    found = contrasts(tcp, "received_bps", ["path", "mode"], better="higher")
    figure = intervals.forest(found, ["path", "mode"], "higher is better", margin=MARGIN)
    axes = figure.axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert sorted(float(line.get_xdata()[0]) for line in marks) == pytest.approx(sorted(found["ratio"]))
    hollow = [line for line in marks if line.get_markerfacecolor() == "white"]
    assert len(hollow) == (found["verdict"] == "unknown").sum()
    assert "relative to overlay-vxlan" in axes.get_xlabel()
    assert "±5 %" in axes.get_xlabel()
    low, high = axes.get_xlim()
    assert low < found["low"].min()
    assert found["high"].max() < high


def test_distributions_draw_all_samples_and_each_repetition():
    echoes = each(performance.echoes)
    figure = latency.distributions(echoes, "rtt_us", "round trip (µs)")
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        assert len(axes.lines) == 3 * (6 + 1)
        thick = [line for line in axes.lines if line.get_linewidth() > 2]
        assert {len(line.get_xdata()) for line in thick} == {1800 + 1}


def test_balance_has_a_mark_a_backend_and_the_expected_line():
    shares = balance.shares(each(load_balancing.answers), each(load_balancing.backends))
    figure = balance_figures.balance(shares)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(RECORDINGS)
    for axes in figure.axes:
        (dashed,) = (line for line in axes.lines if line.get_linestyle() == "--")
        assert dashed.get_xdata()[0] == 50
        marks = [line for line in axes.lines if len(line.get_xdata()) == 1]
        assert len(marks) == 3 * 2


def test_services_write_failures_beside_the_times():
    connections = each(scaling.connections)
    values = per_repetition(connections, "connect_us", ["arm", "services", "position"])
    middle = medians(values, "connect_us", ["arm", "services"])
    figure = scaling_figures.services(values, middle, each(scaling.holdings), scale.failures(connections))
    text = words(figure)
    for failed in ("10 of 1200 failed at 1004", "13 of 1200 failed at 1004", "500 of 1200 failed at 1007"):
        assert failed in text
    assert figure.axes[0].get_ylim()[0] == 0
    assert (
        max(float(line.get_ydata().max()) for line in figure.axes[1].lines if len(line.get_ydata())) == 8081
    )


def timed(*rows):
    names = ["arm", "kind", "size", "change", "round", "at_least_s", "at_most_s", "effective_s"]
    return pd.DataFrame(rows, columns=names)


def test_effects_are_drawn_from_bound_to_bound_and_what_was_not_seen_is_written():
    figure = scaling_figures.effects(
        timed(
            ("a", "Service", 10, "applied", 0, 0.1, 0.3, 0.2),
            ("b", "Service", 10, "deleted", 0, 0.0, 0.4, 0.2),
            ("a", "NetworkPolicy", 19, "deleted", 0, 2.0, None, None),
        )
    )
    services, policies = figure.axes
    bars = [line.get_ydata() for line in services.lines if len(line.get_ydata()) == 2]
    assert sorted(map(list, bars)) == [[0.0, 0.4], [0.1, 0.3]]
    assert {line.get_marker() for line in services.lines if len(line.get_ydata()) == 1} == {"^", "v"}
    assert not policies.lines
    assert policies.texts[0].get_text() == "deleted: no effect within 2 s"
    (axes,) = scaling_figures.effects(timed()).axes
    assert axes.texts[0].get_text().endswith(".")


def test_maps_of_a_lab_are_drawn_as_well():
    connections, held = each(scaling.connections), each(scaling.holdings)
    held.loc[held["holds"] == "service map slots", "holds"] = "eBPF services map"
    values = per_repetition(connections, "connect_us", ["arm", "services", "position"])
    middle = medians(values, "connect_us", ["arm", "services"])
    text = words(scaling_figures.services(values, middle, held, scale.failures(connections)))
    assert "eBPF services map" in text
    assert "service map slots" not in text


def test_nothing_measured_says_so():
    runs, echoes = each(performance.runs).iloc[:0], each(performance.echoes).iloc[:0]
    none = contrasts(runs, "received_bps", ["path", "mode"], better="higher")
    connections = each(scaling.connections).iloc[:0]
    values = per_repetition(connections, "connect_us", ["arm", "services", "position"])
    figures = [
        intervals.repetitions(runs, medians(runs, "received_bps", CELL), "received_bps", "Gbit/s"),
        intervals.forest(none, ["path", "mode"], "higher is better", margin=MARGIN),
        latency.distributions(echoes, "rtt_us", "µs"),
        balance_figures.balance(
            balance.shares(each(load_balancing.answers).iloc[:0], each(load_balancing.backends))
        ),
        scaling_figures.services(
            values,
            medians(values, "connect_us", ["arm", "services"]),
            each(scaling.holdings),
            scale.failures(connections),
        ),
    ]
    for figure in figures:
        (axes,) = figure.axes
        assert axes.texts[0].get_text().endswith(".")
        assert not axes.axison
