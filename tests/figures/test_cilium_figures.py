"""Figures show the frames they are given, and of nothing a sentence."""

import pandas as pd
import pytest

from labkit.figures.consistency import consistency_matrix, consistency_steps
from labkit.figures.maglev import maglev_table
from labkit.figures.map_fill import map_fill
from labkit.figures.one_flow import one_flow


def words(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def ways(services):
    return pd.DataFrame(
        [
            {"arm": arm, "by": "iptables", "node": node, "namespace": "lab", "service": f"s{i:02}", "cluster_ip": "10.0.0.1",
             "protocol": "TCP", "port": 80, "matching": 2, "missing": int(i == 1), "extra": int(i == 2)}
            for arm in ("overlay", "cilium") for node in ("n0", "n1") for i in range(services)
        ]
    )  # fmt: skip


def test_matrix_has_a_cell_a_way():
    figure = consistency_matrix(ways(3))
    assert words(figure).count("2 of 2") == 4
    assert words(figure).count("2 of 3") == 4
    assert words(figure).count("2 of 2, 1 extra") == 4
    assert [ax.get_title(loc="center").split("\n")[0] for ax in figure.axes] == ["overlay", "cilium"]


def test_matrix_of_many_services_shows_those_that_do_not_match():
    figure = consistency_matrix(ways(40))
    assert len(words(figure)) == 8
    assert figure.axes[0].get_xlabel() == "2 of 2 Service ports that do not match; 40 in all"


def test_steps_have_a_bar_a_node():
    summary = ways(3).assign(step="baseline").drop_duplicates(["arm", "node"])
    figure = consistency_steps(summary)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["overlay: iptables", "cilium: iptables"]
    assert words(figure) == ["2 matching"] * 4


def slots(backends):
    return pd.DataFrame(
        [{"arm": "cilium", "node": node, "service": "lab/web 80/TCP", "slot": i, "backend": backends[i % len(backends)]}
         for node in ("n0", "n1") for i in range(300)]
    )  # fmt: skip


def test_maglev_table_shows_each_slot_once():
    figure = maglev_table(slots(["10.0.0.1:80", "10.0.0.2:80"]))
    pictures = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert [picture.shape for picture in pictures] == [(3, 128, 3)] * 2
    assert (pictures[0] == pictures[1]).all()
    assert words(figure).count("150 slots\n50.000 %") == 4


def fill(entries):
    return pd.DataFrame(
        {
            "arm": "cilium",
            "node": ["n0", "n1"],
            "map": "NAT",
            "entries": entries,
            "max_entries": 1000,
            "used_pct": 1.0,
        }
    ).astype({"entries": "Int64", "max_entries": "Int64"})


def test_map_fill_marks_the_entries():
    figure = map_fill(fill([10, 0]), ["overlay", "cilium"])
    marks = [mark.get_offsets()[0][0] for mark in figure.axes[0].collections]
    assert marks == [10, 0.8]  # none stands at the left edge
    assert words(figure) == ["of 1,000: 1 %"]


def test_one_flow_draws_an_arrow_a_packet():
    rows = [
        {"packet": 1, "from_client": True, "src_ip": "10.0.0.1", "src_port": 4000, "dst_ip": "10.0.1.2", "dst_port": 80,
         "tcp_flags": "SYN", "frame_bytes": 74, "node": node, "observation_point": point, "state": "new",
         "src_identity": 7, "dst_identity": 8}
        for node, point in (("n0", "to-network"), ("n1", "to-endpoint"))
    ]  # fmt: skip
    shown = words(one_flow(pd.DataFrame(rows)))
    assert "SYN, 74 bytes" in shown
    assert {"to-network, new", "to-endpoint, new"} <= set(shown)
    assert "10.0.0.1:4000\nidentity 7, n0" in shown
    assert "10.0.1.2:80\nidentity 8, n1" in shown


@pytest.mark.parametrize("draw", [consistency_matrix, consistency_steps, maglev_table, map_fill, one_flow])
def test_a_figure_of_nothing_says_so(draw):
    assert words(draw(pd.DataFrame()))[0].startswith("No arm has")
