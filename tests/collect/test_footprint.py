from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from labkit.analysis.footprint import by_part, memory_each
from labkit.collect import footprint, scaling
from labkit.errors import ApiError, MissingFeature
from labkit.exec.request import Read
from tests.conftest import arm

CASE = (Path(__file__).parents[1] / "cases" / "kubelet" / "v1alpha1-summary.json").read_bytes()
#: The same node ten seconds later: the agent has worked for five of them, the operator was not read anew.
LATER = (
    CASE.replace(b"2026-11-20T09:30:05Z", b"2026-11-20T09:30:15Z")
    .replace(b"96500000000", b"101500000000")
    .replace(b"214958080", b"220000000")
)


class WithKubelet:
    """A recorded arm whose nodes have a kubelet that answers the case, or says no."""

    def __init__(self, inner, status=200):
        self.inner, self.status, self.about = inner, status, inner.about

    def run(self, request):
        if not (isinstance(request, Read) and request.path.endswith("/stats/summary")):
            return self.inner.run(request)
        if self.status != 200:
            raise ApiError("the server said no", request, status=self.status)
        like = self.inner.run(Read(step="baseline", path="/api/v1/nodes"))
        later = request.sample or request.step == "services-1000"
        return replace(like, request=request, output=LATER if later else CASE, id="r00000")


def with_kubelet(**options):
    known = arm("overlay-vxlan")
    return replace(known, executor=WithKubelet(known.executor, **options), memo={})


def test_the_parts_of_a_dataplane_are_told_by_name_and_the_rest_is_left_out():
    frame = footprint.usage(with_kubelet())
    assert list(frame.columns) == footprint.usage.schema.names
    assert {n: str(t) for n, t in frame.dtypes.items()} == {
        c.name: c.dtype for c in footprint.usage.schema.columns
    }
    per_node = frame.groupby("node")["part"].agg(list).tolist()
    assert per_node == [["azure-cns", "cilium", "cilium-operator"]] * 2


def test_cpu_is_the_difference_of_counters_over_that_of_their_times():
    cluster = with_kubelet()
    found = by_part(footprint.usage(cluster), footprint.usage(cluster, sample=1)).set_index(["part", "node"])
    agent = found.loc["cilium"].iloc[0]
    assert (agent["cores"], agent["seconds"], agent["working_set_bytes"]) == (0.5, 10, 220_000_000)
    assert pd.isna(found.loc["cilium-operator"].iloc[0]["cores"])  # it was not read anew: no rate, not 0
    assert pd.isna(found.loc["azure-cns"].iloc[0]["cores"])


def test_a_container_that_started_in_between_is_counted_from_its_start():
    cluster = with_kubelet()
    before, after = footprint.usage(cluster), footprint.usage(cluster, sample=1)
    found = by_part(before.iloc[:0], after).set_index("part").loc["cilium"].iloc[0]
    assert found["cores"] == pytest.approx(101.5 / (88 * 60 + 55))


def test_what_an_arm_lacks_is_said():
    with pytest.raises(MissingFeature, match="was not asked what its pods use"):
        footprint.usage(arm("cilium"))
    with pytest.raises(
        MissingFeature, match="no kubelet says what the pods of vxlan-node-0 use: there is none"
    ):
        footprint.usage(with_kubelet(status=404))
    with pytest.raises(MissingFeature, match="the server said no"):
        footprint.usage(with_kubelet(status=403))


def test_the_connection_table_of_each_node(cluster):
    frame = footprint.conntrack(cluster)
    assert list(frame.columns) == footprint.conntrack.schema.names
    assert len(frame) == 2
    assert frame["max_entries"].gt(frame["entries"]).all()
    assert (frame["used_pct"] - 100 * frame["entries"] / frame["max_entries"]).abs().max() < 1e-9


def test_memory_with_more_services():
    found = memory_each(scaling.memory(with_kubelet()).assign(arm="a")).set_index("part")
    agent = found.loc["cilium"]
    assert agent[["fewest", "most", "fewest_bytes", "most_bytes"]].tolist() == [
        104,
        1004,
        214_958_080,
        220_000_000,
    ]
    assert agent["each_bytes"] == pytest.approx((220_000_000 - 214_958_080) / 900)
    with pytest.raises(MissingFeature, match="was not asked"):
        scaling.memory(arm("cilium"))
