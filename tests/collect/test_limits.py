"""What fits is worked out from what one Service really holds, and what does not fit is left out, not tried."""

from dataclasses import replace

import pytest

from labkit.collect import limits, scaling
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature
from tests.conftest import arm


class Planned:
    """A recorded arm with another plan."""

    def __init__(self, inner, **parts):
        self.inner = inner
        self.about = {**inner.about, "plan": Plan(**parts).to_json()}

    def run(self, request):
        return self.inner.run(request)


def planned(name, **parts):
    known = arm(name)
    return replace(known, executor=Planned(known.executor, **parts), memo={})


def test_a_service_takes_what_the_backends_own_service_takes(cilium):
    frame = limits.limits(cilium)
    assert list(frame.columns) == limits.limits.schema.names
    # a frontend, two endpoints, and one entry for the ports that it does not have: not 1 + endpoints
    assert set(frame["each"]) == {4}
    assert frame["max_entries"].eq(65536).all()
    assert frame["most"].eq((65536 - 27) // 4).all()
    grown = (
        scaling.holdings(cilium).query("holds == 'service map slots'").groupby("services")["entries"].max()
    )
    assert (grown[107] - grown[7]) / 100 == 4  # as many as a hundred of them took then


def test_more_than_fit_are_named_with_demand_limit_and_what_would_fit(cilium):
    limits.require_room(cilium, 16377)
    with pytest.raises(MissingFeature) as refused:
        limits.require_room(cilium, 20_000)
    assert refused.value.reason == (
        "20000 Services more need 80000 entries in the map IPv4 service on cilium-node-0, which has room for 65536 and "
        "holds 27: at most 16377 fit. Nothing was created"
    )


def test_the_sizes_that_fit_are_measured_all_the_same():
    wide = planned("cilium", services=(100, 20_000))
    assert limits.limits(wide).groupby("services")["fits"].all().to_dict() == {100: True, 20_000: False}
    assert limits.fitting(wide) == ("services-100",)
    assert sorted(set(scaling.holdings(wide)["services"])) == [7, 107]
    with pytest.raises(MissingFeature, match="at most 16377 more Services fit, and more are planned"):
        limits.fitting(planned("cilium", services=(20_000,)))


def test_rules_of_iptables_have_no_limit(routed):
    with pytest.raises(MissingFeature, match="rules of iptables have no limit of their own"):
        limits.limits(routed)
    assert limits.fitting(planned("overlay-routed", services=(100, 20_000)))[-1] == "services-20000"
    limits.require_room(routed, 100_000)
