"""The case has the shape of the documented Summary API (v1alpha1); its values are made up, no node said them."""

from pathlib import Path

import pandas as pd
import pytest

from labkit.errors import ParseError
from labkit.parse.kubelet_summary import USAGE, usage

CASE = Path(__file__).parents[1] / "cases" / "kubelet" / "v1alpha1-summary.json"


def test_every_container_has_its_counter_and_when_it_was_read():
    frame = usage(CASE.read_bytes())
    assert list(frame.columns) == USAGE.names
    assert frame["container"].tolist() == ["httpd", "cns-container", "cilium-operator", "cilium-agent"]
    agent = frame[frame["container"] == "cilium-agent"].iloc[0]
    assert (agent["cpu_s"], agent["working_set_bytes"], agent["rss_bytes"]) == (
        96.5,
        214_958_080,
        131_072_000,
    )
    assert agent["cpu_at"] == pd.Timestamp("2026-11-20T09:30:05Z")


def test_a_container_that_just_started_has_no_numbers_and_no_zeros():
    row = usage(CASE.read_bytes()).set_index("container").loc["cns-container"]
    assert row[["cpu_at", "cpu_s", "working_set_bytes", "rss_bytes"]].isna().all()
    assert row["started_at"] == pd.Timestamp("2026-11-20T09:30:07Z")


def test_a_node_without_pods_is_an_empty_frame():
    assert usage(b'{"node": {}, "pods": []}').empty


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"404 page not found",
        b'{"node": {}}',
        b'{"pods": [{"podRef": {"name": "a"}, "containers": [{"name": "b"}]}]}',
        CASE.read_bytes().replace(b"2026-11-20T09:30:05Z", b"lately"),
        CASE.read_bytes().replace(b"96500000000", b'"many"'),
    ],
)
def test_what_is_no_summary_is_refused(data):
    with pytest.raises(ParseError):
        usage(data)
