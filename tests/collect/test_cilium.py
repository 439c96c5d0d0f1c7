"""The agents' collectors: their columns are the declared ones, and what an arm lacks has a reason."""

import pytest

from labkit.collect import cilium as agents
from labkit.collect import cilium_maps, kubernetes, services
from labkit.collect.gather import Collector
from labkit.collect.steps import over
from labkit.errors import MissingFeature

COLLECTORS = [
    value
    for module in (agents, cilium_maps)
    for name in module.__all__
    if isinstance(value := getattr(module, name), Collector)
]


@pytest.mark.parametrize("collect", COLLECTORS, ids=lambda c: c.__name__)
def test_columns_are_the_declared_ones(collect, cilium):
    if collect is cilium_maps.tunnels:
        with pytest.raises(MissingFeature, match=r"cilium-dbg 1\.20\.0-dev has no `bpf tunnel`"):
            collect(cilium)
        return
    frame, empty = collect(cilium), collect.schema.empty()
    assert list(frame.columns) == list(empty.columns)
    assert frame.dtypes.astype(str).to_dict() == empty.dtypes.astype(str).to_dict()
    assert frame["reply"].nunique() == (0 if frame.empty else 2)
    assert set(frame["node"]) <= {"cilium-node-0", "cilium-node-1"}


@pytest.mark.parametrize("collect", COLLECTORS, ids=lambda c: c.__name__)
def test_an_arm_without_agents_says_so(collect, vxlan):
    with pytest.raises(MissingFeature, match="no Cilium agent in this arm"):
        collect(vxlan)


def test_samples_of_endpoints_are_replies_of_their_own(cilium):
    assert set(agents.endpoints(cilium)["reply"]).isdisjoint(agents.endpoints(cilium, sample=1)["reply"])


def test_over_steps_reads_each_and_leaves_out_what_was_not_recorded(cilium):
    read = over(["services-100", "no-such-step", "baseline"], kubernetes.services)
    frame = read(cilium)
    assert list(dict.fromkeys(frame["step"])) == ["services-100", "baseline"]
    assert list(frame.columns) == read.schema.names
    assert (frame["step"] == "services-100").sum() > 100


def test_over_all_steps_with_services_are_those_of_the_plan(vxlan):
    frame = over(["baseline", "services-*"], kubernetes.services)(vxlan)
    assert list(dict.fromkeys(frame["step"])) == ["baseline", "services-100", "services-1000"]


def test_over_steps_that_are_all_missing_says_so(cilium, vxlan):
    with pytest.raises(MissingFeature, match="none of the steps no-such-step was recorded"):
        over(["no-such-step"], kubernetes.services)(cilium)
    with pytest.raises(MissingFeature, match="no Cilium agent"):
        over(["baseline"], cilium_maps.lb_map)(vxlan)


def test_over_steps_leaves_out_those_that_an_arm_cannot_be_brought_into(vxlan):
    class ReadOnly:
        """A replay that may not be changed: it answers in its own step."""

        about = vxlan.about

        def run(self, request):
            if request.step != "baseline":
                raise MissingFeature("aks", f"needs a change of the cluster (step {request.step})")
            return vxlan.executor.run(request)

    live = type(vxlan)("aks", "live:aks", ReadOnly())
    frame = over(["baseline", "services-100"], services.rules)(live)
    assert set(frame["step"]) == {"baseline"}
    with pytest.raises(MissingFeature, match=r"needs a change of the cluster \(step services-100\)"):
        over(["services-100"], services.rules)(live)
