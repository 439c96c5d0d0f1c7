"""The figure shows every probe, once, in its arm's panel, row and column."""

import pandas as pd
import pytest

from labkit.analysis import connectivity, enforcement
from labkit.collect import kubernetes, policies
from labkit.figures.policy_matrix import policy_matrix
from tests.conftest import RECORDINGS, arm


@pytest.fixture(scope="module")
def named():
    frames = []
    for name in RECORDINGS:
        cluster = arm(name)
        compared = connectivity.compare(
            policies.probes(cluster),
            policies.rules(cluster),
            kubernetes.pods(cluster),
            kubernetes.services(cluster),
            kubernetes.endpoints(cluster),
            policies.namespaces(cluster),
        )
        compared.insert(0, "arm", name)
        frames.append(enforcement.gate(compared, enforcement.canary(compared)))
    return connectivity.flow_names(pd.concat(frames, ignore_index=True))


def words(ax):
    return [text.get_text().replace("\n", " ") for text in ax.texts if text.get_text().strip()]


@pytest.mark.parametrize("arms", [RECORDINGS[:1], RECORDINGS[2:], RECORDINGS])
def test_a_panel_an_arm_and_a_cell_a_probe(named, arms):
    figure = policy_matrix(named[named["arm"].isin(arms)])
    assert [ax.get_title(loc="center") for ax in figure.axes] == list(arms)
    for ax in figure.axes:
        assert len(ax.patches) == 84
        assert [t.get_text().replace("\n", "") for t in ax.get_xticklabels()] == [
            "none", "deny-all", "allow-frontend", "removed",
        ]  # fmt: skip


def test_rows_are_labelled_once_with_a_heading_a_source(named):
    figure = policy_matrix(named)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 24
    assert [label for label in labels if labels.count(label) == 1] == [
        "frontend 1",
        "frontend 2",
        "perf-client",
    ]
    assert labels[:5] == [
        "frontend 1", "HTTP pod, own node", "HTTP pod, other node", "HTTP Service IP", "HTTP Service name",
    ]  # fmt: skip
    assert figure.axes[1].get_yticklabels() == []


def test_cells_say_what_was_seen_and_what_was_not_expected(named):
    overlay, _, cilium = policy_matrix(named).axes
    assert words(overlay).count("ok ≠") == 31
    assert words(overlay)[-1] == "policies are not enforced"
    assert words(cilium).count("ok") == 53
    assert words(cilium).count("DNS timed out") == 6
    assert words(cilium).count("connect timed out") == 13
    assert words(cilium).count("no reply") == 12
    assert not any("≠" in word for word in words(cilium))


def test_what_is_not_known_is_marked(named):
    one = named[named["arm"] == "cilium"].assign(verdict="unknown", expected=pd.NA)
    assert all(word.endswith("?") for word in words(policy_matrix(one).axes[0]))


def test_no_probes_show_as_a_sentence(named):
    (ax,) = policy_matrix(named[:0]).axes
    assert words(ax) == ["No arm has probes of policies."]
